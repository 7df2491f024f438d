"""Listings for people: rows in, lines of rich text out, fitted to a width.

The law of this file: pure. No clock, no terminal, no socket; what is shown depends only on the arguments. Cells
are plain text made harmless by `printable`: rich markup in a row is never interpreted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.text import Text

from algate.alg.audit.told import told
from algate.alg.config.spelling import spelled
from algate.alg.findings import BrokenRow, CheckRow, ProblemRow
from algate.alg.rows import (
    AllowRow,
    EventRow,
    ExpectationRow,
    ForwardRow,
    GroupRow,
    HostRow,
    MappingRow,
    PortRow,
    Row,
    SessionEventRow,
    SessionRow,
    SettingRow,
)
from algate.cli.grid import GAP, WIDE, Column, grid
from algate.cli.text import NONE, bit_rate, duration, field, printable, scaled, size

STATE_STYLES = {
    "established": "green", "active": "green", "open": "green", "used": "green",
    "new": "yellow", "unreplied": "yellow", "pending": "yellow",
    "reset": "red",
}  # fmt: skip


def origin(row: SettingRow) -> str:
    """Where a key comes from: "default", or the file with the line."""
    if row.origin != "file":
        return row.origin
    return f"{row.file}:{row.line}" if row.line else f"{row.file}"


def state_style(row: Any) -> str:
    return STATE_STYLES.get(row.state, "dim")


def fill_style(fill: float) -> str:
    return "bold red" if fill >= 0.95 else "yellow" if fill >= 0.8 else ""


def _of(number: int, limit: int | None) -> str:
    return f"{number}/{limit}" if limit else str(number)


SESSIONS = (
    Column("ID", lambda row: row.id, 5, style="dim"),
    Column("PROTO", lambda row: row.proto),
    Column("STATE", lambda row: row.state, style=state_style),
    Column("INSIDE", lambda row: row.inside),
    Column("OUTSIDE", lambda row: row.outside),
    Column("MAPPED", lambda row: row.mapped or NONE, 2),
    Column("PKTS OUT", lambda row: scaled(row.packets_out), 8, right=True),
    Column("PKTS IN", lambda row: scaled(row.packets_in), 8, right=True),
    Column("OUT", lambda row: size(row.bytes_out), 3, right=True),
    Column("IN", lambda row: size(row.bytes_in), 3, right=True),
    Column("AGE", lambda row: duration(row.age), 4, right=True),
    Column("EXPIRES", lambda row: duration(row.expires_in), 7, right=True),
    Column("ALG", lambda row: row.alg or NONE, 1),
    Column("RELATED TO", lambda row: row.related_to or NONE, 6, style="dim"),
)
MAPPINGS = (
    Column("PROTO", lambda row: row.proto),
    Column("INSIDE", lambda row: row.inside),
    Column("PUBLIC", lambda row: row.public),
    Column("SESSIONS", lambda row: scaled(row.sessions), right=True),
    Column("AGE", lambda row: duration(row.age), 1, right=True),
    Column("EXPIRES", lambda row: duration(row.expires_in), 1, right=True),
    Column("STATIC", lambda row: "yes" if row.static else NONE, 1),
)
EXPECTATIONS = (
    Column("ID", lambda row: row.id, 3, style="dim"),
    Column("STATE", lambda row: row.state, style=state_style),
    Column("PROTO", lambda row: row.proto, 1),
    Column("FROM", lambda row: row.from_),
    Column("PUBLIC", lambda row: row.public or NONE),
    Column("TO", lambda row: row.to),
    Column("EXPIRES", lambda row: duration(row.expires_in), right=True),
    Column("ALG", lambda row: row.alg or NONE, 1),
    Column("CONTROL", lambda row: row.control, 2, style="dim"),
)
FORWARDS = (
    Column("PROTO", lambda row: row.proto),
    Column("WAN PORT", lambda row: row.wan_port, right=True),
    Column("TO", lambda row: row.to),
    Column("FROM", lambda row: field(row.from_) if row.from_ else "any"),
    Column("ALG", lambda row: row.alg or NONE),
    Column("ORIGIN", lambda row: row.origin, 1),
    Column("HITS", lambda row: scaled(row.hits), right=True),
)

ALLOWED = (
    Column("PROTO", lambda row: row.proto),
    Column("PORT", lambda row: row.port, right=True),
    Column("TO", lambda row: row.to),
    Column("FROM", lambda row: field(row.from_) if row.from_ else "any"),
    Column("ORIGIN", lambda row: row.origin, 1),
    Column("HITS", lambda row: scaled(row.hits), right=True),
)
SETTINGS = (
    Column("KEY", lambda row: row.key),
    Column("VALUE", lambda row: spelled(row.value)),
    Column("FROM", lambda row: origin(row), style=lambda row: "dim" if row.origin == "default" else ""),
)
HOSTS = (
    Column("INSIDE", lambda row: row.inside),
    Column("SESSIONS", lambda row: _of(row.sessions, row.limit_sessions), right=True),
    Column("PORTS", lambda row: _of(row.ports, row.limit_ports), 1, right=True),
    Column("OUT", lambda row: bit_rate(row.rate_out), right=True),
    Column("IN", lambda row: bit_rate(row.rate_in), right=True),
    Column("NEW/S", lambda row: f"{row.new_per_second:.1f}", 2, right=True),
    Column("REFUSED", lambda row: scaled(row.refused), 1, right=True, style=lambda row: "red" if row.refused else ""),
    Column("OLDEST", lambda row: duration(row.oldest), 3, right=True),
)
PORTS = (
    Column("PUBLIC", lambda row: row.public),
    Column("PROTO", lambda row: row.proto),
    Column("USED", lambda row: str(row.used), right=True),
    Column("FREE", lambda row: str(row.free), right=True),
    Column("HELD DOWN", lambda row: str(row.held_down), 2, right=True),
    Column("RESERVED", lambda row: str(row.reserved), 2, right=True),
    Column("FILL", lambda row: f"{row.fill:.1%}", right=True, style=lambda row: fill_style(row.fill)),
    Column("EXHAUSTED IN", lambda row: duration(row.exhausted_in), 1, right=True),
)
GROUPS = (
    Column("KEY", lambda row: row.key),
    Column("SESSIONS", lambda row: scaled(row.sessions), right=True),
    Column("PACKETS OUT", lambda row: scaled(row.packets_out), 2, right=True),
    Column("PACKETS IN", lambda row: scaled(row.packets_in), 2, right=True),
    Column("BYTES OUT", lambda row: scaled(row.bytes_out), 1, right=True),
    Column("BYTES IN", lambda row: scaled(row.bytes_in), 1, right=True),
)
CHECKS = (
    Column("CHECK", lambda row: row.check),
    Column("OK", lambda row: "ok" if row.ok else "FAIL", style=lambda row: "green" if row.ok else "bold red"),
    Column("DETAIL", lambda row: row.detail),
)
PROBLEMS = (
    Column("KIND", lambda row: row.kind, style=lambda row: "bold red" if row.kind == "error" else "yellow"),
    Column("PATH", lambda row: row.path),
    Column("REASON", lambda row: row.reason),
)
BROKEN = (
    Column("RULE", lambda row: row.rule, style="bold red"),
    Column("DETAIL", lambda row: row.detail),
)
COLUMNS: Mapping[type[Row], Sequence[Column]] = {
    SessionRow: SESSIONS,
    MappingRow: MAPPINGS,
    ExpectationRow: EXPECTATIONS,
    ForwardRow: FORWARDS,
    AllowRow: ALLOWED,
    GroupRow: GROUPS,
    SettingRow: SETTINGS,
    HostRow: HOSTS,
    PortRow: PORTS,
    CheckRow: CHECKS,
    ProblemRow: PROBLEMS,
    BrokenRow: BROKEN,
}


def listing(rows: Sequence[Row], kind: type[Row], width: int = WIDE) -> list[Text]:
    """A header, and a line for each row."""
    return grid(COLUMNS[kind], rows, width)


def counted(rows: Sequence[GroupRow], title: str, width: int = WIDE) -> list[Text]:
    """Rows of another table than that of sessions, counted by a key."""
    return grid(
        (Column("KEY", lambda row: row.key), Column(title, lambda row: str(row.sessions), right=True)), rows, width
    )


def event(row: EventRow, clock: str, control: bool = True) -> Text:
    """One line of `follow`. `clock`: the event's time of day as text; `control`: whether there is room for the id."""
    line, said = Text(no_wrap=True, end=""), told(row)
    line.append(clock, "dim")
    line.append(f" {printable(said.who)}:" if said.who else "", "cyan")
    line.append(f" {printable(said.what)}", "bold yellow" if row.reason else "bold")
    line.append(f" ({printable(row.reason)})" if row.reason else "", "yellow")
    if control and row.control:
        line.append(f" {printable(row.alg or '')} {printable(row.control)}", "dim")
    return line


