"""The rung's fixtures, and its record: the result of every case, for the tables that a whole run writes.

Workers of xdist (`-n`) each keep their own record; their controller, or a run without workers, puts them together.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cases.bed import Bed
from tests.cases.case import CASES, FIELD, declared
from tests.cases.report import Book, KernelRun, write_tables
from tests.cases.scripted import Stage, staged
from tests.spare import lending
from tests.topology import no_netfilter

BOOK = Book()
KERNEL = Book()
LAST = 1 << 30


@pytest.fixture(scope="session", autouse=True)
def _spares() -> Iterator[None]:
    with lending():
        yield


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
def kernel_run(request: pytest.FixtureRequest) -> Iterator[None]:
    """The kernel's column, made by a separate run beside algate's, once; not if only some cases were chosen."""
    hard = {case.number for item in request.session.items if (case := declared(item)) and case.number < FIELD}
    first = getattr(request.config, "workerinput", {"workerid": "gw0"})["workerid"] == "gw0"
    if request.config.getoption("gateway") != "algate" or len(hard) < CASES or not first:
        yield
        return
    with KernelRun() as run:
        yield
        KERNEL.answers += run.finish().answers
    broken = [one.name for one in KERNEL.answers if one.broken]
    assert not broken, f"no verdict on the kernel by {', '.join(broken)}"


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
    """For whoever started this run to read: the answers to the controller, as JSON, or as the tables."""
    config = session.config
    if hasattr(config, "workeroutput"):
        config.workeroutput["cases"] = (BOOK.plain(), KERNEL.plain())
        return
    if path := config.getoption("cases_json"):
        BOOK.save(Path(path))
    if KERNEL.answers:
        write_tables(BOOK, KERNEL)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """A worker of xdist has ended, `error`: by a crash, and then it left no record."""
    if error is None:
        for whole, part in zip((BOOK, KERNEL), node.workeroutput.get("cases", ((), ())), strict=True):
            whole.add(part)
