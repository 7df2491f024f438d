"""The faults of the compliance rows of IPv6: in the source once, each of a row that there is."""

from __future__ import annotations

import pytest

from tests.compliance.faults import FAULTS, RowFault, shown
from tests.compliance.rows import ROWS
from tests.planted import ROOT

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.rows[0])
def test_its_text_is_there_once(fault: RowFault) -> None:
    assert (ROOT / fault.file).read_text().count(fault.old) == 1
    assert set(fault.rows) <= {row.id for row in ROWS}


def test_what_was_noticed_is_what_stands_here() -> None:
    """A fault that was changed has to be tried again: python -m tests.compliance.faults ROW."""
    digests = {row: {fault.digest for fault in FAULTS if row in fault.rows} for fault in FAULTS for row in fault.rows}
    assert {row for row, digest in shown().items() if digest not in digests[row]} == set()
    assert set(digests) - set(shown()) == set()
