"""Planted faults: for each case a small change of the source under which its tests must fail.

The law of this package: tables of changes, and the command that tries them (`python -m tests.cases.faults`). A change
whose text is no longer in the source is an error, which the unit rung notices without running anything.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[3]
SHOWN = Path(__file__).with_name("shown.txt")


class Fault(NamedTuple):
    """Replace `old` (which is in `file` exactly once) by `new`; tests of every case in `cases` must then fail.

    `fails_when` ends the sentence "fails when ...".
    """

    cases: tuple[int, ...]
    fails_when: str
    file: str
    old: str
    new: str

    @property
    def digest(self) -> str:
        """Digest of the change only, not of the file's place: what was shown holds while the change is the same."""
        return hashlib.sha256("\0".join((self.old, self.new)).encode()).hexdigest()[:12]

    def apply(self, root: Path) -> None:
        """Change the tree at `root`. Raises ValueError if the text isn't there exactly once."""
        path = root / self.file
        text = path.read_text() if path.exists() else ""
        if text.count(self.old) != 1:
            raise ValueError(f"{self.file}: {self.old!r} stands there {text.count(self.old)} times, wanted once")
        path.write_text(text.replace(self.old, self.new))


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
