"""A leader and a follower over one store in memory: what one says the other has, and what a failure brings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

import pytest

from algate.alg.engine.effects import DropHeld, Effect
from algate.alg.gateway import records
from algate.alg.ha import epoch as epochs
from algate.alg.ha import leading
from algate.alg.ha.bulk import BulkWalk
from algate.alg.ha.entries import Authorship, Entry, EntryKind, number
from algate.alg.ha.epoch import Epoch
from algate.alg.ha.following import LogFollower
from algate.alg.ha.leading import Leader
from algate.alg.ha.memory import MemoryKeys, MemoryLog, MemoryStore
from algate.alg.ha.outbox import Outbox
from algate.alg.ha.store import Listened, Position, StoreLog, StoreRecord
from algate.bpf import abi

WHO = Authorship("a", "layout", "boot", 0, 0.0)


def session(one: int) -> tuple[bytes, bytes]:
    key = records.pack_key(records.unpack_key(one.to_bytes(abi.HEADER.structs["session_key"].size, "little")))
    return key, bytes(abi.Session(id=one, state=abi.SessionState.ESTABLISHED))


def numbers(effects: list[Effect]) -> list[int]:
    return [one.session for one in effects if isinstance(one, DropHeld)]


class Place:
    """A leader whose effects are each about a session of its own; `done`: these; `table`: sessions in its kernel."""

    def __init__(self, store: MemoryStore, witness: MemoryStore, node: str = "a", go_on: bool = True) -> None:
        self.store, self.done, self.fences = store, list[int](), list[bool]()
        self.table: dict[int, tuple[bytes, bytes]] = {}
        self.outbox = Outbox(
            lambda effects: [Entry(EntryKind.SESSION, number(one), b"raw") for one in numbers(effects)],
            lambda ticket, made: self.leader.write(ticket, made), self._carry, go_on,
        )  # fmt: skip
        bulk = BulkWalk(self._chunks, lambda row: None, self._there)
        self.leader = Leader(node, self.outbox, bulk, MemoryKeys(witness), self._connect, self._everything,
                             lambda: WHO._replace(node=node), self.fences.append)  # fmt: skip
        self.followers = {name: LogFollower(name, MemoryLog(store, name)) for name in ("control", "bulk")}

    def _carry(self, effects: list[Effect]) -> None:
        self.done += numbers(effects)

    async def _connect(self, name: str) -> StoreLog:
        self.store.reach()
        return MemoryLog(self.store, name)

    def _everything(self) -> Iterable[Entry]:
        return [Entry(EntryKind.SESSION, number(one), b"raw") for one in self.done]

    def _chunks(self) -> Iterable[tuple[bytes, bytes, int]]:
        rows = list(self.table.values())
        return [(b"".join(k for k, _ in rows), b"".join(v for _, v in rows), len(rows))] if rows else []

    def _there(self, key: bytes) -> int:
        return next((one for one, (k, _) in self.table.items() if k == key), 0)

    def offer(self, one: int) -> None:
        self.outbox.offer([DropHeld(one, 0)])

    def known(self, log: str = "control") -> set[int]:
        kept = self.followers[log].kept
        return set() if kept is None else set(kept.sessions)


def play(body: Callable[[], Awaitable[None]], *places: Place) -> None:
    async def run() -> None:
        tasks = [asyncio.ensure_future(one.leader.run()) for one in places]
        tasks += [asyncio.ensure_future(follower.run()) for one in places for follower in one.followers.values()]
        try:
            async with asyncio.timeout(15):
                await body()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run())


async def until(true: Callable[[], object]) -> None:
    while not true():
        await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leading, "AGAIN", 0.02)
    monkeypatch.setattr(leading, "WALK", 0.01)


def test_the_follower_has_what_the_leader_carried_out() -> None:
    place = Place(MemoryStore(), MemoryStore())
    place.offer(1)  # alone
    commits, lags = list[float](), list[float]()
    place.leader.counts.committed, place.leader.counts.lagged = commits.append, lags.append

    async def body() -> None:
        await until(lambda: place.leader.state == "in step")
        place.offer(2)
        assert place.done == [1]
        await until(lambda: place.done == [1, 2])
        await until(lambda: place.known() == {1, 2})
        place.table = {7: session(7), 8: session(8)}
        await until(lambda: place.known("bulk") == {7, 8})
        del place.table[8]
        await until(lambda: place.known("bulk") == {7})

    play(body, place)
    counts = place.leader.counts
    assert len(commits) >= 2 and len(lags) >= 2 and counts.lag == lags[-1]
    assert counts.resyncs == 1 and not counts.failures


def test_many_records_begin_the_log_anew_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leading, "ANEW", 20)
    place = Place(MemoryStore(), MemoryStore())

    async def body() -> None:
        await until(lambda: place.leader.state == "in step")
        for one in range(1, 200):
            place.offer(one)
            if one % 7 == 0:
                await asyncio.sleep(0)
        await until(lambda: len(place.done) == 199)
        await until(lambda: place.known() == set(range(1, 200)))
        assert len(place.store.logs["control"]) < 150

    play(body, place)


@pytest.mark.parametrize("go_on", [True, False])
def test_an_engine_that_goes_and_comes_back_is_told_everything(go_on: bool) -> None:
    place = Place(MemoryStore(), MemoryStore(), go_on=go_on)

    async def body() -> None:
        await until(lambda: place.leader.state == "in step")
        place.store.broken = True
        place.offer(1)
        await until(lambda: place.leader.problem)
        place.offer(2)
        assert place.done == ([1, 2] if go_on else [])
        place.store.broken = False
        await until(lambda: place.done == [1, 2])
        await until(lambda: place.known() == {1, 2})
        assert not place.fences
        place.leader.resync()
        await until(lambda: place.leader.counts.failures["asked"])

    play(body, place)
    assert place.leader.counts.failures["unreachable"] >= 1


def test_who_is_overtaken_makes_nothing_new_until_the_lead_is_free() -> None:
    store, witness = MemoryStore(), MemoryStore()
    place = Place(store, witness)

    async def body() -> None:
        await until(lambda: place.leader.state == "in step")
        keys = MemoryKeys(witness)
        other = await epochs.take(keys, "b")
        await place.followers["control"].shut(other.number)
        place.offer(5)
        await until(lambda: place.fences == [True])
        assert place.leader.state == leading.FENCED and place.done == [5]
        assert (place.leader.fenced, place.leader.counts.failures["fenced"] >= 1) == (True, True)
        await asyncio.sleep(0.1)
        assert place.fences == [True] and await epochs.stands(keys) == Epoch(2, "b")
        assert await epochs.give_back(keys, other)
        await until(lambda: place.fences == [True, False] and place.leader.state == "in step")
        assert (place.leader.fenced,) == (False,)
        await until(lambda: place.known() == {5})

    play(body, place)


def test_an_epoch_is_given_out_once() -> None:
    witness = MemoryStore()

    async def body() -> None:
        won = await asyncio.gather(*(epochs.take(MemoryKeys(witness), node) for node in "ababab"))
        assert len({one.number for one in won}) == 6
        assert (await epochs.take(MemoryKeys(MemoryStore()), "a", beyond=9)).number == 10
        assert not await epochs.give_back(MemoryKeys(witness), won[0]) or won[0].number == 6

    play(body)


def test_a_node_that_parts_tells_of_the_youngest_too_and_says_when_that_is_all() -> None:
    store = MemoryStore()
    one = Place(store, store)
    follower = one.followers["bulk"]
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)

    async def body() -> None:
        await until(lambda: follower.kept is not None)
        one.leader.part()
        await until(lambda: follower.parting)
        one.table[now] = session(now)
        await one.leader.last_words(5)
        await follower.hear_out()
        assert not follower.parting
        assert one.known("bulk") == {now}

    play(body, one)


def test_a_leader_that_failed_can_still_be_told_that_time_is_up() -> None:
    """Python 3.11's TaskGroup leaves a cancellation behind, and the next time-out of the same task then ends it, and
    with it the daemon: at the second failure of an engine that had been killed and was then cut off."""
    store = MemoryStore()
    one = Place(store, store)

    async def body() -> None:
        task = asyncio.ensure_future(one.leader.run())
        try:
            await until(lambda: one.leader.state == "in step")
            store.broken = True
            one.offer(1)
            await until(lambda: one.leader.state != "in step")
            assert task.cancelling() == 0
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(body())


class PromptLog(MemoryLog):
    """One that can be listened to. `slow`: what it says takes longer than anybody listens."""

    slow = False

    def __init__(self, memory: MemoryStore, name: str) -> None:
        super().__init__(memory, name)
        self.heard: Callable[[Position], None] = lambda _: None
        self.said: list[Position] = []
        self.listened = 0

    def append(self, position: Position, data: bytes) -> None:
        super().append(position, data)
        self.said.append(position)

    def listen(self, seconds: float, others: Sequence[int]) -> Listened:
        self.listened += 1
        if self.slow:
            time.sleep(seconds)
            return Listened(False, False)
        said, self.said = self.said, []
        for position in said:
            self.heard(position)
        return Listened(bool(said), bool(others))

    async def commit(self) -> None:
        await super().commit()
        if not self.slow:
            self.listen(0, ())


class PromptPlace(Place):
    async def _connect(self, name: str) -> StoreLog:
        made = PromptLog(self.store, name)
        if name == "control":
            self.log = made
        return made


def test_what_the_engine_says_at_once_leaves_in_its_own_turn() -> None:
    """With no turn of the loop in between, and all lists of a turn by one wait; a slow engine isn't waited for again
    and again, and its lists leave as the loop hears of it."""
    place = PromptPlace(MemoryStore(), MemoryStore())

    async def body() -> None:
        await until(lambda: place.leader.state == "in step")
        place.leader.settle(())  # nothing waits
        before = place.log.listened
        for one in (1, 2, 3):
            place.offer(one)
        assert place.done == []
        assert not place.leader.settle(())
        assert (place.done, place.log.listened - before) == ([1, 2, 3], 1)
        place.offer(4)
        assert place.leader.settle((7,)) and place.done[-1] == 4, "who looked at it has to say so"
        place.log.slow = True
        before = place.log.listened
        for one in range(5, 24):
            place.offer(one)
            place.leader.settle(())
        assert place.done == [1, 2, 3, 4] and place.log.listened - before < 5
        place.log.slow = False
        await until(lambda: len(place.done) == 23)
        assert place.leader.waiting == 0

    play(body, place)


def test_a_log_whose_writer_waits_is_looked_at_and_not_waited_on() -> None:
    """An engine with a reader to wake answers the writer later: 30 µs of a rewritten command's wait were that."""
    store, waits = MemoryStore(), list[float]()

    class Watched(MemoryLog):
        async def tail(self, after: Position, wait: float = 0.0, most: int = 64) -> list[StoreRecord]:
            waits.append(wait)
            return await super().tail(after, wait, most)

    follower = LogFollower("control", Watched(store, "control"), 0.01)

    async def body() -> None:
        task = asyncio.ensure_future(follower.run())
        for seq in range(1, 60):
            store.write("control", Position(1, seq), b"")
        await until(lambda: follower.position == Position(1, 59))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(body())
    assert set(waits) == {0.0} and 6 <= len(waits) < 40, "some records at a time, and then seldom"
