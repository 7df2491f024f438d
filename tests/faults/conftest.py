"""The rung's fixtures, its short form, and its record: a row for every fault, for the table that the run writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.lab import Lab
from tests.faults.bed import Bed, Incident, made_bed
from tests.faults.fault import Row, declared
from tests.faults.report import DOCUMENT, table

HERE = Path(__file__).parent
ROWS: dict[str, Row] = {}
DECLARED = pytest.StashKey[list[str]]()


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    """One gateway for all faults of a file; each test leaves it as it was."""
    with Lab() as lab, made_bed(lab, AlgateGateway(lab)) as made:
        yield made


@pytest.fixture
def incident(request: pytest.FixtureRequest) -> Incident:
    """The fault that the test declares; its row goes into the table if the test passes."""
    said = declared(request.node)
    assert said is not None, "declare the fault: @fault(...)"
    made = Incident(Row(said.text))
    request.node.stash[ROW] = made.row
    if "bed" in request.fixturenames:
        request.getfixturevalue("bed").mark()
    return made


ROW = pytest.StashKey[Row]()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave long faults out without `--all`."""
    here = [item for item in items if item.path.is_relative_to(HERE)]
    faults = [(item, said) for item in here if (said := declared(item))]
    config.stash[DECLARED] = [said.text for _, said in faults]
    if config.getoption("run_all"):
        return
    left_out = {item for item, said in faults if said.long}
    items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Record the row of a test that passed."""
    report = yield
    row = item.stash.get(ROW, None)
    if report.when == "call" and report.passed and row is not None:  # type: ignore[attr-defined]
        ROWS[row.fault] = row
    return report


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write the table of a run that chose whole files, without a failure."""
    known = session.config.stash.get(DECLARED, [])
    whole = not session.config.option.keyword and not any("::" in one for one in session.config.args)
    if ROWS and whole and exitstatus == 0:
        files = {item.path.name for item in session.items}
        if files >= {path.name for path in HERE.glob("test_*.py")}:
            former = DOCUMENT.read_text() if DOCUMENT.exists() else ""
            DOCUMENT.write_text(table(ROWS, known, former))
