"""One frame of `top`: the gateway's state and the operator's choices, laid out on a screen of a given size.

The law of this file: pure. A frame is exactly `height` lines, none wider than `width`; the clock's text is passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from algate.alg.admin.filters import insides, outsides
from algate.alg.rows import ExpectationRow, SessionRow
from algate.cli.text import NONE, bit_rate, duration, field, printable, scaled, size
from algate.cli.top.flows import History, TopFlow, tree
from algate.cli.top.keys import HELP, TopChoices
from algate.cli.view import Column, cells_line, event, fit, state_style

LEAST_WIDTH, LEAST_HEIGHT = 40, 8
GAP = 1
ADDRESS = 21  # "255.255.255.255:65535"
Clock = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Frame:
    """The lines to show, and for scrolling, how many lines the table shows and has."""

    lines: list[Text]
    page: int
    total: int


def _of_session(show: Callable[[SessionRow], str]) -> Callable[[TopFlow], str]:
    return lambda flow: show(flow.row) if isinstance(flow.row, SessionRow) else ""


def _kind(flow: TopFlow) -> str:
    branch = ("└ " if flow.last else "├ ") if flow.depth else ""
    return branch + ("exp" if isinstance(flow.row, ExpectationRow) else flow.row.alg or flow.row.proto)


def _mapped(flow: TopFlow) -> str:
    return (flow.row.public if isinstance(flow.row, ExpectationRow) else flow.row.mapped) or NONE


def _rate(octets_per_second: float) -> str:
    return bit_rate(octets_per_second) if octets_per_second >= 0.5 else ""


FLOWS: tuple[tuple[Column, int], ...] = (
    (Column("FLOW", _kind, style=lambda flow: "cyan" if flow.row.alg else ""), 6),
    (Column("STATE", lambda flow: flow.row.state, style=lambda flow: state_style(flow.row)), 11),
    (Column("INSIDE", lambda flow: insides(flow.row)[0] or NONE), ADDRESS),
    (Column("OUTSIDE", lambda flow: outsides(flow.row)[0] or NONE), ADDRESS),
    (Column("MAPPED", _mapped, 2), ADDRESS),
    (Column("RATE", lambda flow: _rate(flow.rate.out + flow.rate.into), right=True), 9),
    (Column("RATE OUT", lambda flow: _rate(flow.rate.out), 6, right=True), 9),
    (Column("RATE IN", lambda flow: _rate(flow.rate.into), 6, right=True), 9),
    (Column("OUT", _of_session(lambda row: size(row.bytes_out)), 3, right=True), 7),
    (Column("IN", _of_session(lambda row: size(row.bytes_in)), 3, right=True), 7),
    (Column("AGE", _of_session(lambda row: duration(row.age)), 0, right=True), 6),
    (Column("LEFT", lambda flow: duration(flow.row.expires_in), 1, right=True), 6),
    (Column("PACKETS", _of_session(lambda row: scaled(row.packets_out + row.packets_in)), 5, right=True), 7),
    (Column("ID", lambda flow: flow.row.id, 7, style="dim"), 16),
)


def render(
    history: History, state: TopChoices, trouble: str, where: str, width: int, height: int, clock: Clock
) -> Frame:
    """The frame. `trouble`: why there is nothing new, or ""; `where`: the run directory."""
    if width < LEAST_WIDTH or height < LEAST_HEIGHT:
        return Frame([_cut(Text("terminal too small"), width)] + [Text()] * (height - 1), 1, 0)
    flows = tree(history, state.sort, state.reverse, state.chosen, state.words)
    bottom = max(3, min(12, height // 4)) if height >= 16 else 0
    page = height - 5 - (bottom + 1 if bottom else 0)
    offset = max(0, min(state.offset, len(flows) - page))
    lines = [*_head(history, trouble, where), _choices(history, state, len(flows), offset, page)]
    lines += _help(page + 1) if state.help else _table(flows[offset : offset + page], width, page)
    if bottom:
        lines += _panes(history, width, bottom, clock)
    lines.append(_foot(state))
    return Frame([_cut(line, width) for line in lines], page, len(flows))


def _head(history: History, trouble: str, where: str) -> list[Text]:
    """The gateway's state, devices and uptime, and the rates."""
    now, rate = history.now, history.rate
    first = Text("algate ", "bold")
    if trouble:
        first.append(printable(trouble), "bold red")
    else:
        status = now.status
        first.append(printable(str(status.get("state", ""))) or where, "green")
        for label, name in (("  wan ", "wan"), (" ", "addresses"), ("  lan ", "lan"), ("  by ", "datapath")):
            if status.get(name):
                first.append(label, "dim").append(field(status[name]))
        if isinstance(status.get("uptime"), int | float):
            first.append("  up ", "dim").append(duration(status["uptime"]))
    second = Text()
    for label, direction in (("out", "out"), ("  in", "in")):
        packets = rate(f'algate_packets_total{{direction="{direction}"}}')
        octets = rate(f'algate_bytes_total{{direction="{direction}"}}')
        second.append(f"{label} ", "dim").append(f"{bit_rate(octets)} {scaled(packets)}pkt/s", "bold")
    second.append("  sessions ", "dim").append(scaled(now.stats.get("algate_sessions", len(now.sessions))), "bold")
    second.append(f" +{scaled(rate('algate_sessions_created_total'))}/s")
    second.append("  punts ", "dim").append(f"{scaled(rate('algate_punts_total'))}/s")
    if lost := now.stats.get("algate_punts_lost_total", 0):
        second.append(f" lost {scaled(lost)}", "red")
    return [first, second]


