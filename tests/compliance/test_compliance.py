"""Every row of the NAT requirements against algate and the kernel's NAT, NAT64's against Tayga; writes the table.

The law of this file: one test per row, one run per gateway for all rows that pytest chose (`-k 5382` runs only those).
Each gateway has its own lab, so all run at once, algate in two halves of its profiles; the document is written if every
row was chosen.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.compliance.plan import PROFILES
from tests.compliance.report import table
from tests.compliance.rows import ROWS
from tests.compliance.run import Run
from tests.compliance.verdict import Answer, Requirement, fault

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "tests" / "compliance.md"
LONGEST = 300  # s for the other columns after algate's first half is done
SECOND = "six"  # the profile at which algate's second half begins, which runs beside the first


class Columns(NamedTuple):
    """Row to answer, for each gateway."""

    algate: dict[str, Answer]
    kernel: dict[str, Answer]
    tayga: dict[str, Answer]  # of NAT64's rows


@contextlib.contextmanager
def beside(name: str, rows: list[Requirement]) -> Iterator[Callable[[], dict[str, Answer]]]:
    """Another gateway's run, in a process of its own: what it answered, once it is done."""
    if not rows:
        yield dict
        return
    argv = [sys.executable, "-m", "tests.compliance", "--json", name, *(row.id for row in rows)]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:

        def answers() -> dict[str, Answer]:
            text, _ = process.communicate(timeout=LONGEST)
            assert process.returncode == 0, f"the run of {name} ended with {process.returncode}"
            return {number: Answer(**one) for number, one in json.loads(text).items()}

        try:
            yield answers
        finally:
            process.terminate()


@pytest.fixture(scope="session")
def columns(request: pytest.FixtureRequest) -> Iterator[Columns]:
    """All runs."""
    names = [getattr(item, "callspec").params.get("row") for item in request.session.items if hasattr(item, "callspec")]  # noqa: B009
    wanted = {row.id for row in names if isinstance(row, Requirement)}
    rows = [row for row in ROWS if row.id in wanted]
    names = list(PROFILES)
    first = [row for row in rows if names.index(row.config) < names.index(SECOND)]
    second = [row for row in rows if row not in first]
    turned = [row for row in rows if row.config == "nat64"]
    with beside("kernel", rows) as kernels, beside("tayga", turned) as taygas, beside("algate", second) as others:
        algate = Run("algate", first).go() | others()
        kernel, tayga = kernels(), taygas()
    if len(rows) == len(ROWS):
        DOCUMENT.write_text(table(ROWS, algate, kernel, tayga))
    yield Columns(algate, kernel, tayga)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_row(row: Requirement, columns: Columns) -> None:
    """MUST: yes, or a "no" that the row itself excuses. SHOULD: "no" only where the kernel says so too."""
    found = fault(row, columns.algate[row.id], columns.kernel[row.id])
    assert not found, f"NAT-{row.id}: {row.text}: {found}"


def test_numbers_are_unique() -> None:
    assert len({row.id for row in ROWS}) == len(ROWS)


def test_tayga_is_judged_where_it_can_be(columns: Columns) -> None:
    """What is said of it is a verdict, not a scenario that broke; and it does what it is for."""
    said = columns.tayga
    assert not [number for number, one in said.items() if one.broken]
    wanted = {"64-1": True, "64-3": True, "64-3-filter": False, "64-4-syn": False, "64-6": False, "64-7": True}
    wanted |= {"64-9": True, "64-11": True}
    assert all(said[row].yes == yes for row, yes in wanted.items() if row in said), said
