"""Rows under a header, in columns that fit into a width.

The law of this file: pure, as view.py; it knows no listing. Cells are plain text made harmless by `printable`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from algate.cli.text import printable

LEAST_END = 12  # cells in which an IPv6 end point is cut in its middle: "[20…0]:65535"
_SIX = re.compile(r"\[?[0-9a-f:.]+(\]:[0-9]+)?")
GAP = 2  # blanks between columns
WIDE = 1000  # width without a terminal: nothing is cut


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a listing. If room is short, those of the highest `rank` go first; rank 0 stays, cut if need be."""

    title: str
    cell: Callable[[Any], str]
    rank: int = 0
    right: bool = False
    style: Callable[[Any], str] | str = ""


def grid(columns: Sequence[Column], rows: Sequence[Any], width: int) -> list[Text]:
    """Rows under a header, in the columns that fit into `width`."""
    cells = [[printable(column.cell(row)) for column in columns] for row in rows]
    wanted = [max(map(cell_len, stack)) for stack in zip([column.title for column in columns], *cells, strict=True)]
    shown = fit(columns, wanted, width)
    header = [(column.title, "bold") for column in columns]
    lines = [cells_line(columns, header, shown)]
    for row, line in zip(rows, cells, strict=True):
        styles = [column.style if isinstance(column.style, str) else column.style(row) for column in columns]
        lines.append(cells_line(columns, list(zip(line, styles, strict=True)), shown))
    return lines


def fit(columns: Sequence[Column], wanted: Sequence[int], width: int, gap: int = GAP) -> dict[int, int]:
    """Column -> its width, for those that fit. If even those of rank 0 don't fit, the widest of them is cut."""
    shown = dict(enumerate(wanted))
    while sum(shown.values()) + gap * (len(shown) - 1) > width:
        last = max(shown, key=lambda at: (columns[at].rank, at))
        if columns[last].rank == 0:
            widest = max(shown, key=lambda at: shown[at])
            excess = sum(shown.values()) + gap * (len(shown) - 1) - width
            shown[widest] = max(4, shown[widest] - excess)
            break
        del shown[last]
    return shown


def is_long_end(text: str) -> bool:
    """Whether it is an IPv6 address, with a port or without one."""
    return bool(_SIX.fullmatch(text)) and ("::" in text or text.count(":") > 6)


def shortened(text: str, room: int) -> str:
    """Cut at its end; an IPv6 end point in its middle, since hosts of one network differ behind it, and by the port."""
    if room < LEAST_END or not is_long_end(text):
        return set_cell_size(text, room - 1) + "…"
    head = (room - 1) // 3
    return f"{text[:head]}…{text[head - room + 1 :]}"


def cells_line(
    columns: Sequence[Column], cells: Sequence[tuple[str, str]], shown: Mapping[int, int], gap: int = GAP
) -> Text:
    """One line of (text, style) cells, each padded or cut to its column."""
    line = Text(no_wrap=True, overflow="ellipsis", end="")
    final = max(shown)
    for at, room in shown.items():
        text, style = cells[at]
        if cell_len(text) > room:
            text = shortened(text, room)
        blanks = " " * (room - cell_len(text))
        line.append(blanks + text if columns[at].right else text, style)
        if at != final:
            line.append(" " * gap if columns[at].right else blanks + " " * gap)
    return line
