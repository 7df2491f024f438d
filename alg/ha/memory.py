"""A store in memory: the model that the engines are compared with, for tests without one.

The law of this file: it does what the words of `store` say and nothing else; several handles share one `MemoryStore`.
"""

from __future__ import annotations

import asyncio

from .store import START, FencedError, Position, StoreError, StoreRecord


class MemoryStore:
    """What an engine keeps. `broken`: it answers nobody."""

    def __init__(self) -> None:
        self.logs: dict[str, list[StoreRecord]] = {}
        self.ends: dict[str, Position] = {}
        self.keys: dict[str, bytes] = {}
        self.broken = False

    def write(self, log: str, position: Position, data: bytes) -> None:
        """Append at once. FencedError if the log is further; StoreError if nobody answers."""
        self.reach()
        end = self.ends.get(log, START)
        if position <= end:
            raise FencedError(f"{log}: it has {end}, which isn't before {position}")
        self.logs.setdefault(log, []).append(StoreRecord(position, data))
        self.ends[log] = position

    def reach(self) -> None:
        """StoreError if nobody answers."""
        if self.broken:
            raise StoreError("the engine doesn't answer")


class MemoryLog:
    """A log of a MemoryStore."""

    def __init__(self, memory: MemoryStore, name: str) -> None:
        self._memory = memory
        self._name = name
        self._failed: StoreError | None = None

    def append(self, position: Position, data: bytes) -> None:
        """As StoreLog says."""
        try:
            if self._failed is None:
                self._memory.write(self._name, position, data)
        except StoreError as error:
            self._failed = error

    async def commit(self) -> None:
        """As StoreLog says."""
        await asyncio.sleep(0)
        if self._failed is not None:
            raise self._failed

    async def tail(self, after: Position, wait: float = 0.0, most: int = 64) -> list[StoreRecord]:
        """As StoreLog says."""
        deadline = asyncio.get_running_loop().time() + wait
        while True:
            self._memory.reach()
            found = [one for one in self._memory.logs.get(self._name, []) if one.position > after][:most]
            if found or asyncio.get_running_loop().time() >= deadline:
                return found
            await asyncio.sleep(0.005)

    async def last(self) -> Position:
        """As StoreLog says."""
        self._memory.reach()
        return self._memory.ends.get(self._name, START)

    async def snapshot(self, begins: Position) -> None:
        """As StoreLog says."""
        self._memory.reach()
        kept = [one for one in self._memory.logs.get(self._name, []) if one.position >= begins]
        self._memory.logs[self._name] = kept

    async def close(self) -> None:
        """As StoreLog says."""


class MemoryKeys:
    """The keys of a MemoryStore."""

    def __init__(self, memory: MemoryStore) -> None:
        self._memory = memory

    async def read(self, key: str) -> bytes:
        """As StoreKeys says."""
        self._memory.reach()
        return self._memory.keys.get(key, b"")

    async def compare_and_set(self, key: str, expected: bytes, new: bytes) -> bool:
        """As StoreKeys says."""
        self._memory.reach()
        if self._memory.keys.get(key, b"") != expected:
            return False
        self._memory.keys[key] = new
        return True

    async def close(self) -> None:
        """As StoreKeys says."""
