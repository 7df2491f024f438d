"""The store on Redis 7 or Valkey: a log is a stream with the writer's own ids, a key moves by one script.

The law of this file: nothing is replicated by the engine itself. The ids `epoch-seq` make it refuse what isn't behind
its last record, which also holds for records that have gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import deque
from collections.abc import Callable
from functools import partial

from .resp import CommandError, Reply, RespConnection, StoreAddress, connect
from .store import START, FencedError, Position, SlowError, StoreError, StoreRecord

SECONDS = 2.0  # that a command may take
FIELD = b"r"
PREFIX = "algate:"
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
        self._link = _Link(where, seconds)
        self._sent: deque[asyncio.Future[Reply]] = deque()
        self._failed: StoreError | None = None
        self._refused = False
        self.heard: Callable[[Position], None] = lambda _: None  # as HearingLog says

    async def opened(self) -> None:
        """Connect. StoreError if there is nobody, or not who it should be."""
        await self._link.get()

    def append(self, position: Position, data: bytes) -> None:
        """As StoreLog says."""
        connection = self._link.connection
        if connection is None:
            self._failed = self._failed or StoreError(self._link.told(StoreError("it isn't connected")))
        if self._failed is None and connection is not None:
            then = partial(self._replied, position)
            self._sent.append(connection.send("XADD", self._key, str(position), FIELD, data, then=then))

    def _replied(self, position: Position, good: bool) -> None:
        """Behind a record that was refused none counts: it might be in the log all the same."""
        self._refused = self._refused or not good
        if not self._refused:
            self.heard(position)

    async def commit(self) -> None:
        """As StoreLog says. One that is still under way when another begins is waited for by both."""
        waited = list(self._sent)
        try:
            async with asyncio.timeout(self._link.seconds):
                for one in waited:
                    await asyncio.shield(one)
                    with contextlib.suppress(ValueError):
                        self._sent.remove(one)
        except TimeoutError:
            self._fail(SlowError(f"it didn't answer within {self._link.seconds:g} s"))
        except CommandError as error:
            older = "equal or smaller" in str(error) or "must be greater" in str(error)
            self._fail(FencedError(str(error)) if older else error)
        except StoreError as error:
            self._fail(error)
        if self._failed is not None:
            raise type(self._failed)(str(self._failed))

    def _fail(self, error: StoreError) -> None:
        if self._failed is None:
            self._failed = type(error)(self._link.told(error))
        self._sent.clear()
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
