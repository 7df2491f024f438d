"""One frame of `top`: the gateway's state and the operator's choices, laid out on a screen of a given size.

The law of this file: pure. A frame is exactly `height` lines, none wider than `width`; what a view shows is its own.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from algate.cli.grid import cells_line, fit, is_long_end
from algate.cli.text import bit_rate, duration, field, printable, scaled
from algate.cli.top import details, drops
from algate.cli.top.all import VIEWS
from algate.cli.top.choices import TopChoices
from algate.cli.top.happenings import clock
from algate.cli.top.help import help_lines
from algate.cli.top.history import History
from algate.cli.top.views import ViewChoices, place, window
from algate.cli.view import event

LEAST_WIDTH, LEAST_HEIGHT = 40, 8
FOOT_MOST = 3  # lines of a question or an answer
GAP = 1
SLOW = 1.5  # times the interval, from which the pace of looks is told


@dataclass(frozen=True, slots=True)
class Frame:
    """The lines to show, how many of them the table has, and all its rows."""

    lines: list[Text]
    page: int
    rows: Sequence[Any]


def render(
    history: History, state: TopChoices, trouble: str, where: str, width: int, height: int, interval: float = 1.0
) -> Frame:
    """The frame. `trouble`: why there is nothing new, or ""; `where`: the run directory; `interval`: what was asked."""
    if width < LEAST_WIDTH or height < LEAST_HEIGHT:
        return Frame([_cut(Text("terminal too small"), width)] + [Text()] * (height - 1), 1, ())
    rows = state.view.rows(history, state.here)
    panes = state.view.panes and state.detail is None and not state.help
    bottom = max(3, min(12, height // 4)) if height >= 16 and panes else 0
    page = height - 5 - (bottom + 1 if bottom else 0)
    at = place(state.view, state.here, rows)
    offset = window(state.here, at, page, len(rows))
    lines = [*head(history, trouble, where), told(history, state, len(rows), offset, page, interval)]
    if state.help:
        lines += _padded(help_lines(state.view, width), page + 1)
    elif state.detail is not None:
        lines += _padded(_scrolled(details.lines(state.detail, history), state.detail.offset, page + 1), page + 1)
    else:
        lines += _padded(table(history, state, rows[offset : offset + page], width, at - offset), page + 1)
    if bottom:
        lines += _panes(history, width, bottom)
    under = foot(state, width)
    lines = [*lines[: height - len(under)], *under]
    return Frame([_cut(line, width) for line in lines], page, rows)


def _padded(lines: list[Text], rows: int) -> list[Text]:
    return (lines + [Text()] * rows)[:rows]


def _scrolled(lines: list[Text], offset: int, rows: int) -> list[Text]:
    return lines[max(0, min(offset, len(lines) - rows)) :]


def head(history: History, trouble: str, where: str) -> list[Text]:
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
    second.append("  sessions ", "dim").append(f"{history.sessions():,.0f}", "bold")
    second.append(f" +{scaled(rate('algate_sessions_created_total'))}/s")
    second.append("  punts ", "dim").append(f"{scaled(rate('algate_punts_total'))}/s")
    if lost := now.stats.get("algate_punts_lost_total", 0):
        second.append(f" lost {scaled(lost)}", "red")
    return [first, second]


def told(history: History, state: TopChoices, total: int, offset: int, page: int, interval: float) -> Text:
    """The filter being typed, or the view with its order, filter and true counts."""
    if state.entry is not None:
        line = Text("filter: ", "bold").append(printable(state.entry)).append(" ", "reverse")
        return line.append(f"  {printable(state.fault)}", "red") if state.fault else line
    here = state.here
    line = Text(state.name, "bold").append("  sort ", "dim").append(here.sort + (" reversed" if here.reverse else ""))
    if here.text or state.view.names:
        line.append("  filter ", "dim").append(printable(here.text) or "none", "yellow" if here.text else "")
    if history.now.view not in (state.name, ""):
        return line.append("  asking …", "dim")
    if state.paused:
        line.append("  PAUSED", "bold reverse")
    line.append("  lines ", "dim").append(f"{min(offset + 1, total):,}-{min(offset + page, total):,} of {total:,}")
    return line.append(counts(history, here, interval), "yellow")


def counts(history: History, here: ViewChoices, interval: float) -> str:
    """How many of all are shown, if not all are, and how often the daemon looks at all, if that is seldom."""
    look, now = history.now.look, history.now
    if look is None:
        return ""
    got = len(now.hosts) if now.view == "hosts" else len(now.sessions) if now.view == "sessions" else look.matching
    text = ""
    if got < look.matching:
        text += f"  {got:,} of {look.matching:,} shown"
    if here.text and look.matching < look.total:
        text += f"  ({look.total:,} in all)"
    if not look.rated and here.sort.startswith("rate"):
        text += "  rates come soon"
    elif look.every > SLOW * interval:
        text += f"  looks every {duration(look.every)}"
    return text


def table(history: History, state: TopChoices, rows: Sequence[Any], width: int, selected: int) -> list[Text]:
    """The header with a mark at the order, and rows, one of them selected."""
    view, here = state.view, state.here
    columns = [one.column for one in view.fields]
    shown = fit(columns, [one.room for one in view.fields], width, GAP)
    texts = [[printable(column.cell(row)) for column in columns] for row in rows]
    _widen(shown, texts, width)
    last = max(shown)
    if not columns[last].right:
        shown[last] += max(0, width - sum(shown.values()) - GAP * (len(shown) - 1))
    mark = "▲" if here.reverse else "▼"
    titles = [_title(one.column.title, one.sort == here.sort, mark, one.room) for one in view.fields]
    header = cells_line(columns, [(title, "bold reverse") for title in titles], shown, GAP)
    header.pad_right(max(0, width - cell_len(header.plain)))
    header.stylize("bold reverse")
    lines = [header]
    for number, row in enumerate(rows):
        styles = [column.style if isinstance(column.style, str) else column.style(row) for column in columns]
        line = cells_line(columns, list(zip(texts[number], styles, strict=True)), shown, GAP)
        if number == selected:
            line.pad_right(max(0, width - cell_len(line.plain)))
            line.stylize("reverse")
        lines.append(line)
    if not rows:
        lines.append(Text(view.empty if not here.text else f"{view.empty} that match", "dim"))
    return lines


def _widen(shown: dict[int, int], texts: Sequence[Sequence[str]], width: int) -> None:
    """Give what room is left to columns with IPv6 end points, which are longer than others."""
    left = width - sum(shown.values()) - GAP * (len(shown) - 1)
    for at in shown:
        most = max((len(one[at]) for one in texts if is_long_end(one[at])), default=0)
        more = max(0, min(left, most - shown[at]))
        shown[at] += more
        left -= more


def _title(title: str, chosen: bool, mark: str, room: int) -> str:
    """A title with the mark of the order, if it fits."""
    return title + mark if chosen and len(title) < room else title


def _panes(history: History, width: int, rows: int) -> list[Text]:
    """Drops by reason on the left, and what is only held; the latest events on the right."""
    left = max(34, min(50, width // 3))
    right = width - left - 1
    made, counted = [], list(drops.drops(history))
    held = sum(row.rate for row in counted if row.kind == "held")
    title = Text("drops by reason", "bold").append(f"  held {scaled(held)}/s", "not bold dim")
    title = _cut(title, left, pad=True).append(" ").append("ALG events", "bold")
    lost = [row for row in counted if row.kind == "drop"]
    for row in sorted(lost, key=VIEWS["drops"].sorts["rate"])[:rows]:
        line = Text(f"{printable(row.reason)[: left - 15]:<{left - 15}}", "red" if row.rate else "")
        made.append(line.append(f" {drops.per_second(row):>7} {scaled(row.total):>6}"))
    events = [event(row, clock(row.time), control=right >= 80) for row in history.now.events[-rows:]]
    lines = [title]
    for number in range(rows):
        nothing = Text("none" if number == 0 else "", "dim")
        line = _cut(made[number] if number < len(made) else nothing, left, pad=True).append(" ")
        line.append_text(_cut(events[number], right) if number < len(events) else Text())
        lines.append(line)
    return lines


def foot(state: TopChoices, width: int) -> list[Text]:
    """A question, an answer or a fault, in as many lines as it needs, or the keys."""
    said, style = state.note, "bold yellow"
    if state.question is not None:
        said, style = state.question.text, "bold reverse"
    elif state.fault:
        said, style = state.fault, "red"
    if said:
        return [Text(part, style) for part in textwrap.wrap(printable(said), width)[:FOOT_MOST]]
    line = Text()
    for key, what in _pairs(state, width):
        line.append(f" {key} ", "reverse").append(f" {what} ")
    return [line]


def _pairs(state: TopChoices, width: int) -> Sequence[tuple[str, str]]:
    if state.entry is not None:
        return (("Enter", "apply"), ("Esc", "leave as it was"), ("^U", "clear"))
    if state.detail is not None:
        return (("Esc", "back"), ("e", "explain again"), ("k", "end it"), ("?", "help"))
    names = [(view.key, view.name) for view in VIEWS.values()] if width >= 140 else [("1-5", "views")]
    keys = [("s", "sort"), ("r", "reverse"), ("/", "filter"), ("⏎", "open"), ("k", "kill"), ("?", "help")]
    pause = [("p", "resume" if state.paused else "pause")] if width >= 100 else []
    return [("q", "quit"), *names, *keys, *pause]


def _cut(line: Text, width: int, pad: bool = False) -> Text:
    """A copy that fits, padded with blanks if wanted."""
    made = line.copy()
    made.no_wrap, made.end = True, "\n"
    made.truncate(width, overflow="ellipsis", pad=pad)
    return made
