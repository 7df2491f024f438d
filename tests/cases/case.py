"""What a test declares about its case: number, what it checks, how binding it is, why the kernel can't be tested.

The law of this file: declarations, no traffic. A test is called `test_ftp_NN_words`, one of a field report
`test_rNN_words`; several may share a number. Numbers of field reports are kept above FIELD, so that one number names a
case wherever it is counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import pytest

F = TypeVar("F", bound=Callable[..., None])
CASES = 90
FIELD = 1000
NO_OPTION = "the kernel's helper has no such option"


class Case(NamedTuple):
    """A declaration. `kernel`: why the kernel's NAT can't be tested; empty: it is tested the same way."""

    number: int
    looks_for: str
    level: str
    kernel: str


def label(number: int) -> str:
    """How a number is written: FTP-7, R-7."""
    return f"R-{number - FIELD}" if number > FIELD else f"FTP-{number}"


def numbered(word: str) -> int:
    """The number written like that; plain digits are a hard case's. Raises ValueError."""
    family, _, digits = word.rpartition("-")
    return int(digits) + (FIELD if family == "R" else 0)


def prefix(number: int) -> str:
    """How the names of its tests begin."""
    return f"test_r{number - FIELD:02d}_" if number > FIELD else f"test_ftp_{number:02d}_"


def field(number: int, looks_for: str, *, kernel: str = "") -> Callable[[F], F]:
    """Declare a test of the field report R-`number`."""
    return _declare(FIELD + number, looks_for, "MUST", kernel)


def case(number: int, looks_for: str, *, level: str = "MUST", kernel: str = "") -> Callable[[F], F]:
    """Declare a test of that case. Raises ValueError if its name doesn't say the number."""
    if not 1 <= number <= CASES or level not in ("MUST", "SHOULD", "MAY"):
        raise ValueError(f"no case FTP-{number} of level {level}")
    return _declare(number, looks_for, level, kernel)


def _declare(number: int, looks_for: str, level: str, kernel: str) -> Callable[[F], F]:
    def mark(test: F) -> F:
        if not test.__name__.startswith(prefix(number)):
            raise ValueError(f"{test.__name__} is a test of {label(number)}: call it {prefix(number)}...")
        marked: F = pytest.mark.case(Case(number, looks_for, level, kernel))(test)
        return marked

    return mark


def declared(item: pytest.Item) -> Case | None:
    """The declaration of a collected test."""
    marker = item.get_closest_marker("case")
    return marker.args[0] if marker else None
