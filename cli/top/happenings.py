"""The view of ALG events, the newest first.

The law of this file: pure; rows of `algate follow` in, columns out. A third-party plug-in's look like all others.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from algate.alg.admin.filters import EVENT_NAMES
from algate.alg.audit.told import told
from algate.alg.rows import EventRow
from algate.cli.grid import Column
from algate.cli.text import NONE
from algate.cli.top.history import History
from algate.cli.top.views import Lane, TopView, ViewChoices, address, flat

ALL_NAMES = (*EVENT_NAMES, "alg", "inside", "outside", "related_to")


def clock(seconds: float) -> str:
    """Local time of day."""
    return datetime.fromtimestamp(seconds).strftime("%H:%M:%S")


def _rows(history: History, choices: ViewChoices) -> list[EventRow]:
    return flat(history.now.events, choices, VIEW.sorts)


def _end(row: EventRow) -> tuple[int, int]:
    return address(str(row.fields.get("inside", "")))


_style: Callable[[EventRow], str] = lambda row: "bold yellow" if row.reason else ""  # noqa: E731
# fmt: off
FIELDS = (
    Lane(Column("TIME", lambda row: clock(row.time), style="dim"), 8, "time", lambda row: -row.time),
    Lane(Column("ALG", lambda row: row.alg or NONE, 2, style="cyan"), 6, "alg", lambda row: row.alg or "~"),
    Lane(Column("EVENT", lambda row: row.event, 3, style=_style), 20, "event", lambda row: row.event),
    Lane(Column("WHO", lambda row: told(row).who or row.control or NONE, 1), 28, "inside", _end),
    Lane(Column("REASON", lambda row: row.reason, style="yellow"), 15, "reason", lambda row: row.reason or "~"),
    Lane(Column("WHAT", lambda row: told(row).what), 20, "detail", lambda row: row.detail),
)
# fmt: on
VIEW = TopView(
    "5",
    "events",
    FIELDS,
    "time",
    _rows,
    lambda row: f"{row.time} {row.control} {row.event} {row.detail}",
    ALL_NAMES,
    "no event so far",
)  # fmt: skip
