"""States of `top` for its tests: histories of the fake daemon's traffic, keys that were pressed, frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyte
from rich.console import Console
from rich.text import Text

from algate.cli.top import screen
from algate.cli.top.choices import TopChoices
from algate.cli.top.flows import TopFlow, tree
from algate.cli.top.history import History, TopSnapshot
from algate.cli.top.keys import Seen, decode, filtered, press
from algate.cli.top.painter import Painter
from tests.fake_daemon import SESSIONS, snapshot

DOWN, UP, END, HOME, PAGE_DOWN = b"\x1b[B", b"\x1b[A", b"\x1b[F", b"\x1b[H", b"\x1b[6~"
MANY = tuple(replace(SESSIONS[2], id=f"{n:016x}", inside=f"10.0.{n // 250}.{n % 250}:7") for n in range(100))


def history(*steps: int, view: str = "sessions") -> History:
    """What top knows after some snapshots of the fake daemon."""
    made = History()
    for step in steps:
        made.add(TopSnapshot.read(snapshot(step, view=view)))
    return made


def crowd(**look: Any) -> History:
    """A hundred sessions."""
    made = History()
    rows = [row.as_dict() for row in MANY]
    told = {"look": {"matching": 100, "total": 100, **look}}
    made.add(TopSnapshot.read({**snapshot(0), "sessions": rows, "expectations": [], **told}))
    return made


def lines_of(made: History, text: str = "", **choices: Any) -> list[str]:
    """The tree as "depth:id's last digits"."""
    state = filtered(TopChoices(), text).with_here(**choices)
    return [f"{flow.depth}:{flow.row.id[-2:]}" for flow in tree(made, state.here)]


def typed(
    data: bytes, state: TopChoices | None = None, page: int = 10, rows: Sequence[Any] | None = None
) -> TopChoices:
    """The state after some keys."""
    state = state or TopChoices()
    for key in decode(data):
        state = press(state, key, Seen([TopFlow(one) for one in MANY] if rows is None else rows, page))
    return state


def at(state: TopChoices) -> tuple[int, int]:
    return state.here.at, state.here.offset


def frame(
    width: int, height: int, state: TopChoices | None = None, trouble: str = "", made: History | None = None
) -> screen.Frame:
    """A frame of the fake daemon's traffic."""
    state = state or TopChoices()
    made = made or history(0, 1, 2, view=state.name)
    return screen.render(made, state, trouble, "/run/algate", width, height)


def console(**options: Any) -> Console:
    return Console(force_terminal=True, color_system="256", highlight=False, markup=False, emoji=False, **options)


def sent(painter: Painter, terminal: pyte.Screen, lines: Sequence[Text], width: int, height: int) -> int:
    """Bytes that a frame took."""
    data = painter.paint(lines, width, height)
    pyte.ByteStream(terminal).feed(data)
    return len(data)
