"""Real servers and real clients through each gateway, judged on the wire (see matrix.py for what CI runs)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from algate.cli.lab.gateways import LabGateway
from algate.cli.lab.judge import InsideEnd
from algate.cli.lab.lab import Lab
from algate.cli.lab.trial import Result, TrialStage
from tests.netns import matrix
from tests.netns.matrix import Cell
from tests.topology import GATEWAYS, gateway_lab

CONTENT = bytes(range(256)) * 150  # every byte value, more than one segment
RESULTS: dict[str, dict[Cell, Result]] = {name: {} for name in GATEWAYS}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per cell, ordered so that each lab and server is set up once."""
    whole = bool(metafunc.config.getoption("run_all"))
    rows = [(name, (cell.server, cell.side), cell) for name in GATEWAYS for cell in matrix.cells(whole)]
    names = ["-".join((name, *cell)) for name, _, cell in rows]
    metafunc.parametrize(("middle", "stage", "cell"), rows, indirect=["middle", "stage"], ids=names, scope="module")


@pytest.fixture(scope="module")
def middle(request: pytest.FixtureRequest) -> Iterator[tuple[Lab, LabGateway]]:
    """The lab with one gateway; writes that gateway's table at the end."""
    with gateway_lab(request.param) as made:
        yield made
    print(matrix.write(request.param, RESULTS[request.param], bool(request.config.getoption("run_all"))))


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest, middle: tuple[Lab, LabGateway]) -> Iterator[TrialStage]:
    """One server on one side."""
    server, side = request.param
    with TrialStage(middle[0], InsideEnd(side), server) as made:
        yield made


def test_cell(middle: tuple[Lab, LabGateway], stage: TrialStage, cell: Cell) -> None:
    result = stage.trial(cell.client, cell.mode, cell.operation, CONTENT)
    RESULTS[middle[1].name][cell] = result
    assert result.problems == ()
    assert result.refusal or result.findings
