"""What the words of a store mean: each engine has to pass all of it, and so has the model that other tests trust."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from algate.alg.ha.memory import MemoryKeys, MemoryLog, MemoryStore
from algate.alg.ha.redis import RedisKeys, RedisLog
from algate.alg.ha.resp import CommandError, Reply, StoreAddress
from algate.alg.ha.store import START, FencedError, Position, StoreError, StoreKeys, StoreLog, StoreRecord

from .engines import redis
from .nats import NatsKeys, NatsLog, nats

NUMBERS = count()


class Engine:
    """Handles of one engine; each test has a log and a key that nobody had before."""

    def __init__(self, where: StoreAddress | int | None) -> None:
        self._where = where  # Redis's place, the port of NATS, None: in memory
        self._memory = MemoryStore()
        number = next(NUMBERS)
        self.name, self.key = f"log{number}", f"key{number}"

    async def log(self) -> StoreLog:
        if self._where is None:
            return MemoryLog(self._memory, self.name)
        made = NatsLog(self._where, self.name) if isinstance(self._where, int) else RedisLog(self._where, self.name)
        await made.opened()
        return made

    def register(self) -> StoreKeys:
        if self._where is None:
            return MemoryKeys(self._memory)
        return NatsKeys(self._where) if isinstance(self._where, int) else RedisKeys(self._where)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreAddress]:
    with redis(tmp_path_factory.mktemp("redis")) as (where, _):
        yield where


@pytest.fixture(scope="module")
def jetstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with nats(tmp_path_factory.mktemp("nats")) as port:
        yield port


@pytest.fixture(params=["memory", "server", "jetstream"], ids=["memory", "redis", "nats-r1"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return Engine(None if request.param == "memory" else request.getfixturevalue(request.param))


def run(play: Callable[[], Awaitable[None]]) -> None:
    async def timed() -> None:
        async with asyncio.timeout(20):
            await play()

    asyncio.run(timed())


def test_what_was_committed_is_read_in_order_by_another(engine: Engine) -> None:
    async def play() -> None:
        writer, reader = await engine.log(), await engine.log()
        assert await reader.last() == START and await reader.tail(START) == []
        records = [StoreRecord(Position(1, n), b"\r\n\0%d" % n * n) for n in range(1, 40)]
        for one in records:
            writer.append(*one)
        await writer.commit()
        assert await reader.tail(START) == records
        assert await reader.tail(Position(1, 30), most=3) == records[30:33]
        assert await reader.tail(Position(1, 39)) == []
        assert await reader.last() == Position(1, 39)

    run(play)


def test_large_records_come_whole(engine: Engine) -> None:
    async def play() -> None:
        writer, reader = await engine.log(), await engine.log()
        pages = [bytes([n]) * 65536 for n in range(48)]
        for n, page in enumerate(pages):
            writer.append(Position(1, n), page)
        await writer.commit()
        found = await reader.tail(START)
        assert [one.data for one in found] == pages

    run(play)


def test_a_reader_that_waits_is_told_at_once(engine: Engine) -> None:
    async def play() -> None:
        writer, reader = await engine.log(), await engine.log()
        waiting = asyncio.ensure_future(reader.tail(START, wait=5))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        writer.append(Position(1, 1), b"now")
        await writer.commit()
        async with asyncio.timeout(1):
            assert await waiting == [StoreRecord(Position(1, 1), b"now")]
        assert await reader.tail(Position(1, 1), wait=0.05) == []

    run(play)


@pytest.mark.parametrize("again", [Position(2, 4), Position(2, 5), Position(1, 900)])
def test_who_isnt_behind_the_last_record_is_refused_for_good(engine: Engine, again: Position) -> None:
    async def play() -> None:
        old, new = await engine.log(), await engine.log()
        new.append(Position(2, 5), b"new")
        await new.commit()
        old.append(again, b"old")
        old.append(Position(3, 1), b"behind one that was refused")
        with pytest.raises(FencedError):
            await old.commit()
        with pytest.raises(FencedError):
            await old.commit()
        assert (await new.tail(START))[0].data == b"new"

    run(play)


def test_a_snapshot_ends_what_was_before_it_and_no_older_writer_comes_back(engine: Engine) -> None:
    async def play() -> None:
        log = await engine.log()
        for n in range(1, 200):
            log.append(Position(1, n), b"%d" % n)
        await log.commit()
        await log.snapshot(Position(1, 150))
        assert (await log.tail(START, most=500))[0] == StoreRecord(Position(1, 150), b"150")
        await log.snapshot(Position(2, 1))
        assert await log.tail(START) == [] and await log.last() == Position(1, 199)
        log.append(Position(1, 199), b"late")
        with pytest.raises(FencedError):
            await log.commit()

    run(play)


def test_of_many_who_compare_and_set_at_once_one_wins(engine: Engine) -> None:
    async def play() -> None:
        hands = [engine.register() for _ in range(8)]
        assert await hands[0].read(engine.key) == b""
        value = b""
        for turn in range(50):
            news = [b"%d of %d" % (turn, n) for n in range(8)]
            moves = (hand.compare_and_set(engine.key, value, new) for hand, new in zip(hands, news, strict=True))
            won = await asyncio.gather(*moves)
            assert sum(won) == 1
            value = await hands[turn % 8].read(engine.key)
            assert value == news[won.index(True)]
        for hand in hands:
            await hand.close()

    run(play)


def test_appends_after_a_commit_that_fails_are_never_said_to_be_there() -> None:
    async def play() -> None:
        memory = MemoryStore()
        log = MemoryLog(memory, "log")
        memory.broken = True
        log.append(Position(1, 1), b"lost")
        memory.broken = False
        log.append(Position(1, 2), b"behind it")
        with pytest.raises(StoreError):
            await log.commit()
        assert await log.tail(START) == []

    run(play)


def test_commit_hears_of_an_engine_that_dies(tmp_path: Path) -> None:
    async def play() -> None:
        with redis(tmp_path / "redis") as (where, server):
            log = RedisLog(where, "log")
            await log.opened()
            log.append(Position(1, 1), b"there")
            await log.commit()
            server.kill()
            server.wait()
            log.append(Position(1, 2), b"lost")
            with pytest.raises(StoreError) as told:
                await log.commit()
        assert str(told.value).startswith(f"{where}: ")
        with pytest.raises(StoreError):
            await RedisKeys(where).read("key")

    run(play)


@pytest.mark.parametrize("number", [9, 19])  # SIGKILL, SIGSTOP: the one is heard of at once
def test_who_writes_nothing_hears_of_an_engine_that_has_gone(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("algate.alg.ha.redis.LOOK", 0.0)

    async def play() -> None:
        with redis(tmp_path / "redis") as (where, server):
            log = RedisLog(where, "log", seconds=0.2)
            await log.opened()
            log.append(Position(1, 1), b"there")
            for _ in range(3):
                await log.commit()
            server.send_signal(number)
            if number == 9:
                server.wait()
            with pytest.raises(StoreError) as told:
                await log.commit()
            assert str(told.value).startswith(f"{where}: ")
            with pytest.raises(StoreError):
                await log.commit()

    run(play)


def test_an_engine_that_is_frozen_is_given_up_in_time(tmp_path: Path) -> None:
    async def play() -> None:
        with redis(tmp_path / "redis") as (where, server):
            log = RedisLog(where, "log", seconds=0.2)
            await log.opened()
            server.send_signal(19)
            log.append(Position(1, 1), b"late")
            began = asyncio.get_running_loop().time()
            with pytest.raises(StoreError, match="answer within 0"):
                await log.commit()
            assert asyncio.get_running_loop().time() - began < 1

    run(play)


def test_a_full_engine_refuses_and_says_so(tmp_path: Path) -> None:
    async def play() -> None:
        with redis(tmp_path / "redis", "--maxmemory", "2mb", "--maxmemory-policy", "noeviction") as (where, _):
            log = RedisLog(where, "log")
            await log.opened()
            for n in range(1, 60):
                log.append(Position(1, n), bytes(65536))
            with pytest.raises(StoreError, match="OOM") as told:
                await log.commit()
            assert not isinstance(told.value, FencedError)

    run(play)


def test_who_has_the_wrong_password_hears_it(server: StoreAddress) -> None:
    async def play() -> None:
        with pytest.raises(StoreError, match="WRONGPASS"):
            await RedisLog(server._replace(password="guess"), "log").opened()
        with pytest.raises(StoreError, match="NOAUTH"):
            await RedisKeys(server._replace(password="")).read("key")

    run(play)


def test_what_stands_behind_a_refused_record_is_not_said_to_be_there() -> None:
    log, heard = RedisLog(StoreAddress("127.0.0.1", 1), "log"), list[Position]()
    log.heard = heard.append
    replies: list[Reply | StoreError] = [b"1-1", CommandError("no"), b"1-3"]
    for seq, reply in enumerate(replies, 1):
        log._replied(Position(1, seq), reply)
    assert heard == [Position(1, 1)]


def test_who_listens_hears_in_the_same_turn(server: StoreAddress) -> None:
    """The loop isn't asked: what waits for the record leaves without it. A log that was told of nothing has nothing to
    say, and a descriptor that somebody else reads ends the wait."""

    async def play() -> None:
        log, heard = RedisLog(server, f"heard{next(NUMBERS)}"), list[Position]()
        log.heard = heard.append
        assert not any(log.listen(0.01, ()))
        await log.opened()
        for seq in range(1, 4):
            log.append(Position(1, seq), b"r" * seq)
            assert log.listen(5, ()).came and heard[-1] == Position(1, seq)
        assert not any(log.listen(0.001, ()))
        near, far = socket.socketpair()
        with near, far:
            far.send(b"a")
            began = time.monotonic()
            assert log.listen(5, (near.fileno(),)) == (False, True) and time.monotonic() - began < 1
        log.append(Position(1, 4), bytes(20 << 20))  # more than a socket takes at once
        await log.commit()
        assert heard == [Position(1, seq) for seq in range(1, 5)]
        await log.close()

    run(play)
