"""Rules for every rung: a test carries its folder's marker, and a skip is a failure that says what is missing."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

RUNGS = ("unit", "property", "bpf", "netns", "compliance", "bench", "packaging")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--all` runs the large matrices whole (deploy/dev.sh test --all)."""
    parser.addoption("--all", action="store_true", dest="run_all", help="run the large matrices whole")


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
