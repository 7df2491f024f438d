"""Frames on a terminal: only the cells that changed are sent, so that a slow line keeps up.

The law of this file: it knows what the screen shows and turns a frame into bytes; it has no terminal itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from rich.cells import cell_len
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

GAP = 5  # cells that are the same and still sent: fewer bytes than to go to what is behind them
CLEAR = "\x1b[0m\x1b[H\x1b[2J"
REST = "\x1b[K"  # blank to the end of the line


class Cell(NamedTuple):
    """A character, "" for the second half of a wide one, and the sequence that sets its style."""

    text: str
    style: str


BLANK = Cell(" ", "")


class Painter:
    """`sent`: bytes so far."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: list[list[Cell]] = []
        self._size = (0, 0)
        self.sent = 0

    def forget(self) -> None:
        """Somebody else wrote on the screen: the next frame is sent whole."""
        self._size = (0, 0)

    def paint(self, lines: Sequence[Text], width: int, height: int) -> bytes:
        """What to send so that the screen shows these lines."""
        frame = [self._cells(line, width) for line in lines[:height]]
        parts = []
        if (width, height) != self._size:
            self._size = (width, height)
            self._shown = [[BLANK] * width for _ in range(height)]
            parts.append(CLEAR)
        for row, (old, new) in enumerate(zip(self._shown, frame, strict=False)):
            if old != new:
                parts += _changes(row, old, new)
        self._shown[: len(frame)] = frame
        made = "".join(parts).encode("utf-8", "replace")
        self.sent += len(made)
        return made

    def _cells(self, line: Text, width: int) -> list[Cell]:
        segments: Iterable[Segment] = line.render(self._console, end="")
        if self._console.no_color:
            segments = Segment.remove_color(segments)
        cells: list[Cell] = []
        for text, style, _ in segments:
            code = _code(style, self._console)
            for one in text.rstrip("\n"):
                room = cell_len(one)
                if room == 0 and cells:
                    cells[-1] = Cell(cells[-1].text + one, cells[-1].style)
                cells += [Cell(one, code), Cell("", code)][:room]
        return (cells + [BLANK] * width)[:width]


def _code(style: Style | None, console: Console) -> str:
    systems = {"standard": 1, "256": 2, "truecolor": 3}
    return _sequence(style, systems.get(console.color_system or "", 0)) if style else ""


@lru_cache(maxsize=256)
def _sequence(style: Style, system: int) -> str:
    from rich.color import ColorSystem

    if not system:
        return ""
    return style.render("\0", color_system=ColorSystem(system)).partition("\0")[0]


def _changes(row: int, old: Sequence[Cell], new: Sequence[Cell]) -> list[str]:
    """What makes the new line of the old one."""
    end = len(new)
    while end and new[end - 1] == BLANK:
        end -= 1
    parts: list[str] = []
    for start, stop in _runs(old, new, end):
        parts.append(f"\x1b[{row + 1};{start + 1}H")
        parts.append(_styled(new[start:stop]))
    if any(cell != BLANK for cell in old[end:]):
        parts.append(f"\x1b[{row + 1};{end + 1}H{REST}")
    return parts


def _runs(old: Sequence[Cell], new: Sequence[Cell], end: int) -> list[tuple[int, int]]:
    """Stretches of the first `end` cells that changed; those that are near each other are one."""
    runs: list[tuple[int, int]] = []
    for at in range(end):
        if old[at] == new[at]:
            continue
        start = at
        while start and new[start].text == "":  # a wide character is sent whole
            start -= 1
        if runs and start - runs[-1][1] <= GAP:
            runs[-1] = runs[-1][0], at + 1
        else:
            runs.append((start, at + 1))
    return runs


def _styled(cells: Sequence[Cell]) -> str:
    text, current = "", ""
    for cell in cells:
        if cell.style != current:
            text += ("\x1b[0m" if current else "") + cell.style
            current = cell.style
        text += cell.text
    return text + ("\x1b[0m" if current else "")
