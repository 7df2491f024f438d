"""Rules for every rung: a test carries its folder's marker, and a skip is a failure that says what is missing."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

RUNGS = ("unit", "property", "fuzz", "bpf", "netns", "compliance", "cases", "bench", "packaging")
APART = ("tests/fuzz/", "tests/packaging/test_ladder.py")
MATRIX = "tests/netns/test_matrix.py"


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--all` runs the large matrices whole (deploy/dev.sh test --all)."""
    parser.addoption("--all", action="store_true", dest="run_all", help="run the large matrices whole")
    parser.addoption("--gateway", default="algate", help="who stands in the middle of tests/cases: algate or kernel")
    parser.addoption("--cases-json", default="", help="write what became of tests/cases to this file")


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark each test with the rung whose folder it lies in."""
    here = Path(__file__).parent
    for item in items:
        rung = item.path.relative_to(here).parts[0] if item.path.is_relative_to(here) else ""
        if rung in RUNGS:
            item.add_marker(rung)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A rung that can't run says what is missing, and fails: a skipped test would prove nothing."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which counts as failure here: {call.excinfo.value if call.excinfo else ''}"
    return report


class _ByGateway:
    """All cells of one gateway together: pytest, sorting by server, would start a gateway anew for each cell."""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Runs behind pytest's own sorting."""
        prefix = f"{MATRIX}::test_cell["
        cells = [item for item in items if item.nodeid.startswith(prefix)]
        ordered = iter(sorted(cells, key=lambda item: item.nodeid.partition("[")[2].partition("-")[0]))
        items[:] = [next(ordered) if item.nodeid.startswith(prefix) else item for item in items]


def pytest_configure(config: pytest.Config) -> None:
    """Register the order of the matrix; what a test starts sees the same environment in a worker of xdist."""
    if hasattr(config, "workerinput"):
        for name in ("PYTHONPATH", "COLUMNS", "LINES"):  # set by xdist and by readline, which it brings along
            os.environ.pop(name, None)
    config.pluginmanager.register(_ByGateway())


def group(nodeid: str) -> str:
    """Tests of one group share fixtures: one worker of xdist (`-n`) runs them all, in order.

    A file is a group; of the matrix each gateway is one; where tests share nothing each is one.
    """
    if nodeid.startswith(APART):
        return nodeid
    file, _, rest = nodeid.partition("::")
    return f"{file} {rest.partition('[')[2].partition('-')[0]}" if file == MATRIX else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """By group; those with the most tests begin."""
    from xdist.scheduler import LoadFileScheduling

    made = LoadFileScheduling(config, log)
    made._split_scope = group
    return made
