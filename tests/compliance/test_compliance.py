"""Every row of the NAT requirements against algate and against the kernel's NAT; writes tests/compliance.md.

The law of this file: one test per row, one run per gateway for all rows that pytest chose (`-k 5382` runs only those).
Each gateway has its own lab, so both run at once; the document is written if every row was chosen.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.compliance.report import table
from tests.compliance.rows import ROWS
from tests.compliance.run import Run
from tests.compliance.verdict import Answer, Requirement, fault

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "tests" / "compliance.md"
LONGEST = 300  # s for the kernel's column after algate's is done


class Columns(NamedTuple):
    """Row to answer, for each gateway."""

    algate: dict[str, Answer]
    kernel: dict[str, Answer]


@pytest.fixture(scope="session")
def columns(request: pytest.FixtureRequest) -> Iterator[Columns]:
    """Both runs."""
    names = [getattr(item, "callspec").params.get("row") for item in request.session.items if hasattr(item, "callspec")]  # noqa: B009
    wanted = {row.id for row in names if isinstance(row, Requirement)}
    rows = [row for row in ROWS if row.id in wanted]
    argv = [sys.executable, "-m", "tests.compliance", "--json", "kernel", *(row.id for row in rows)]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            algate = Run("algate", rows).go()
            text, _ = process.communicate(timeout=LONGEST)
        finally:
            process.terminate()
    assert process.returncode == 0, f"the kernel's run ended with {process.returncode}"
    kernel = {number: Answer(**one) for number, one in json.loads(text).items()}
    if len(rows) == len(ROWS):
        DOCUMENT.write_text(table(ROWS, algate, kernel))
    yield Columns(algate, kernel)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_row(row: Requirement, columns: Columns) -> None:
    """MUST: yes, or a "no" that the row itself excuses. SHOULD: "no" only where the kernel says so too."""
    found = fault(row, columns.algate[row.id], columns.kernel[row.id])
    assert not found, f"NAT-{row.id}: {row.text}: {found}"


def test_numbers_are_unique() -> None:
    assert len({row.id for row in ROWS}) == len(ROWS)