def _choices(history: History, state: TopChoices, total: int, offset: int, page: int) -> Text:
    """Sort order and filter, or the filter being typed."""
    if state.entry is not None:
        line = Text("filter: ", "bold").append(printable(state.entry)).append(" ", "reverse")
        return line.append(f"  {printable(state.fault)}", "red") if state.fault else line
    line = Text("sort ", "dim").append(state.sort + (" reversed" if state.reverse else ""))
    line.append("  filter ", "dim").append(printable(state.text) or "none", "yellow" if state.text else "")
    line.append("  lines ", "dim").append(f"{min(offset + 1, total)}-{min(offset + page, total)} of {total}")
    beyond = history.now.stats.get("algate_sessions", 0) - len(history.now.sessions)
    if beyond > 0 and len(history.now.sessions) >= 100:
        line.append(f" ({scaled(beyond)} more sessions)", "dim")
    return line.append("  PAUSED", "bold reverse") if state.paused else line


def _table(flows: Sequence[TopFlow], width: int, page: int) -> list[Text]:
    columns = [column for column, _ in FLOWS]
    shown = fit(columns, [room for _, room in FLOWS], width, GAP)
    header = cells_line(columns, [(column.title, "bold reverse") for column in columns], shown, GAP)
    header.pad_right(max(0, width - cell_len(header.plain)))
    header.stylize("bold reverse")
    lines = [header]
    for flow in flows:
        styles = [column.style if isinstance(column.style, str) else column.style(flow) for column in columns]
        texts = [printable(column.cell(flow)) for column in columns]
        lines.append(cells_line(columns, list(zip(texts, styles, strict=True)), shown, GAP))
    if not flows:
        lines.append(Text("no sessions", "dim"))
    return lines + [Text()] * (page + 1 - len(lines))


def _panes(history: History, width: int, rows: int, clock: Clock) -> list[Text]:
    """Drops by reason on the left, the latest events on the right."""
    left = max(34, min(50, width // 3))
    right = width - left - 1
    title = _cut(Text("drops by reason", "bold"), left, pad=True).append(" ").append("ALG events", "bold")
    drops = []
    for reason, rate, total in history.drops()[:rows]:
        per_second = f"{scaled(rate)}/s" if rate >= 0.05 else ""
        line = Text(f"{printable(reason)[: left - 15]:<{left - 15}}", "red" if rate else "")
        drops.append(line.append(f" {per_second:>7} {scaled(total):>6}"))
    events = [event(row, clock(row.time), control=right >= 80) for row in history.now.events[-rows:]]
    lines = [title]
    for number in range(rows):
        nothing = Text("none" if number == 0 else "", "dim")
        line = _cut(drops[number] if number < len(drops) else nothing, left, pad=True).append(" ")
        line.append_text(_cut(events[number], right) if number < len(events) else Text())
        lines.append(line)
    return lines


def _help(rows: int) -> list[Text]:
    lines = [Text("keys", "bold")]
    lines += [Text(f"  {keys:<10}", "bold").append(what, "not bold") for keys, what in HELP]
    return (lines + [Text()] * rows)[:rows]


def _foot(state: TopChoices) -> Text:
    if state.entry is not None:
        pairs: Sequence[tuple[str, Any]] = (("Enter", "apply"), ("Esc", "leave as it was"), ("^U", "clear"))
    else:
        resume = "resume" if state.paused else "pause"
        pairs = (("q", "quit"), ("s", "sort"), ("r", "reverse"), ("/", "filter"), ("p", resume), ("?", "help"))
    line = Text()
    for key, what in pairs:
        line.append(f" {key} ", "reverse").append(f" {what}  ")
    return line


def _cut(line: Text, width: int, pad: bool = False) -> Text:
    """A copy that fits, padded with blanks if wanted."""
    made = line.copy()
    made.no_wrap, made.end = True, "\n"
    made.truncate(width, overflow="ellipsis", pad=pad)
    return made
