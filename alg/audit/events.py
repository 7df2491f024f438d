"""Events on their way to those who want them: followers, the journal, the log, and the history that `explain` reads.

The law of this file: it keeps and passes on, within bounds; what an event means is up to its maker.

Bounds. A follower's queue loses its oldest rows, plain commands first; the follower is told how many. The journal and
the log take a limited rate and are told what was left out. Plain commands become events only while somebody hears them
(a follower or a journal), and at most COMMANDS_PER_SECOND of them: `audience` is the plug-ins' switch, `tick` sets it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator

from algate.alg.audit.follower import COMMAND, Follower, lost_row
from algate.alg.audit.journal import Journal, escaped
from algate.alg.audit.told import told
from algate.alg.audit.transfers import Transfer
from algate.alg.engine.effects import Announce
from algate.alg.plugin.model import Audience, Control, Side
from algate.alg.rows import EventRow, format_id

LATEST = 200
COMMANDS_PER_SECOND = 4000
HISTORY_SESSIONS = 4096
HISTORY_EVENTS = 16  # events kept per control session
JOURNAL_PER_SECOND, LOG_PER_SECOND = 2000, 100
TRANSFER = "transfer"

log = logging.getLogger(__name__)


class Bucket:
    """A rate limit; a burst is what two seconds bring. `left_out`: how many were refused since the last report."""

    def __init__(self, rate: float) -> None:
        self.left_out = 0
        self._rate, self._tokens, self._at = rate, 2 * rate, time.monotonic()

    def take(self) -> bool:
        """Whether one more may pass."""
        now = time.monotonic()
        self._tokens = min(2 * self._rate, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            self.left_out += 1
            return False
        self._tokens -= 1
        return True

    def told(self) -> int:
        """How many were left out since the last call."""
        number, self.left_out = self.left_out, 0
        return number


class Untold:
    """An event that isn't a row yet. Its row is made once."""

    __slots__ = ("_row", "_write")

    def __init__(self, write: Callable[[], EventRow]) -> None:
        self._write: Callable[[], EventRow] | None = write
        self._row: EventRow | None = None

    def row(self) -> EventRow:
        """As `write` makes it."""
        if self._row is None:
            assert self._write is not None
            self._row, self._write = self._write(), None
        return self._row


