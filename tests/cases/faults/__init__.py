"""Planted faults: for each case a small change of the source under which its tests must fail.

The law of this package: tables of changes, and the command that tries them (`python -m tests.cases.faults`). A change
whose text is no longer in the source is an error, which the unit rung notices without running anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.planted import Planted

SHOWN = Path(__file__).with_name("shown.txt")


@dataclass(frozen=True)
class Fault(Planted):
    """Tests of every case in `cases` must then fail. `fails_when` ends the sentence "fails when ..."."""

    cases: tuple[int, ...]
    fails_when: str
    file: str
    old: str
    new: str


def faults() -> tuple[Fault, ...]:
    """All of them."""
    from tests.cases.faults import field, first, second

    return (*first.FAULTS, *second.FAULTS, *field.FAULTS)


def shown() -> dict[int, str]:
    """Case -> digest of the fault that made it fail."""
    pairs = (line.split() for line in SHOWN.read_text().splitlines() if line.strip())
    return {int(number): digest for number, digest in pairs}


def fault_of(number: int) -> str:
    """What the table says: the first fault of that case that was tried in its present form."""
    known = shown().get(number, "")
    return next((one.fails_when for one in faults() if number in one.cases and one.digest == known), "not shown yet")
