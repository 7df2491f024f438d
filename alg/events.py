"""Events for those who follow: the latest few, and a bounded queue a follower.

The law of this file: it keeps and hands on; what an event means is its maker's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Iterator

from algate.alg.effects import Announce
from algate.alg.rows import EventRow, format_id

LATEST = 200
QUEUE = 10_000


class Events:
    """`latest` for screens, `subscribed` for streams. A full queue loses its oldest event; `lost` counts them."""

    def __init__(self) -> None:
        self.latest: deque[EventRow] = deque(maxlen=LATEST)
        self.lost = 0
        self._queues: set[asyncio.Queue[EventRow]] = set()

    def add(self, row: EventRow) -> None:
        """To everybody."""
        self.latest.append(row)
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()
                self.lost += 1
            queue.put_nowait(row)

    @contextlib.contextmanager
    def subscribed(self) -> Iterator[asyncio.Queue[EventRow]]:
        """A queue of what happens from now on."""
        queue: asyncio.Queue[EventRow] = asyncio.Queue(QUEUE)
        self._queues.add(queue)
        try:
            yield queue
        finally:
            self._queues.discard(queue)


def event_row(announced: Announce, alg: str | None) -> EventRow:
    """The row of what the engine announced."""
    event = announced.event
    return EventRow(time.time(), event.event, format_id(announced.session), alg, event.detail, event.reason)
