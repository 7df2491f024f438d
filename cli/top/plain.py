"""`top` where the cursor can't be moved (TERM=dumb): a table now and then, one after the other.

The law of this file: pure; lines of text without styles. What is in them is what the screen shows.
"""

from __future__ import annotations

from rich.text import Text

from algate.cli.top.choices import TopChoices
from algate.cli.top.happenings import clock
from algate.cli.top.history import History
from algate.cli.top.screen import counts, head, table

LINES = 20  # rows, unless the terminal says how many it has


def page(history: History, state: TopChoices, width: int, height: int, interval: float) -> list[Text]:
    """The gateway's state, and the first rows of the view."""
    rows = state.view.rows(history, state.here)
    here = state.here
    title = f"{clock(history.now.time)} {state.name}, by {here.sort}{' reversed' if here.reverse else ''}"
    title += f", filter {here.text}" if here.text else ""
    most = max(3, (height or LINES) - 5)
    title += f", {min(most, len(rows)):,} of {len(rows):,} lines{counts(history, here, interval)}"
    shown = table(history, state, rows[:most], width, -1)
    return [Text(line.plain.rstrip()[:width]) for line in (*head(history, "", ""), Text(title), *shown)]
