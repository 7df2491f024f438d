"""The view of drops: packets lost or held by reason, and what the helper refused, each with its cure.

The law of this file: pure. Reasons are read from what the daemon counts, so a plug-in's own appear like all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from algate.alg.admin import reasons
from algate.alg.answers import HELD
from algate.cli.grid import Column
from algate.cli.text import scaled
from algate.cli.top.history import History
from algate.cli.top.views import Lane, TopView, ViewChoices

METRICS: Mapping[str, str] = {
    "algate_drops_total": "drop",
    "algate_held_total": "held",
    "algate_engine_events_total": "helper",
}
"""Metric -> what a reason of it is called: a packet lost, one that waits and goes on, something that the helper met."""


@dataclass(frozen=True, slots=True)
class DropRow:
    """A reason. `rate` per second, `total` since the start; `text` and `cure` for people."""

    kind: str
    reason: str
    rate: float
    total: float
    text: str = ""
    cure: str = ""


def drops(history: History) -> Iterator[DropRow]:
    """Every reason that was counted at least once."""
    for metric, kind in METRICS.items():
        for reason, name in history.labelled(metric, "reason"):
            total = history.now.stats[name]
            if total:
                shown = "held" if kind == "drop" and reason in HELD else kind
                yield DropRow(shown, reason, history.rate(name), total, *said(reason, shown))
    yield from _refusals(history)


def _refusals(history: History) -> Iterator[DropRow]:
    """What plug-ins refused, as far as the latest events go back."""
    found: dict[tuple[str, str], int] = {}
    for row in history.now.events:
        if row.reason:
            key = row.alg or "engine", row.reason
            found[key] = found.get(key, 0) + 1
    for (alg, reason), number in found.items():
        text = f"{number} of the latest {len(history.now.events)} events"
        yield DropRow(alg, reason, 0.0, number, text, "see view 5, and `algate explain` of the session")


@cache
def said(reason: str, kind: str) -> tuple[str, str]:
    """What a reason of the kernel's means, and what to do about it."""
    text = _texts().get(reason, "")
    nothing = "nothing: it goes on by itself" if kind == "held" else "nothing needs doing" if text else ""
    return text, reasons.CURES.get(reason) or nothing


@cache
def _texts() -> dict[str, str]:
    from algate.bpf import abi

    return dict(abi.reasons().values())


def _rows(history: History, choices: ViewChoices) -> list[DropRow]:
    kept = [row for row in drops(history) if all(_spoken(row, word) for word in choices.words)]
    return sorted(kept, key=VIEW.sorts[choices.sort], reverse=choices.reverse)


def _spoken(row: DropRow, word: str) -> bool:
    return word in f"{row.kind} {row.reason} {row.text} {row.cure}".lower()


def _order(row: DropRow) -> tuple[bool, float, float, str]:
    """What is lost first, the busiest of it first."""
    return row.kind != "drop", -row.rate, -row.total, row.reason


def per_second(row: DropRow) -> str:
    """Its rate; blank if it doesn't grow."""
    return f"{scaled(row.rate)}/s" if row.rate >= 0.05 else ""


def _style(row: DropRow) -> str:
    return "red" if row.rate and row.kind == "drop" else ""


# fmt: off
FIELDS = (
    Lane(Column("REASON", lambda row: row.reason, style=_style), 19, "reason", lambda row: row.reason),
    Lane(Column("KIND", lambda row: row.kind, style="dim"), 6, "kind", lambda row: (row.kind, row.reason)),
    Lane(Column("RATE", per_second, right=True), 7, "rate", _order),
    Lane(Column("TOTAL", lambda row: scaled(row.total), right=True), 6, "total", lambda row: -row.total),
    Lane(Column("WHAT IT IS", lambda row: row.text, 2), 60, "what", lambda row: row.text),
    Lane(Column("WHAT TO DO", lambda row: row.cure), 30, "cure", lambda row: row.cure),
)
# fmt: on
VIEW = TopView("4", "drops", FIELDS, "rate", _rows, lambda row: f"{row.kind} {row.reason}", (), "nothing was dropped")
