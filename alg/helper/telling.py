"""What the audit is told about control sessions and their data connections.

The law of this file: it stands between the engine's announcements and audit/, in their order. Most events have no
reader, so it hands on how to make a row, not the row's text. Nobody's line waits for it: during a turn of the helper it
keeps what it is told until the end.
"""

from __future__ import annotations

import logging
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

log = logging.getLogger(__name__)


class Telling:
    """`name_of`: the plug-in that watches a control session. `faults`: what went wrong in plug-ins and engine."""

    def __init__(self, events: Events, name_of: Callable[[int], str | None]) -> None:
        self.transfers = Transfers()
        self.faults = Faults()
        self._events = events
        self._name_of = name_of
        self._kept: list[tuple[Announce | Describe | Admitted, float]] = []
        self._keeping = False
        self._of = 0, format_id(0)  # whose the latest was: one session's come together

    def keep(self) -> None:
        """From now on keep what is announced, until `tell_all`."""
        self._keeping = True

    def tell_all(self) -> int:
        """Pass on what was kept, and whatever comes from now on at once. How much of it could not be told."""
        self._keeping = False
        kept, self._kept = self._kept, []
        failed = 0
        for announced, moment in kept:
            try:
                self._pass_on(announced, moment)
            except Exception:
                failed += 1
                log.exception("what happened could not be told")
        return failed

    def announce(self, announced: Announce | Describe | Admitted) -> None:
        """Pass on what the engine announced, or keep it."""
        if self._keeping:
            self._kept.append((announced, time.time()))
        else:
            self._pass_on(announced, time.time())

    def _pass_on(self, announced: Announce | Describe | Admitted, moment: float) -> None:
        if isinstance(announced, Announce):
            if announced.error is not None:
                self.faults.note(announced.session, announced.error)
            self._tell(announced.event.event, announced.session, event_row, announced, moment)
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
                self._tell(TRANSFER, one.session, transfer_row, one, time.time())
            yield

    def _tell(
        self, event: str, session: int, row: Callable[[Any, str | None, float], EventRow], what: object, moment: float
    ) -> None:
        number, told = self._of
        if number != session:
            told = format_id(session)
            self._of = session, told
        self._events.tell(event, told, partial(row, what, self._name_of(session), moment))
