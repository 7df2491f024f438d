"""What several modules start from; those that need another lab or server have their own of that name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from algate.cli.lab.lab import Lab
from algate.cli.lab.servers import FtpServer, start_server
from tests.netns.talk import CONTENT


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is marked `whole` runs with `--all` alone."""
    if not config.getoption("run_all"):
        left = [item for item in items if item.get_closest_marker("whole")]
        items[:] = [item for item in items if item not in left]
        config.hook.pytest_deselected(items=left)


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
