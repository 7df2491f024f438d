"""The faults of the compliance rows of IPv6: in the source once, each of a row that there is."""

from __future__ import annotations

import pytest

from tests.compliance.faults import FAULTS, ROOT, RowFault
from tests.compliance.rows import ROWS

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.rows[0])
def test_its_text_is_there_once(fault: RowFault) -> None:
    assert (ROOT / fault.file).read_text().count(fault.old) == 1
    assert set(fault.rows) <= {row.id for row in ROWS}
