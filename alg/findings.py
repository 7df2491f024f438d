"""The rows of `check` and `doctor`: what they found.

The law of this file: as rows.py: frozen records whose fields, in this order, are a contract that scripts rely on.
"""

from __future__ import annotations

from dataclasses import dataclass

from algate.alg.rows import Row


@dataclass(frozen=True, slots=True)
class ProblemRow(Row):
    """One finding of `check`. `kind`: "error" (in the file) or "host", `path`: the key that it is about; of
    `check --pins` "refused" or "converted", `path`: a pin folder."""

    kind: str
    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class BrokenRow(Row):
    """One finding of `check --live`. `rule`: which invariant is broken; `about`: whose."""

    rule: str
    about: str
    detail: str


@dataclass(frozen=True, slots=True)
class CheckRow(Row):
    """One check of `doctor`. `fix` says what to do."""

    check: str
    ok: bool
    detail: str
    fix: str = ""
