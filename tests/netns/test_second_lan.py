"""FTP from a host behind a second LAN device: the control session, its rewritten address and its data connections."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.host import Host
from algate.cli.lab.judge import Mode
from algate.cli.lab.lab import Lab, ip
from algate.cli.lab.servers import FtpServer, start_server
from tests.netns.talk import data, talking
from tests.topology import no_netfilter

FAR = "10.78.0.2"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made._add_host("far", FAR, "eth0")
        made._link("far", "eth0", "gw", "lan1")
        ip("addr add 10.78.0.1/24 dev lan1", made.gw.netns)
        ip(f"addr add {FAR}/24 dev eth0\nroute add default via 10.78.0.1", made.hosts["far"].netns)
        yield made


@pytest.fixture(scope="module")
def gateway(lab: Lab) -> Iterator[AlgateGateway]:
    with AlgateGateway(lab, options=("--lan", "lan1")) as made:
        yield made
        no_netfilter(lab, made)


@pytest.fixture(scope="module")
def server(lab: Lab) -> FtpServer:
    made = start_server("vsftpd", lab.server)
    (made.pub / "some").write_bytes(b"x" * 300_000)
    return made


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("name", ["client", "far"])
def test_ftp(gateway: AlgateGateway, server: FtpServer, name: str, mode: Mode) -> None:
    """Each LAN's host in each mode; the data sessions belong to the control session and have its inside address."""
    host: Host = gateway.lab.hosts[name]
    before = gateway.ask("stats")['algate_expectations_total{outcome="used"}']
    with talking(host, gateway.lab.plan.servers[0], server.login) as ftp:
        assert ftp.fetch("pub/some", mode) == b"x" * 300_000
        ftp.store(f"pub/{name}-{mode}", b"y" * 100_000, mode)
        (control,) = [row for row in data(gateway, "sessions") if row["alg"] == "ftp" and row["state"] == "established"]
        related = [row for row in data(gateway, "sessions") if row["related_to"] == control["id"]]
    assert (server.pub / f"{name}-{mode}").read_bytes() == b"y" * 100_000
    assert len(related) == 2 and {row["inside"].split(":")[0] for row in (control, *related)} == {host.address}
    assert gateway.ask("stats")['algate_expectations_total{outcome="used"}'] == before + 2
