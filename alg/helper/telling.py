"""What the audit is told about control sessions and their data connections.

The law of this file: it stands between the engine's announcements and audit/. Most events have no reader, so it hands
on how to make a row, not the row's text.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from algate.alg.audit.events import TRANSFER, Events, event_row, transfer_row
from algate.alg.audit.transfers import Read, Transfers
from algate.alg.engine.effects import Admitted, Announce, Describe
from algate.alg.gateway import records
from algate.alg.helper.faults import Faults
from algate.alg.rows import EventRow, format_id


class Telling:
    """`name_of`: the plug-in that watches a control session. `faults`: what went wrong in plug-ins and engine."""

    def __init__(self, events: Events, name_of: Callable[[int], str | None]) -> None:
        self.transfers = Transfers()
        self.faults = Faults()
        self._events = events
        self._name_of = name_of

    def announce(self, announced: Announce | Describe | Admitted) -> None:
        """Pass on what the engine announced."""
        if isinstance(announced, Announce):
            if announced.error is not None:
                self.faults.note(announced.session, announced.error)
            self._tell(announced.event.event, announced.session, event_row, announced)
        elif isinstance(announced, Describe):
            self.transfers.describe(announced.session, announced.purpose)
        else:
            data = announced.data
            key = records.pack_key(data.key)
            self.transfers.admit(announced.session, announced.control, announced.tag, data.session, key)

    def look_at_transfers(self, read: Read) -> Iterator[None]:
        """Tell of data connections that ended, a few per step."""
        for over in self.transfers.poll(read):
            for one in over:
                self._tell(TRANSFER, one.session, transfer_row, one)
            yield

    def _tell(self, event: str, session: int, row: Callable[[Any, str | None, float], EventRow], what: object) -> None:
        write = partial(row, what, self._name_of(session), time.time())
        self._events.tell(event, format_id(session), write)