def session_event(row: SessionEventRow, clock: str) -> Text:
    """One line of `follow --sessions`."""
    ended = row.event.endswith("ended")
    line = Text(no_wrap=True, end="")
    line.append(clock, "dim")
    line.append(f" {row.event.rpartition('-')[2]:<7}", "dim" if ended else "bold")
    line.append(f" {row.proto} {row.inside} → {row.mapped or NONE} → {row.outside} ")
    line.append(row.state, state_style(row))
    if row.alg:
        line.append(f" {printable(row.alg)}", "cyan")
    if ended:
        line.append(f" {size(row.bytes_out)} out, {size(row.bytes_in)} in, {duration(row.duration)}")
    return line


def pairs(data: Mapping[str, Any]) -> list[Text]:
    """An object as lines of name and value; lists of objects (plug-ins, devices) get a line for each."""
    room = max((len(name) for name in data), default=0)
    lines: list[Text] = []
    for name, value in data.items():
        parts = _parts(value)
        for number, part in enumerate(parts or [NONE]):
            title = printable(name) if number == 0 else ""
            lines.append(Text.assemble((f"{title:<{room}}", "bold"), " " * GAP, part, no_wrap=True, end=""))
    return lines


def _parts(value: Any) -> list[str]:
    if isinstance(value, list) and any(isinstance(one, dict) for one in value):
        return [_parts(one)[0] for one in value]
    if isinstance(value, dict):
        return [", ".join(f"{printable(str(key))} {field(one)}" for key, one in value.items()) or NONE]
    return [field(value)]


def explanation(answer: Mapping[str, Any]) -> list[Text]:
    """The verdict, and a line for each finding, with what to do under it."""
    lines = [Text.assemble(printable(answer["subject"]), ": ", (printable(answer["verdict"]), "bold"), end="")]
    for one in answer["findings"]:
        lines.append(Text.assemble("- ", printable(one["text"]), end=""))
        if one["fix"]:
            lines.append(Text.assemble("  ", (printable(one["fix"]), "dim"), end=""))
    return lines


def checks(rows: Iterable[CheckRow]) -> list[Text]:
    """doctor's table, and under it what to do about each failure."""
    rows = list(rows)
    lines = grid(CHECKS, rows, WIDE)
    fixes = [row for row in rows if not row.ok and row.fix]
    for row in fixes:
        lines.append(Text.assemble((f"{printable(row.check)}: ", "bold"), printable(row.fix), end=""))
    return lines
