"""What the operator has chosen so far, and what he is being asked or told.

The law of this file: frozen values. Keys make the next ones (keys.py), answers of the daemon too (errands.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from algate.cli.top.all import VIEWS
from algate.cli.top.views import TopView, ViewChoices

ROWS_LEAST, ROWS_MOST = 100, 2000  # that the daemon is asked for


@dataclass(frozen=True, slots=True)
class TopErrand:
    """Something to ask the daemon once: `verb` and `args` of the request; `why`: what the answer is for."""

    why: str
    verb: str
    args: Mapping[str, Any]
    about: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """TopRequest at the foot of the screen. `answers`: key -> what to do."""

    text: str
    answers: Mapping[str, TopErrand]


@dataclass(frozen=True, slots=True)
class Detail:
    """One row in full. `row`: as it was last seen; `lines`: what `explain` says, None: it hasn't answered yet."""

    name: str
    row: Any
    lines: Sequence[Any] | None = ()
    offset: int = 0


@dataclass(frozen=True, slots=True)
class TopChoices:
    """`entry`: the filter line being typed, or None; `fault`: what is wrong with it; `note`: an answer or a refusal.

    `errand`: what is to be asked next; whoever asks it takes it out. `barred`: why nothing may be ended, or "".
    """

    name: str = "sessions"
    views: Mapping[str, ViewChoices] = field(default_factory=lambda: {name: v.chosen() for name, v in VIEWS.items()})
    entry: str | None = None
    fault: str = ""
    note: str = ""
    paused: bool = False
    help: bool = False
    detail: Detail | None = None
    question: Question | None = None
    errand: TopErrand | None = None
    barred: str = ""
    done: bool = False

    @property
    def view(self) -> TopView:
        """The one that is shown."""
        return VIEWS[self.name]

    @property
    def here(self) -> ViewChoices:
        """What was chosen in it."""
        return self.views[self.name]

    def with_here(self, **changes: Any) -> TopChoices:
        """With other choices in the view that is shown."""
        return replace(self, views={**self.views, self.name: replace(self.here, **changes)})


def request(state: TopChoices, interval: float, page: int) -> dict[str, Any]:
    """What to ask the verb `top` for, so that a screen of `page` lines and the next one are there."""
    here = state.here
    events = 200 if state.name in ("events", "drops") else 20 if state.view.panes else 0
    made: dict[str, Any] = {"interval": interval, "view": state.name, "events": events}
    if state.name not in ("sessions", "hosts"):
        return made
    wanted = here.offset + here.at + 2 * page
    limit = min(ROWS_MOST, max(ROWS_LEAST, -(-wanted // ROWS_LEAST) * ROWS_LEAST))
    made |= {"limit": limit, "sort": here.sort, "reverse": here.reverse, **here.args}
    if here.words:
        made["words"] = list(here.words)
    if state.detail is not None and state.name == "sessions":
        row = state.detail.row
        made["keep"] = [[row.proto, row.inside, row.outside]]
    return made
