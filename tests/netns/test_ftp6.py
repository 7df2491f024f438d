"""FTP over IPv6 by real programs: vsftpd and curl, in the modes that IPv6 has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from algate.cli.lab.judge import Mode
from algate.cli.lab.lab import Lab, LabPlan
from algate.cli.lab.servers import FtpServer, start_server
from algate.cli.lab.transfers import Errand, Operation, carry_out, order
from algate.cli.lab.trial import digest

pytestmark = pytest.mark.netns
MODES = (Mode.EPRT, Mode.EPSV)
DUAL = {"listen": "NO", "listen_ipv6": "YES"}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(LabPlan(six=True)) as made:
        yield made


def transfer(lab: Lab, server: FtpServer, mode: Mode, operation: Operation, inside: bool) -> str:
    """What was wrong about a transfer with a client inside, or else a server; "" if nothing."""
    host, address = (
        (lab.client, lab.plan.servers6[0]) if inside else (lab.server, lab.plan.clients6[0])
    )  # fmt: skip
    remote, local = server.pub / "f.bin", lab.folder / "local-f.bin"
    source = local if operation is Operation.PUT else remote
    source.write_bytes(bytes(range(256)) * 4000)
    errand = Errand(mode, operation, address, server.login, "pub/f.bin", local)
    outcome = carry_out(host, "curl", errand, order("curl", errand))
    equal = digest(remote) == digest(local) != ""
    for path in (remote, local):
        Path(path).unlink(missing_ok=True)
    return outcome.words if not outcome.ok else "" if equal else "content differs"


@pytest.mark.parametrize("inside", [True, False], ids=["client-inside", "server-inside"])
def test_the_lab_carries_it_by_itself(lab: Lab, inside: bool) -> None:
    server = start_server("vsftpd", lab.server if inside else lab.client, more=DUAL)
    try:
        for mode in MODES:
            for operation in (Operation.GET, Operation.PUT):
                assert transfer(lab, server, mode, operation, inside) == "", (mode, operation)
    finally:
        server.stop()
