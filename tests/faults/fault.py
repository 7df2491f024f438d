"""What a test declares about its fault, and the row that its run gives.

The law of this file: declarations and values, no traffic. A fault declared `long`, or with one of the parameters that
`long` lists, is left out without `--all`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import pytest

F = TypeVar("F", bound=Callable[..., None])


class Fault(NamedTuple):
    """A declaration. `text` may name parameters of the test: "clsact removed from {device}"."""

    text: str
    long: bool | tuple[str, ...]


@dataclass
class Row:
    """One line of the table. Times are seconds since the fault; None: it never was (nothing to mend, or not told)."""

    fault: str
    seen: str = ""
    noticed: float | None = None
    mended: float | None = None
    lost: str = ""


def fault(text: str, *, long: bool | tuple[str, ...] = False) -> Callable[[F], F]:
    """Declare a test of that fault."""

    def mark(test: F) -> F:
        marked: F = pytest.mark.fault(Fault(text, long))(test)
        return marked

    return mark


def declared(item: pytest.Item) -> Fault | None:
    """The declaration of a collected test, its parameters filled in."""
    marker = item.get_closest_marker("fault")
    if marker is None:
        return None
    said: Fault = marker.args[0]
    spec = getattr(item, "callspec", None)
    if spec is None:
        return said
    long = said.long if isinstance(said.long, bool) else any(one in said.long for one in spec.params.values())
    return Fault(said.text.format(**spec.params), long)
