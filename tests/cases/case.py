"""What a test says of its case: number, what it looks for, how binding it is, why the kernel can't be asked.

The law of this file: declarations, no traffic. A test is called `test_ftp_NN_words`; several may share a number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import pytest

F = TypeVar("F", bound=Callable[..., None])
CASES = 90
NO_OPTION = "the kernel's helper has no such option"


class Case(NamedTuple):
    """A declaration. `kernel`: why the kernel's NAT can't be asked; empty: it is asked the same."""

    number: int
    looks_for: str
    level: str
    kernel: str


def case(number: int, looks_for: str, *, level: str = "MUST", kernel: str = "") -> Callable[[F], F]:
    """Declare a test of that case. Raises ValueError if its name doesn't say the number."""
    if not 1 <= number <= CASES or level not in ("MUST", "SHOULD", "MAY"):
        raise ValueError(f"no case FTP-{number} of level {level}")

    def mark(test: F) -> F:
        if not test.__name__.startswith(f"test_ftp_{number:02d}_"):
            raise ValueError(f"{test.__name__} is a test of FTP-{number}: call it test_ftp_{number:02d}_...")
        marked: F = pytest.mark.case(Case(number, looks_for, level, kernel))(test)
        return marked

    return mark


def declared(item: pytest.Item) -> Case | None:
    """The declaration of a collected test."""
    marker = item.get_closest_marker("case")
    return marker.args[0] if marker else None
