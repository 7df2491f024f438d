"""The store on Redis 7 or Valkey: a log is a stream with the writer's own ids, a key moves by one script.

The law of this file: nothing is replicated by the engine itself. The ids `epoch-seq` make it refuse what isn't behind
its last record, which also holds for records that have gone.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from .resp import CommandError, Reply, RespConnection, StoreAddress, connect, counted
from .store import START, FencedError, Listened, Position, SlowError, StoreError, StoreRecord
from .wire import NOTHING

SECONDS = 2.0  # that a command may take
LOOK = 1.0  # s between two looks whether an engine to which nothing is written is there
FIELD = b"r"
PREFIX = "algate:"
NOBODYS = PREFIX + "nobodys"  # a key that nobody has
MOVE = (
    "local v = redis.call('GET', KEYS[1]) or '' "
    "if v ~= ARGV[1] then return 0 end redis.call('SET', KEYS[1], ARGV[2]) return 1"
)
MOVE_SHA = hashlib.sha1(MOVE.encode(), usedforsecurity=False).hexdigest()


class _Link:
    """A connection that is made when it is first wanted, and anew after it was lost."""

    def __init__(self, where: StoreAddress, seconds: float) -> None:
        self._where = where
        self.seconds = seconds
        self.connection: RespConnection | None = None

    async def get(self) -> RespConnection:
        if self.connection is None or self.connection.lost:
            self.connection = await connect(self._where, self.seconds)
        return self.connection

    async def ask(self, *words: bytes | str | int, extra: float = 0.0) -> Reply:
        connection = await self.get()
        try:
            return await connection.ask(*words, seconds=self.seconds + extra)
        except StoreError as error:
            raise type(error)(f"{self._where}: {error}") from None

    def told(self, error: StoreError) -> str:
        return f"{self._where}: {error}"

    def close(self) -> None:
        if self.connection is not None:
            self.connection.end("it is closed")
            self.connection = None


class RedisLog:
    """A stream. `opened` before the first append: that one can't wait for a connection."""

    def __init__(self, where: StoreAddress, name: str, seconds: float = SECONDS) -> None:
        self._key = PREFIX + name
        self._append = b"*5\r\n" + counted("XADD", self._key)
        self._link = _Link(where, seconds)
        self._sent = self._answered = 0  # records
        self._waits: deque[tuple[int, asyncio.Future[None]]] = deque()  # until so many are answered
        self._look_at = 0.0
        self._refused: StoreError | None = None
        self._failed: StoreError | None = None
        self.heard: Callable[[Position], None] = lambda _: None  # as HearingLog says

    async def opened(self) -> None:
        """Connect. StoreError if there is nobody, or not who it should be."""
        await self._link.get()

    def append(self, position: Position, data: bytes) -> None:
        """As StoreLog says. A rewritten command waits for this, so the words are joined here."""
        connection = self._link.connection
        if connection is None:
            self._failed = self._failed or StoreError(self._link.told(StoreError("it isn't connected")))
        if self._failed is None and connection is not None:
            name = b"%d-%d" % position
            reply = b"$%d\r\n%b\r\n" % (len(name), name)
            self._sent += 1
            command = b"%b%b$1\r\n%b\r\n$%d\r\n%b\r\n" % (self._append, reply, FIELD, len(data), data)
            connection.tell(command, partial(self._replied, position), reply)

    def _replied(self, position: Position, reply: Reply | StoreError) -> None:
        """Behind a record that was refused none counts: it might be in the log all the same."""
        self._answered += 1
        if self._refused is None and isinstance(reply, StoreError):
            self._refused = reply
        if self._refused is None:
            self.heard(position)
        while self._waits and (self._refused is not None or self._waits[0][0] <= self._answered):
            future = self._waits.popleft()[1]
            if not future.done():
                future.set_result(None)

    def listen(self, seconds: float, others: Sequence[int]) -> Listened:
        """As HearingLog says."""
        connection = self._link.connection
        return NOTHING if connection is None else connection.listen(seconds, others)

    async def commit(self) -> None:
        """As StoreLog says. Several may wait at the same time."""
        try:
            if self._answered < self._sent and self._refused is None:
                future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waits.append((self._sent, future))
                async with asyncio.timeout(self._link.seconds):
                    await future
        except TimeoutError:
            self._fail(SlowError(f"it didn't answer within {self._link.seconds:g} s"))
        if self._refused is not None:
            error = str(self._refused)
            older = "equal or smaller" in error or "must be greater" in error
            self._fail(FencedError(error) if older and isinstance(self._refused, CommandError) else self._refused)
        if self._failed is None:
            await self._look()
        if self._failed is not None:
            raise type(self._failed)(str(self._failed))

    async def _look(self) -> None:
        """See that it is there still: where nothing is written, nothing else would tell. An engine that went and came
        back may have come back empty, so there is no second connection."""
        connection, now = self._link.connection, time.monotonic()
        if connection is None or (not connection.lost and now < self._look_at):
            return
        self._look_at = now + LOOK
        try:
            await connection.ask("GET", NOBODYS, seconds=self._link.seconds)  # what a node's user may ask for
        except CommandError:
            pass  # an answer, too
        except StoreError as error:
            self._fail(error)

    def _fail(self, error: StoreError) -> None:
        if self._failed is None:
            self._failed = type(error)(self._link.told(error))
        self._link.close()

    async def tail(self, after: Position, wait: float = 0.0, most: int = 64) -> list[StoreRecord]:
        """As StoreLog says."""
        words: list[bytes | str | int] = ["XREAD", "COUNT", most]
        if wait > 0:
            words += ["BLOCK", max(1, int(wait * 1000))]
        reply = await self._link.ask(*words, "STREAMS", self._key, str(after), extra=wait)
        if not reply:
            return []
        try:
            assert isinstance(reply, list) and isinstance(reply[0], list) and isinstance(reply[0][1], list)
            return [_record(one) for one in reply[0][1]]
        except (AssertionError, IndexError, ValueError, TypeError):
            raise StoreError(self._link.told(StoreError("its records aren't algate's"))) from None

    async def last(self) -> Position:
        """As StoreLog says."""
        try:
            reply = await self._link.ask("XINFO", "STREAM", self._key)
        except CommandError as error:
            if "no such key" in str(error):
                return START
            raise
        if not isinstance(reply, list) or b"last-generated-id" not in reply:
            raise StoreError(self._link.told(StoreError("it doesn't say what the last record is")))
        found = reply[reply.index(b"last-generated-id") + 1]
        return _position(found)

    async def snapshot(self, begins: Position) -> None:
        """As StoreLog says."""
        await self._link.ask("XTRIM", self._key, "MINID", str(begins))

    async def close(self) -> None:
        """As StoreLog says."""
        self._link.close()


