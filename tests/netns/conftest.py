"""What several modules start from; those that need another lab or server have their own of that name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.lab import Lab
from algate.cli.lab.servers import FtpServer, start_server
from tests.netns.talk import CONTENT
from tests.spare import Spares, lending


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is marked `whole` runs with `--all` alone."""
    if not config.getoption("run_all"):
        left = [item for item in items if item.get_closest_marker("whole")]
        items[:] = [item for item in items if item not in left]
        config.hook.pytest_deselected(items=left)


@pytest.fixture(scope="session", autouse=True)
def spares() -> Iterator[Spares]:
    with lending() as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def _loading(request: pytest.FixtureRequest, spares: Spares) -> Iterator[None]:
    """In a module that is about loading, LOADS, each gateway loads its programs."""
    AlgateGateway.spares = None if getattr(request.module, "LOADS", False) else spares
    yield
    AlgateGateway.spares = spares


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


@pytest.fixture
def server(lab: Lab) -> FtpServer:
    """vsftpd outside, with pub/file."""
    made = start_server("vsftpd", lab.server)
    (made.pub / "file").write_bytes(CONTENT)
    return made
