"""Turning the daemon's snapshots into what `top` shows: rates, and sessions as a tree.

The law of this file: pure. Two snapshots make a rate, related_to and control make the tree; time is the daemon's.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, NamedTuple

from algate.alg.admin.filters import Filter, insides, outsides
from algate.alg.rows import EventRow, ExpectationRow, SessionRow

FlowRow = SessionRow | ExpectationRow
RATE_SPAN = 5  # snapshots that a rate looks back over: steady enough to read at 2 per second


@dataclass(frozen=True, slots=True)
class TopSnapshot:
    """The gateway at one moment, from the daemon's verb `top`. `time`: seconds since the epoch."""

    time: float = 0.0
    status: Mapping[str, Any] = field(default_factory=dict)
    sessions: tuple[SessionRow, ...] = ()
    expectations: tuple[ExpectationRow, ...] = ()
    stats: Mapping[str, float] = field(default_factory=dict)
    events: tuple[EventRow, ...] = ()

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> TopSnapshot:
        """From a line of the stream; what is missing is empty."""
        return cls(
            time=float(data.get("time", 0.0)),
            status=data.get("status") or {},
            sessions=tuple(map(SessionRow.read, data.get("sessions") or ())),
            expectations=tuple(map(ExpectationRow.read, data.get("expectations") or ())),
            stats={name: value for name, value in (data.get("stats") or {}).items() if isinstance(value, int | float)},
            events=tuple(map(EventRow.read, data.get("events") or ())),
        )


class Rate(NamedTuple):
    """Bytes per second by direction."""

    out: float = 0.0
    into: float = 0.0


NO_RATE = Rate()


@dataclass(frozen=True, slots=True)
class TopFlow:
    """A line of the tree. `last`: no sibling follows; meaningful at depth 1."""

    row: FlowRow
    depth: int = 0
    last: bool = False
    rate: Rate = NO_RATE


class History:
    """The last few snapshots, for rates. When the daemon restarts (a counter fell), a new history begins."""

    def __init__(self) -> None:
        self._kept: list[tuple[float, Mapping[str, float], dict[str, tuple[int, int]]]] = []
        self.now = TopSnapshot()
        self.seen = 0

    def add(self, snapshot: TopSnapshot) -> None:
        """Take in a newer snapshot."""
        total = "algate_sessions_created_total"
        if self._kept and snapshot.stats.get(total, 0) < self._kept[-1][1].get(total, 0):
            self._kept.clear()
        counters = {row.id: (row.bytes_out, row.bytes_in) for row in snapshot.sessions}
        self._kept = [*self._kept[-RATE_SPAN:], (snapshot.time, snapshot.stats, counters)]
        self.now = snapshot
        self.seen += 1

    def rate(self, name: str) -> float:
        """Growth per second of a metric."""
        if len(self._kept) < 2:
            return 0.0
        (then, before, _), (now, after, _) = self._kept[0], self._kept[-1]
        return max(after.get(name, 0) - before.get(name, 0), 0) / (now - then) if now > then else 0.0

    def session_rate(self, row: SessionRow) -> Rate:
        """Bytes per second of a session; for a new one, since it began."""
        for then, _, counters in self._kept[:-1]:
            if row.id in counters and self.now.time > then:
                out, into = counters[row.id]
                span = self.now.time - then
                return Rate(max(row.bytes_out - out, 0) / span, max(row.bytes_in - into, 0) / span)
        span = max(row.age, 0.5)
        return Rate(row.bytes_out / span, row.bytes_in / span) if len(self._kept) > 1 else NO_RATE

    def drops(self) -> list[tuple[str, float, float]]:
        """(reason, per second, total) of all drops so far, busiest first."""
        found = []
        for name, total in self.now.stats.items():
            match = re.fullmatch(r'algate_drops_total\{reason="([^"]*)"\}', name)
            if match and total:
                found.append((match[1], self.rate(name), total))
        return sorted(found, key=lambda one: (-one[1], -one[2], one[0]))


SortKey = Callable[[TopFlow], Any]


def _address(flow: TopFlow, side: Callable[[FlowRow], tuple[str | None, ...]]) -> Any:
    text = side(flow.row)[0] or ""
    host, _, port = text.rpartition(":") if text.count(":") == 1 or text.startswith("[") else (text, "", "0")
    try:
        return int(ip_address(host.strip("[]"))), int(port)
    except ValueError:
        return 0, 0


SORTS: Mapping[str, SortKey] = {
    "rate": lambda flow: -(flow.rate.out + flow.rate.into),
    "bytes": lambda flow: -(flow.row.bytes_out + flow.row.bytes_in) if isinstance(flow.row, SessionRow) else 0,
    "age": lambda flow: flow.row.age if isinstance(flow.row, SessionRow) else 0.0,
    "expires": lambda flow: flow.row.expires_in,
    "state": lambda flow: flow.row.state,
    "inside": lambda flow: _address(flow, insides),
    "outside": lambda flow: _address(flow, outsides),
}
"""Sort name -> key; ascending keys give each name's natural order."""


def tree(history: History, sort: str, reverse: bool, chosen: Filter, words: Sequence[str]) -> list[TopFlow]:
    """Control sessions with their expectations and data connections under them, everything else at the top level.

    A group is kept if any of its rows is wanted, and placed by the row that sorts first.
    """
    now = history.now
    known = {row.id for row in now.sessions}
    children: dict[str, list[TopFlow]] = defaultdict(list)
    tops: list[TopFlow] = []
    rows: tuple[FlowRow, ...] = (*now.expectations, *now.sessions)
    for row in rows:
        parent = row.control if isinstance(row, ExpectationRow) else row.related_to
        rate = history.session_rate(row) if isinstance(row, SessionRow) else NO_RATE
        if parent is not None and parent in known and parent != row.id:
            children[parent].append(TopFlow(row, depth=1, rate=rate))
        else:
            tops.append(TopFlow(row, rate=rate))
    key = SORTS[sort]
    groups = []
    for top in tops:
        under = sorted(children.get(top.row.id, ()), key=key, reverse=reverse)
        if any(wanted(flow.row, chosen, words) for flow in (top, *under)):
            groups.append((top, under))
    foremost = max if reverse else min
    groups.sort(key=lambda group: foremost(map(key, (group[0], *group[1]))), reverse=reverse)
    return [flow for top, under in groups for flow in (top, *_marked(under))]


def wanted(row: FlowRow, chosen: Filter, words: Iterable[str]) -> bool:
    """Whether the filter accepts the row and every word occurs in some field."""
    if not chosen.matches(row):
        return False
    text = " ".join(str(value).lower() for value in row.as_dict().values() if value is not None)
    return all(word in text for word in words)


def _marked(under: Sequence[TopFlow]) -> list[TopFlow]:
    return [TopFlow(flow.row, 1, number == len(under) - 1, flow.rate) for number, flow in enumerate(under)]
