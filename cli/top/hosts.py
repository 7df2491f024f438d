"""The view of inside hosts: who has how many sessions and ports, and who hogs the line.

The law of this file: pure; rows of `algate hosts` in, columns out.
"""

from __future__ import annotations

from algate.alg.rows import HostRow
from algate.cli.grid import Column
from algate.cli.text import NONE, bit_rate, duration, scaled
from algate.cli.top.history import History
from algate.cli.top.views import Lane, TopView, ViewChoices, address, flat

NEAR = 0.8  # of a limit, from which a host is marked


def _rows(history: History, choices: ViewChoices) -> list[HostRow]:
    return flat(history.now.hosts, choices, VIEW.sorts)


def _rate(octets_per_second: float) -> str:
    return bit_rate(octets_per_second) if octets_per_second >= 0.5 else ""


def _of(number: float, limit: int | None) -> str:
    return f"{scaled(number)}/{scaled(limit)}" if limit else scaled(number)


def _near(number: float, limit: int | None) -> str:
    return "bold red" if limit and number >= limit else "yellow" if limit and number >= NEAR * limit else ""


# fmt: off
FIELDS = (
    Lane(Column("HOST", lambda row: row.inside), 15, "inside", lambda row: address(row.inside)),
    Lane(Column("SESSIONS", lambda row: _of(row.sessions, row.limit_sessions), right=True,
                 style=lambda row: _near(row.sessions, row.limit_sessions)), 9, "sessions", lambda row: -row.sessions),
    Lane(Column("PORTS", lambda row: _of(row.ports, row.limit_ports), 2, right=True,
                 style=lambda row: _near(row.ports, row.limit_ports)), 9, "ports", lambda row: -row.ports),
    Lane(Column("RATE", lambda row: _rate(row.rate_out + row.rate_in), right=True), 9,
          "rate", lambda row: -(row.rate_out + row.rate_in)),
    Lane(Column("RATE OUT", lambda row: _rate(row.rate_out), 4, right=True), 9, "rate_out", lambda row: -row.rate_out),
    Lane(Column("RATE IN", lambda row: _rate(row.rate_in), 4, right=True), 9, "rate_in", lambda row: -row.rate_in),
    Lane(Column("NEW/S", lambda row: f"{row.new_per_second:.1f}" if row.new_per_second else "", 1, right=True), 6,
          "new", lambda row: -row.new_per_second),
    Lane(Column("REFUSED", lambda row: scaled(row.refused) if row.refused else "", 1, right=True,
                 style=lambda row: "red" if row.refused else ""), 7, "refused", lambda row: -row.refused),
    Lane(Column("OLDEST", lambda row: duration(row.oldest) if row.oldest is not None else NONE, 3, right=True), 6,
          "oldest", lambda row: -(row.oldest or 0.0)),
)
# fmt: on
VIEW = TopView(
    "2", "hosts", FIELDS, "rate", _rows, lambda row: str(row.inside), ("inside",), "no inside host has sessions"
)