def _position(raw: Reply) -> Position:
    assert isinstance(raw, bytes)
    epoch, _, seq = raw.partition(b"-")
    return Position(int(epoch), int(seq))


def _record(raw: Reply) -> StoreRecord:
    assert isinstance(raw, list) and isinstance(raw[1], list)
    data = raw[1][1]
    assert isinstance(data, bytes) and raw[1][0] == FIELD
    return StoreRecord(_position(raw[0]), data)


class RedisKeys:
    """Keys of an engine."""

    def __init__(self, where: StoreAddress, seconds: float = SECONDS) -> None:
        self._link = _Link(where, seconds)

    async def read(self, key: str) -> bytes:
        """As StoreKeys says."""
        reply = await self._link.ask("GET", PREFIX + key)
        return reply if isinstance(reply, bytes) else b""

    async def compare_and_set(self, key: str, expected: bytes, new: bytes) -> bool:
        """As StoreKeys says."""
        words = (1, PREFIX + key, expected, new)
        try:
            return bool(await self._link.ask("EVALSHA", MOVE_SHA, *words))
        except CommandError as error:
            if "NOSCRIPT" not in str(error):
                raise
        return bool(await self._link.ask("EVAL", MOVE, *words))

    async def close(self) -> None:
        """As StoreKeys says."""
        self._link.close()
