"""What passes and what is refused: UDP, ICMP, unsolicited traffic, and a firewall that only the ALG opens."""

from __future__ import annotations

import ftplib
import socket
from collections.abc import Iterator

import pytest

from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.judge import Mode
from algate.cli.lab.lab import Lab
from algate.cli.lab.servers import start_server
from tests.netns.talk import Echo, Line, data, talking
from tests.topology import gateway_lab, no_netfilter

ECHO = 7007
ALLOW = '[firewall]\nallow_out = ["tcp/21"]\n'


@pytest.fixture(scope="module")
def gateway() -> Iterator[AlgateGateway]:
    """Running, for all tests that need no other configuration."""
    with gateway_lab("algate") as (lab, made), Echo(lab.server, ECHO), Echo(lab.client, ECHO), Echo(lab.client, 21):
        assert isinstance(made, AlgateGateway)
        lab.server.run(["ip", "route", "add", lab.plan.inside, "via", lab.plan.public[0]], check=True)
        yield made


def refusals(gateway: AlgateGateway) -> float:
    """All drops so far."""
    stats: dict[str, float] = gateway.ask("stats")
    return sum(value for name, value in stats.items() if name.startswith("algate_drops_total"))


def test_udp_and_icmp_pass(gateway: AlgateGateway) -> None:
    lab = gateway.lab
    address = lab.plan.servers[0]
    with Line(lab.client, address, ECHO, socket.SOCK_DGRAM) as line:
        assert line.ask(b"datagram") == b"datagram"
        (row,) = data(gateway, "sessions", "--proto", "udp")
        assert (row["inside"], row["outside"], row["state"]) == (line.local, f"{address}:{ECHO}", "active")
        assert (row["packets_out"], row["packets_in"]) == (1, 1)
    done = lab.client.run(["ping", "-c3", "-i0.2", "-W5", "-s1000", address])
    assert done.returncode == 0, done.stdout
    (row,) = data(gateway, "sessions", "--proto", "icmp")
    assert (row["packets_out"], row["packets_in"], row["state"]) == (3, 3, "active")


def test_the_unasked_for_is_refused_and_counted(gateway: AlgateGateway) -> None:
    """From outside straight to an inside address, and to the public address at a port that no forward names."""
    known = data(gateway, "sessions")
    before = refusals(gateway)
    assert_unreachable(gateway.lab, gateway.lab.client.address)
    assert refusals(gateway) > before
    assert_unreachable(gateway.lab, gateway.lab.plan.public[0])  # the gateway host's own stack refuses
    assert {row["id"] for row in data(gateway, "sessions")} <= {row["id"] for row in known}
    with Line(gateway.lab.server, gateway.lab.plan.public[0], 21) as line:
        assert line.local.startswith(gateway.lab.plan.servers[0]), "the forward admits its own port"
    no_netfilter(gateway.lab, gateway)


def assert_unreachable(lab: Lab, address: str) -> None:
    """Neither TCP nor UDP gets an answer from the echo."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with lab.server.socket(kind=kind) as probe, pytest.raises(OSError):
            probe.settimeout(1.0)
            probe.connect((address, ECHO))
            probe.send(b"hello")
            probe.recv(100)


@pytest.mark.parametrize("watched", [True, False], ids=["with the ALG", "without"])
def test_a_firewall_that_only_the_alg_opens(watched: bool) -> None:
    """Only tcp/21 may go out: a passive data connection passes only if the ALG heard of it."""
    config = ALLOW + ("" if watched else "[alg.ftp]\nenabled = false\n")
    with Lab() as lab, AlgateGateway(lab, config=config) as gateway, Echo(lab.server, ECHO):
        server = start_server("vsftpd", lab.server)
        (server.pub / "file").write_bytes(b"content")
        with talking(lab.client, lab.plan.servers[0], server.login) as talker:
            if watched:
                for mode in (Mode.PASV, Mode.EPSV):
                    assert talker.fetch("pub/file", mode) == b"content"
            else:
                talker.ftp.timeout = 2.0
                with pytest.raises((OSError, ftplib.Error)):
                    talker.fetch("pub/file", Mode.PASV)
            before = refusals(gateway)
            with lab.client.socket() as probe, pytest.raises(OSError):
                probe.settimeout(1.0)
                probe.connect((lab.plan.servers[0], ECHO))
            assert refusals(gateway) > before
        no_netfilter(lab, gateway)
