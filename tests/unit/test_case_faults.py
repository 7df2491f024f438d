"""The planted faults of tests/cases still fit the source, and it is recorded which of them were noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cases.faults import Fault, faults, shown
from tests.planted import ROOT


@pytest.mark.parametrize("fault", faults(), ids=lambda fault: f"{fault.cases[0]}-{fault.digest}")
def test_it_still_applies(fault: Fault) -> None:
    text = (ROOT / fault.file).read_text()
    assert text.count(fault.old) == 1, f"{fault.file}: {fault.old!r} must stand there once: mend the fault"
    assert fault.new != fault.old


def test_what_was_shown_is_still_there() -> None:
    """A fault that was changed has to be tried again: python -m tests.cases.faults NUMBER."""
    known = {(case, fault.digest) for fault in faults() for case in fault.cases}
    assert [pair for pair in shown().items() if pair not in known] == []


def test_a_text_that_is_gone_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("x = 1\n")
    with pytest.raises(ValueError, match="stands there 0 times"):
        Fault((1,), "", "one.py", "y = 1", "y = 2").apply(tmp_path)
    Fault((1,), "", "one.py", "x = 1", "x = 2").apply(tmp_path)
    assert (tmp_path / "one.py").read_text() == "x = 2\n"
