"""The view of public ports: how full each address and protocol is, and when it will be exhausted.

The law of this file: pure; rows of `algate ports` in, columns out.
"""

from __future__ import annotations

from algate.alg.rows import PortRow
from algate.cli.grid import Column
from algate.cli.text import NONE, duration
from algate.cli.top.history import History
from algate.cli.top.views import Lane, TopView, ViewChoices, address, flat

HIGH, FULL = 0.8, 0.95
BAR = 10  # cells


def _rows(history: History, choices: ViewChoices) -> list[PortRow]:
    return flat(history.now.ports, choices, VIEW.sorts)


def _fill(row: PortRow) -> str:
    part = max(0.0, min(1.0, row.fill))
    return f"{'█' * round(part * BAR):░<{BAR}} {part:4.0%}"


def _style(row: PortRow) -> str:
    return "bold red" if row.fill >= FULL else "yellow" if row.fill >= HIGH else ""


# fmt: off
FIELDS = (
    Lane(Column("PUBLIC", lambda row: row.public), 15, "public", lambda row: (address(f"{row.public}:0"), row.proto)),
    Lane(Column("PROTO", lambda row: row.proto), 5, "proto", lambda row: row.proto),
    Lane(Column("USED", lambda row: f"{row.used:,}", right=True), 7, "used", lambda row: -row.used),
    Lane(Column("FREE", lambda row: f"{row.free:,}", right=True), 7, "free", lambda row: row.free),
    Lane(Column("HELD DOWN", lambda row: f"{row.held_down:,}", 2, right=True), 9,
          "held_down", lambda row: -row.held_down),
    Lane(Column("RESERVED", lambda row: f"{row.reserved:,}", 1, right=True), 8, "reserved", lambda row: -row.reserved),
    Lane(Column("FILL", _fill, style=_style), BAR + 5, "fill", lambda row: -row.fill),
    Lane(Column("FULL IN", lambda row: duration(row.exhausted_in) if row.exhausted_in is not None else NONE, 1,
                 right=True), 7, "exhausted_in", lambda row: row.exhausted_in or float("inf")),
)
# fmt: on
VIEW = TopView(
    "3",
    "ports",
    FIELDS,
    "fill",
    _rows,
    lambda row: f"{row.public} {row.proto}",
    ("proto", "outside"),
    "no public address",
)  # fmt: skip
