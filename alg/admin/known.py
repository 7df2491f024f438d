"""What is known at one moment about a transfer, a session or a host: what `explain` judges.

The law of this file: values. `inquiry.py` gathers them, `explain.py` finds what they mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from algate.alg.engine.effects import View
from algate.alg.plugin.words import Words
from algate.alg.rows import AllowRow, EventRow, ExpectationRow, ForwardRow, RefusalRow, SessionRow


class Data(NamedTuple):
    """A data connection; `idle` in seconds, `purpose` like "RETR file" or empty."""

    row: SessionRow
    idle: float
    purpose: str


@dataclass(frozen=True)
class Snapshot:
    """One moment. `control` None: no such session (any more); `ends`: the end points asked about, "ip:port", and
    `proto` the protocol, if it was said.

    `alg`: the plug-in that watches or watched it; `policy`: its table's keys, resolved for the session; `words`: its
    own sentences. `usual`: service ("tcp/21") -> the plug-in that usually watches it. `reasons`: drop counters.
    """

    subject: str
    now: float
    state: str = "translating"
    fail: str = "closed"
    ends: tuple[str, ...] = ()
    control: SessionRow | None = None
    view: View | None = None
    plain: Sequence[SessionRow] = ()  # sessions asked about that no plug-in watches
    expectations: Sequence[ExpectationRow] = ()
    data: Sequence[Data] = ()
    events: Sequence[EventRow] = ()
    forwards: Sequence[ForwardRow] = ()
    allow_out: Sequence[str] = ()
    alg: str | None = None
    policy: Mapping[str, Any] = field(default_factory=dict)
    words: Words = field(default_factory=Words)
    usual: Mapping[str, str] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)
    lost: int = 0
    refusals: Sequence[RefusalRow] = ()  # of the hosts that were asked about
    allowed: Sequence[AllowRow] = ()  # what is let in over IPv6
    shut: Sequence[str] = ()  # the end points asked about that are inside hosts' over filtered IPv6
    proto: str | None = None
