"""What two gateways ask of the engine that keeps their state: logs, and keys that move by compare-and-set.

The law of this file: words only, no engine. tests/unit/ha/test_store.py says what each of them means, and every engine
has to pass it: Redis, the model in memory, and NATS with one replica, which is there for that test alone. A position
is the writer's own, so a record that is sent twice is in the log once, and a writer of an earlier epoch is refused as
soon as one of a later epoch has written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from algate.alg.errors import AlgateError


class StoreError(AlgateError):
    """The engine can't be reached, took too long or refused. What wasn't committed may be in the log or not. `reason`:
    in a word, a label of a metric."""

    reason = "unreachable"


class FencedError(StoreError):
    """The log has a record at this position or behind it: another node writes, or this one has written that before."""

    reason = "fenced"


class SlowError(StoreError):
    """It took too long."""

    reason = "slow"


class Position(NamedTuple):
    """Where a record stands. `epoch` > 0: of the node that wrote it; `seq` counts its records."""

    epoch: int
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"


START = Position(0, 0)
"""Before all records."""


class StoreRecord(NamedTuple):
    """One record of a log."""

    position: Position
    data: bytes


class StoreLog(Protocol):
    """Records in order, one writer at a time. Each log has its connection, so that a long one holds up no other."""

    def append(self, position: Position, data: bytes) -> None:
        """Send a record and wait for nothing. FencedError and StoreError come from commit()."""

    async def commit(self) -> None:
        """Until the engine has all that was appended. FencedError, StoreError: then the log takes no more from here;
        also where nothing was appended and the engine has gone, which is seen within some seconds."""

    async def tail(self, after: Position, wait: float = 0.0, most: int = 64) -> list[StoreRecord]:
        """Records behind a position, at most so many. If there are none: wait for one, so many seconds."""

    async def last(self) -> Position:
        """Of the last record that was ever written, START if none was."""

    async def snapshot(self, begins: Position) -> None:
        """The log from there on tells all that the earlier part did, which may go."""

    async def close(self) -> None:
        """Give the connection back."""


class Listened(NamedTuple):
    """`came`: something from the engine; `others`: something at one of the other descriptors, which may not say so
    again: that of a perf ring doesn't."""

    came: bool
    others: bool


@runtime_checkable
class HearingLog(Protocol):
    """Of a log that says at once which records the engine has, before a commit() comes to that: the last of them, and
    so all before it."""

    heard: Callable[[Position], None]

    def listen(self, seconds: float, others: Sequence[int]) -> Listened:
        """Hear what comes within this time, here and now: no longer than until one of the `others`, descriptors, has
        something to be read."""


class StoreKeys(Protocol):
    """Keys with values, each changed by one comparison at a time."""

    async def read(self, key: str) -> bytes:
        """Its value, empty if it has none."""

    async def compare_and_set(self, key: str, expected: bytes, new: bytes) -> bool:
        """If its value is that (empty: it has none), let it be this. False: it isn't, and nothing was changed."""

    async def close(self) -> None:
        """Give the connection back."""
