"""Rules for every rung: a test carries its folder's marker, and a skip is a failure that says what is missing."""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

RUNGS = ("unit", "property", "fuzz", "bpf", "netns", "compliance", "cases", "faults", "bench", "packaging")
APART = ("tests/fuzz/", "tests/packaging/test_ladder.py")
MATRIX = "tests/netns/test_matrix.py"


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--all` runs the large matrices in full (deploy/dev.sh test --all)."""
    parser.addoption("--all", action="store_true", dest="run_all", help="run the large matrices in full")
    parser.addoption("--build", default="pure", choices=("pure", "compiled"), help="which build of algate has to run")
    parser.addoption("--confined", action="store_true", help="run gateways in the sandbox of deploy/algate.service")
    parser.addoption("--gateway", default="algate", help="the gateway for tests/cases: algate or kernel")
    parser.addoption("--cases-json", default="", help="write the results of tests/cases to this file")


@pytest.fixture(scope="session", autouse=True)
def _confined(pytestconfig: pytest.Config) -> Generator[None]:
    """What --confined means."""
    if not pytestconfig.getoption("confined"):
        yield
        return
    confinement = importlib.import_module("tests.confinement")
    with confinement.everywhere():
        yield


def pytest_sessionstart(session: pytest.Session) -> None:
    """A build that isn't the one meant would prove nothing."""
    wanted: str = session.config.getoption("build")
    found = importlib.import_module("algate.alg.admin.build").build()
    if found != wanted:
        raise pytest.UsageError(f"the {found} build of algate is what is imported here, not the {wanted} one")


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark each test with the rung of its folder."""
    here = Path(__file__).parent
    for item in items:
        rung = item.path.relative_to(here).parts[0] if item.path.is_relative_to(here) else ""
        if rung in RUNGS:
            item.add_marker(rung)
    if (
        config.getoption("build") == "compiled"
    ):  # its classes can't be changed, its steps can't be watched; its text is the same
        items[:] = [item for item in items if item.get_closest_marker("pure") is None]


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
    """Keep one gateway's cells together: pytest sorts by server, which would restart the gateway for each cell."""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Runs after pytest's own sorting."""
        prefix = f"{MATRIX}::test_cell["
        cells = [item for item in items if item.nodeid.startswith(prefix)]
        ordered = iter(sorted(cells, key=lambda item: item.nodeid.partition("[")[2].partition("-")[0]))
        items[:] = [next(ordered) if item.nodeid.startswith(prefix) else item for item in items]


def pytest_configure(config: pytest.Config) -> None:
    """Register the order of the matrix, and give what a test starts the same environment in a worker of xdist, and the
    same signals in a shell's background, where SIGINT is ignored, which children inherit."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(config, "workerinput"):
        for name in ("PYTHONPATH", "COLUMNS", "LINES"):  # set by xdist, and by the readline that it loads
            os.environ.pop(name, None)
    config.pluginmanager.register(_ByGateway())


def group(nodeid: str) -> str:
    """Tests of one group share fixtures: one worker of xdist (`-n`) runs them all, in order.

    A group is a file, a gateway of the matrix, or a single test where tests share nothing.
    """
    if nodeid.startswith(APART):
        return nodeid
    file, _, rest = nodeid.partition("::")
    return f"{file} {rest.partition('[')[2].partition('-')[0]}" if file == MATRIX else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """By group, starting with the largest ones."""
    from xdist.scheduler import LoadFileScheduling

    made = LoadFileScheduling(config, log)
    made._split_scope = group
    return made
