"""The standby's side: reads what the other gateway writes at this node's engine, as it comes.

The law of this file: it reads, and keeps; whatever is wrong is said once and tried again. At a take-over it shuts the
log to its writer first, and reads the rest.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from .entries import Entry, unpack
from .standby import KeptState, Standby
from .store import START, Position, StoreError, StoreLog

log = logging.getLogger(__name__)
WAIT = 1.0  # s that a look waits for a record
AGAIN = 0.5  # s until the next try
MOST = 16  # records at a time: of the bulk they have 64 KiB each
GATHER = 0.05  # s between looks at a log whose writer waits for the engine: with a reader to wake it answers later
LAST_WORDS = 0.3  # s that a take-over waits for those of a node that gives the address away


class LogFollower:
    """Of one log. `position`: of the last record read; `problem`: why nothing is read, "" if all is; `taken` is called
    with what each message said, when it is kept."""

    def __init__(self, name: str, store: StoreLog, gather: float = 0.0) -> None:
        """`gather`: s between two looks; 0: records are read as they come."""
        self.name = name
        self._gather = gather
        self.position = START
        self.problem = ""
        self.records = 0
        self.taken: Callable[[list[Entry]], None] = lambda _: None
        self._standby = Standby()
        self._log = store

    @property
    def kept(self) -> KeptState | None:
        """What the other gateway holds, None if it never told all of it."""
        return self._standby.kept

    @property
    def parting(self) -> bool:
        """Whether the other gateway gives the address away, and has more to tell."""
        return self._standby.parting

    async def run(self) -> None:
        """Read for ever."""
        while True:
            found = await self._look(0.0 if self._gather else WAIT)
            if found is None:
                await asyncio.sleep(AGAIN)
            elif self._gather and found < MOST:
                await asyncio.sleep(self._gather)

    async def _look(self, wait: float) -> int | None:
        """Read some of what there is; how many records, None if that failed."""
        try:
            found = await self._log.tail(self.position, wait, MOST)
            for one in found:
                self.position = one.position
                told = unpack(one.data)
                self._standby.take(told)
                self.taken(told)
        except StoreError as error:
            if self.problem != str(error):
                log.warning("log %s of this node's engine: %s", self.name, error)
            self.problem = str(error)
            return None
        self.problem = ""
        self.records += len(found)
        return len(found)

    async def hear_out(self) -> None:
        """A node that gives the address away by itself still tells what began in its last moments."""
        end = time.monotonic() + LAST_WORDS
        while self.parting and time.monotonic() < end and await self._look(0.02) is not None:
            pass

    async def shut(self, epoch: int) -> None:
        """Refuse whatever a writer of an earlier epoch appends from now on, and read the rest."""
        try:
            await self._log.last()  # connects
            self._log.append(Position(epoch, 0), b"")
            await self._log.commit()
        except StoreError as error:
            log.warning("log %s of this node's engine can't be shut to the other node: %s", self.name, error)
        while await self._look(0):
            pass

    async def close(self) -> None:
        """Give the connection back."""
        await self._log.close()
