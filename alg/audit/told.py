"""An event as people read it: who, towards whom, as which user, what, and why.

    10.50.0.2 → 203.0.113.10 bob: DELE x refused (denied-command)

The law of this file: pure; a row in, plain text out, not escaped. Log, journal, `follow` and `top` all say it this way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from algate.alg.rows import EventRow, host_of

# event -> what is said of its detail; "": the detail alone. Any other event is said by its name.
SAID: Mapping[str, str] = {
    "command": "",
    "command-refused": "refused",
    "transfer": "",
    "transfer-failed": "failed",
    "expectation-made": "expected",
    "expectation-opened": "agreed on",
    "expectation-used": "came",
    "expectation-expired": "never came",
    "expectation-withdrawn": "withdrawn",
    "expectation-refused": "refused",
    "violation": "breaks the protocol",
}
UNNAMED: Mapping[str, str] = {"violation": "a line", "command-refused": "a line"}  # where an event has no detail


class Told(NamedTuple):
    """`who`: "CLIENT → SERVER user", as far as it is known; `why`: the reason, or ""."""

    who: str
    what: str
    why: str

    def __str__(self) -> str:
        return (f"{self.who}: " if self.who else "") + self.what + (f" ({self.why})" if self.why else "")


def told(row: EventRow) -> Told:
    """The row's sentence."""
    return Told(_who(row.fields), _what(row), row.reason)


def _who(fields: Mapping[str, str | int | float]) -> str:
    inside, outside = str(fields.get("inside", "")), str(fields.get("outside", ""))
    if not inside or not outside:
        return ""
    ends = (outside, inside) if fields.get("client") == "outside" else (inside, outside)
    who = " → ".join(host(one) for one in ends)
    return f"{who} {user}" if (user := str(fields.get("user", ""))) else who


def host(end: str) -> str:
    """The address of an end point."""
    return host_of(end) or end


def _what(row: EventRow) -> str:
    said = SAID.get(row.event)
    if said is None:
        return f"{row.event} {row.detail}" if row.detail else row.event
    what = row.detail or UNNAMED.get(row.event, row.event)
    if row.event == "command" and row.fields.get("verdict") == "rewrite":
        said = "rewritten"
    return f"{what} {said}" if said else what
