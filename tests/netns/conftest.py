"""What several modules start from; those that need another lab or server have their own of that name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from algate.cli.lab.lab import Lab
from algate.cli.lab.servers import FtpServer, start_server
from tests.netns.talk import CONTENT


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
