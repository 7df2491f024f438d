"""What an active gateway writes at the other one's engine: a log of its epoch, which begins anew when it has grown.

The law of this file: positions and pages; what is in them and who waits for them is leading.py's.
"""

from __future__ import annotations

from collections.abc import Iterable

from .entries import Authorship, Entry, EntryKind, begin, pack, pages
from .store import Position, StoreLog


class LogWriter:
    """One log of this node's epoch."""

    def __init__(self, store: StoreLog, epoch: int) -> None:
        self.store = store
        self.begun = 0  # the record with which it began
        self._epoch = epoch
        self.seq = 0

    def write(self, entries: Iterable[Entry]) -> None:
        """Append a message."""
        self.seq += 1
        self.store.append(Position(self._epoch, self.seq), pack(entries))

    def begin(self, who: Authorship, everything: Iterable[Entry]) -> None:
        """Tell all anew."""
        self.begun = self.seq + 1
        for page in pages([begin(who), *everything, Entry(EntryKind.END, b"")]):
            self.write(page)

    async def trim(self) -> None:
        """What was told before that may go, once it is there."""
        await self.store.commit()
        await self.store.snapshot(Position(self._epoch, self.begun))
