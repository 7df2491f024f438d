"""The daemon's snapshots, and the rates between them.

The law of this file: pure. Two snapshots make a rate; time is the daemon's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from algate.alg.rows import EventRow, ExpectationRow, HostRow, PortRow, Row, SessionRow

RATE_SPAN = 5  # snapshots that a rate looks back over: steady enough to read
YOUNG = 10.0  # s: the rate of a session that wasn't seen before is that of its life, if it is no older


@dataclass(frozen=True, slots=True)
class Look:
    """How the daemon looked at the large table of the view. `matching` and `total`: true counts; `took`: seconds of its
    work; `every`: seconds between two looks; `rated`: whether the order goes by rates already."""

    matching: int = 0
    total: int = 0
    took: float = 0.0
    every: float = 0.0
    rated: bool = True


@dataclass(frozen=True, slots=True)
class TopSnapshot:
    """The gateway at one moment, from the daemon's verb `top`. `time`: seconds since the epoch."""

    time: float = 0.0
    view: str = ""
    status: Mapping[str, Any] = field(default_factory=dict)
    sessions: tuple[SessionRow, ...] = ()
    expectations: tuple[ExpectationRow, ...] = ()
    hosts: tuple[HostRow, ...] = ()
    ports: tuple[PortRow, ...] = ()
    stats: Mapping[str, float] = field(default_factory=dict)
    events: tuple[EventRow, ...] = ()
    look: Look | None = None

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> TopSnapshot:
        """From a line of the stream; what is missing is empty."""
        kinds: dict[str, type[Row]] = {
            "sessions": SessionRow, "expectations": ExpectationRow, "hosts": HostRow, "ports": PortRow,
            "events": EventRow,
        }  # fmt: skip
        rows: dict[str, Any] = {name: tuple(map(kind.read, data.get(name) or ())) for name, kind in kinds.items()}
        look = data.get("look")
        return cls(
            time=float(data.get("time", 0.0)),
            view=str(data.get("view") or ""),
            status=data.get("status") or {},
            stats={name: value for name, value in (data.get("stats") or {}).items() if isinstance(value, int | float)},
            look=Look(**{name: look[name] for name in Look.__slots__ if name in look}) if look else None,
            **rows,
        )


class Rate(NamedTuple):
    """Bytes per second by direction."""

    out: float = 0.0
    into: float = 0.0


NO_RATE = Rate()


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
        if len(self._kept) < 2 or row.age > YOUNG:
            return NO_RATE
        span = max(row.age, 0.5)
        return Rate(row.bytes_out / span, row.bytes_in / span)

    def labelled(self, metric: str, label: str) -> Iterator[tuple[str, str]]:
        """(the label's value, the sample's name) of each sample of a metric that has this label alone."""
        pattern = re.compile(rf'{re.escape(metric)}\{{{label}="([^"]*)"\}}')
        for name in self.now.stats:
            if match := pattern.fullmatch(name):
                yield match[1], name

    def sessions(self) -> float:
        """How many there are: as the last look or the daemon's status has it, else by state."""
        look = self.now.look
        if look is not None and self.now.view == "sessions":
            return look.total
        told = self.now.status.get("sessions")
        if isinstance(told, int | float):
            return told
        return sum(self.now.stats[name] for _, name in self.labelled("algate_sessions", "state"))
