"""The rung's fixtures, and its record: the result of every case, for the table that the run writes."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.cases.bed import Bed
from tests.cases.case import declared
from tests.cases.report import Book, KernelRun
from tests.cases.scripted import Stage, staged
from tests.topology import no_netfilter

BOOK = Book()
LAST = 1 << 30


@pytest.fixture(scope="session")
def shared(request: pytest.FixtureRequest) -> Iterator[Bed]:
    """The one gateway of this run."""
    with Bed(str(request.config.getoption("gateway"))) as made:
        yield made
        no_netfilter(made.lab, made.gateway)


@pytest.fixture
def bed(shared: Bed) -> Bed:
    """The shared gateway, with nothing left from other tests on the links."""
    shared.fresh()
    return shared


@pytest.fixture(scope="session")
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """The one gateway of this run between links on which scripts write every segment."""
    with staged(str(request.config.getoption("gateway"))) as made:
        yield made
        no_netfilter(made.lab, made.gateway)


@pytest.fixture(scope="session", autouse=True)
def kernel_run(request: pytest.FixtureRequest) -> Iterator[KernelRun | None]:
    """The kernel's column, made by a separate run next to algate's; None if only some cases were chosen."""
    cases = {case.number for item in request.session.items if (case := declared(item))}
    whole = "test_the_table" in {item.name for item in request.session.items}
    if request.config.getoption("gateway") != "algate" or not whole or len(cases) < 2:
        yield None
        return
    with KernelRun() as run:
        yield run


def _number(item: pytest.Item) -> int:
    case = declared(item)
    return case.number if case else LAST


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort by number, the table last; deselect what the kernel can't be tested for."""
    here = [item for item in items if item.path.parent == Path(__file__).parent]
    others = [item for item in items if item.path.parent != Path(__file__).parent]
    if config.getoption("gateway") != "algate":
        here = [item for item in here if (case := declared(item)) and not case.kernel]
    here.sort(key=_number)
    items[:] = others + here


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Record the result of a case."""
    report = yield
    case = declared(item)
    if case is not None and (report.when == "call" or report.failed):
        BOOK.note(case, item.name, report.passed, call.excinfo)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """For whoever started this run to read: the answers as JSON."""
    path = session.config.getoption("cases_json")
    if path:
        BOOK.save(Path(path))


@pytest.fixture
def book() -> Book:
    """What was recorded so far."""
    return BOOK
