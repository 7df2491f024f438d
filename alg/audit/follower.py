"""One reader of events, and what it is told of those that it missed.

The law of this file: a bounded queue on the daemon's loop. It loses its oldest rows, plain commands first.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

from algate.alg.rows import LOST, EventRow

QUEUE = 10_000
COMMAND = "command"


class Follower:
    """One reader's queue."""

    def __init__(self) -> None:
        self.lost = 0
        self._rows: deque[EventRow] = deque()
        self._some = asyncio.Event()

    def put(self, row: EventRow) -> bool:
        """False if a row was lost to make room for it."""
        kept = True
        if row.event == COMMAND and len(self._rows) >= QUEUE // 2:
            self.lost += 1
            return False
        if len(self._rows) >= QUEUE:
            self._rows.popleft()
            self.lost += 1
            kept = False
        self._rows.append(row)
        self._some.set()
        return kept

    async def get(self) -> EventRow:
        """The next row; after losses, one that says how many."""
        while not self._rows and not self.lost:
            self._some.clear()
            await self._some.wait()
        if self.lost and len(self._rows) < QUEUE // 2:
            number, self.lost = self.lost, 0
            return lost_row(number, "the reader is too slow", "slow-reader")
        return self._rows.popleft()


def lost_row(number: int, detail: str, reason: str) -> EventRow:
    """The row that stands in for events that were left out."""
    return EventRow(time.time(), LOST, None, None, f"{number} {detail}", reason, {"count": number})
