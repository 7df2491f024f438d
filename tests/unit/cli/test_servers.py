"""The lab's FTP servers are found where setup unpacks them, whichever build runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from algate.cli.lab.servers import KINDS, find_program

pytestmark = pytest.mark.unit

UNPACKED = Path(__file__).parents[3] / ".venv/servers"


@pytest.mark.parametrize(
    "package", sorted({one.package for one in KINDS.values()} & {one.name for one in UNPACKED.glob("*")})
)
def test_an_unpacked_server_is_found(package: str) -> None:
    kind = next(one for one in KINDS.values() if one.package == package)
    assert Path(find_program(kind)).resolve().is_relative_to(UNPACKED)
