"""What a view of `top` is: columns with their orders, rows from the daemon's snapshots, and how to name a row.

The law of this file: pure. Each view has a module of its own, which makes a TopView; all.py lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, TypeVar

from algate.alg.admin import filters
from algate.alg.admin.filters import Filter
from algate.alg.rows import Row
from algate.cli.grid import Column
from algate.cli.top.history import History

R = TypeVar("R")
Key = Callable[[Any], Any]
EVERYTHING = Filter()


@dataclass(frozen=True, slots=True)
class Lane:
    """A column of so many cells. `sort`: the name of the order by it; `key`: ascending keys give its natural order."""

    column: Column
    room: int
    sort: str
    key: Key


@dataclass(frozen=True, slots=True)
class ViewChoices:
    """What the operator chose in one view. `args`: the filter as a request's; `mark`: the selected row's name, "": the
    first row, whichever that is; `at`: where that row was; `offset`: lines above the first one shown."""

    sort: str
    reverse: bool = False
    text: str = ""
    args: Mapping[str, Any] = field(default_factory=dict)
    chosen: Filter = EVERYTHING
    words: tuple[str, ...] = ()
    mark: str = ""
    at: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class TopView:
    """`rows`: what is shown, filtered and sorted; `name_of`: tells a row from all others, so that the selection stays
    on it. `names`: what may be filtered by; `extra`: orders that no column has; `panes`: whether drops and events stand
    under it. `empty`: what is said without rows."""

    key: str
    name: str
    fields: Sequence[Lane]
    sort: str
    rows: Callable[[History, ViewChoices], list[Any]]
    name_of: Callable[[Any], str]
    names: tuple[str, ...]
    empty: str
    extra: Mapping[str, Key] = field(default_factory=dict)
    panes: bool = False

    @property
    def sorts(self) -> dict[str, Key]:
        """Order -> key, in the order in which `s` goes through them."""
        return {**{one.sort: one.key for one in self.fields}, **self.extra}

    def chosen(self) -> ViewChoices:
        """What it begins with."""
        return ViewChoices(self.sort)


def place(view: TopView, choices: ViewChoices, rows: Sequence[Any]) -> int:
    """Where the selected row is now; if it is gone, where it was."""
    if choices.mark:
        for at, row in enumerate(rows):
            if view.name_of(row) == choices.mark:
                return at
        return max(0, min(choices.at, len(rows) - 1))
    return 0


def window(choices: ViewChoices, at: int, page: int, total: int) -> int:
    """The first line to show, so that the selected one is among them."""
    offset = min(max(choices.offset, at - page + 1), at)
    return max(0, min(offset, total - page))


def flat(rows: Iterable[R], choices: ViewChoices, sorts: Mapping[str, Key]) -> list[R]:
    """Rows of a listing, filtered and sorted."""
    kept = [row for row in rows if not isinstance(row, Row) or wanted(row, choices)]
    return sorted(kept, key=sorts[choices.sort], reverse=choices.reverse)


def wanted(row: Row, choices: ViewChoices) -> bool:
    """Whether the filter accepts the row and every word occurs in it."""
    return choices.chosen.matches(row) and filters.spoken(row, choices.words)


def address(text: str | None) -> tuple[int, int]:
    """An end point as something to sort by."""
    ported = (text or "").count(":") == 1 or "]:" in (text or "")
    host, _, port = (text or "").rpartition(":") if ported else (text or "", "", "0")
    try:
        return int(ip_address(host.strip("[]"))), int(port)
    except ValueError:
        return 0, 0