class Events:
    """`latest` is for screens, `subscribed` for streams, `history` for explanations. `lost` counts rows nobody got."""

    def __init__(self, journal: Journal | None = None) -> None:
        self._latest: deque[EventRow | Untold] = deque(maxlen=LATEST)
        self.lost = 0
        self.audience = Audience()
        self.journal = journal if journal is not None else Journal()
        self._to_log = not (self.journal and _stderr_is_journal())
        self.audience_changed: Callable[[], None] = lambda: None
        self._followers: set[Follower] = set()
        self._history: dict[str, deque[EventRow | Untold]] = {}
        self._journal_room, self._log_room = Bucket(JOURNAL_PER_SECOND), Bucket(LOG_PER_SECOND)
        self._told = time.monotonic()
        self._left_out = 0  # commands that nobody was told about since the last second
        self._listen()

    def tell(self, event: str, control: str, write: Callable[[], EventRow]) -> None:
        """To everybody, as `write` makes it once somebody reads it."""
        if self._followers or self.journal:
            self.add(write())
        elif event != COMMAND:
            self._keep(Untold(write), control)

    def add(self, row: EventRow) -> None:
        """Tell everybody."""
        for follower in self._followers:
            if not follower.put(row):
                self.lost += 1
        if self.journal and self._journal_room.take():
            self.journal.write(row)
        if row.event != COMMAND:
            self._keep(row, row.control)

    def _keep(self, one: EventRow | Untold, control: str | None) -> None:
        """For screens, explanations and, with room there, the log."""
        self._latest.append(one)
        if control:
            self._remember(control, one)
        if self._to_log and log.isEnabledFor(logging.INFO) and self._log_room.take():
            log.info("%s", line(_row(one)))

    @property
    def latest(self) -> list[EventRow]:
        """The latest events of all sessions, oldest first, without plain commands."""
        return [_row(one) for one in self._latest]

    def history(self, control: str) -> list[EventRow]:
        """The latest events of a control session, oldest first, without its plain commands."""
        return [_row(one) for one in self._history.get(control, ())]

    def known(self) -> list[str]:
        """The control sessions that have a history, least recent first."""
        return list(self._history)

    def tick(self, seconds: float) -> None:
        """`seconds` have passed: there is room for more commands; once a second, report what was left out."""
        missed, self.audience.missed = self.audience.missed, 0
        if self.heard():
            self.lost += missed
            self._left_out += missed
            self.audience.room = max(1, round(COMMANDS_PER_SECOND * seconds))
        now = time.monotonic()
        if now - self._told >= 1:
            self._told = now
            self._tell()

    @contextlib.contextmanager
    def subscribed(self) -> Iterator[Follower]:
        """A queue of events from now on."""
        follower = Follower()
        self._followers.add(follower)
        self._listen()
        try:
            yield follower
        finally:
            self._followers.discard(follower)
            self._listen()

    def heard(self) -> bool:
        """Whether anybody hears of every command: a follower or the journal."""
        return bool(self._followers) or bool(self.journal)

    def _listen(self) -> None:
        """A follower came or went."""
        self.audience.missed = 0
        self.audience.room = COMMANDS_PER_SECOND // 20 if self.heard() else 0
        self.audience_changed()

    def _remember(self, control: str, one: EventRow | Untold) -> None:
        rows = self._history.pop(control, None)
        if rows is None:
            rows = deque(maxlen=HISTORY_EVENTS)
            if len(self._history) >= HISTORY_SESSIONS:
                del self._history[next(iter(self._history))]
        rows.append(one)
        self._history[control] = rows

    def _tell(self) -> None:
        if self._left_out:
            number, self._left_out = self._left_out, 0
            row = lost_row(number, f"commands beyond {COMMANDS_PER_SECOND} per second", "event-rate")
            for follower in self._followers:
                follower.put(row)
        if self._journal_room.left_out:
            self.journal.write(lost_row(self._journal_room.told(), "too many for the journal", "event-rate"))
        if self._log_room.left_out:
            log.info("%d more events: see `algate follow`", self._log_room.told())


def _row(one: EventRow | Untold) -> EventRow:
    return one.row() if isinstance(one, Untold) else one


def event_row(announced: Announce, alg: str | None, at: float) -> EventRow:
    """The row of what the engine announced at a moment of the calendar."""
    event = announced.event
    fields = {**whose(announced.control), **dict(event.fields)}
    return EventRow(at, event.event, format_id(announced.session), alg, event.detail, event.reason, fields)


def whose(control: Control | None) -> dict[str, str | int | float]:
    """Who: both end points as `sessions` has them, and which of them is the client."""
    if control is None:
        return {}
    client = "inside" if control.inside_side is Side.CLIENT else "outside"
    return {"inside": str(control.inside), "outside": str(control.remote), "client": client}


def transfer_row(one: Transfer, alg: str | None, at: float) -> EventRow:
    """A data connection that was found ended at a moment of the calendar, for people and for machines."""
    fields = one.fields
    detail = one.purpose.detail if one.purpose else "data connection"
    ended = one.last.ended if one.last else ""
    what = "bytes" if fields["counted"] == "payload" else "bytes of IP packets"
    told = f"{detail}: {fields['bytes']} {what} {fields['direction']}ward in {fields['duration']} s"
    reason = "" if ended == "closed" else ended
    return EventRow(at, TRANSFER, format_id(one.session), alg, told, reason, {**whose(one.control), **fields})


def line(row: EventRow) -> str:
    """A row as one harmless log line; the control session, by which `explain` and `follow` find it, stands last."""
    where = " ".join(one for one in (row.alg, row.control) if one)
    return escaped(f"{told(row)} [{where}]" if where else str(told(row)))


def _stderr_is_journal() -> bool:
    """Whether journald reads this process's stderr (sd-daemon's JOURNAL_STREAM): a log would tell all twice."""
    wanted = os.environ.get("JOURNAL_STREAM", "")
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return wanted == f"{found.st_dev}:{found.st_ino}"
