"""Devices that carry bare IP packets, like ppp and tun, as the WAN, as the LAN, and as both: everything passes."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.judge import Mode
from algate.cli.lab.lab import Lab, ip
from algate.cli.lab.servers import FtpServer, start_server
from tests.netns.talk import Echo, Line, data, talking, verb
from tests.netns.tunnel import Tunnel
from tests.topology import no_netfilter

ECHO = 7007
MTU = 1492  # PPPoE's
SIZE = 3 << 20


@dataclass(frozen=True)
class Middle:
    """A gateway running between tunnels; `wan` or `lan` None: that side is Ethernet."""

    lab: Lab
    gateway: AlgateGateway
    server: FtpServer
    wan: Tunnel | None
    lan: Tunnel | None


def _wan(lab: Lab, stack: contextlib.ExitStack) -> Tunnel:
    """Replaces the lab's WAN link: point to point, without a next hop, as PPPoE comes up."""
    plan = lab.plan
    ip("link del wan0", lab.gw.netns)
    tunnel = stack.enter_context(Tunnel((lab.gw, "wan0"), (lab.server, "eth0"), MTU))
    ip(f"addr add {plan.public[0]} peer {plan.next_hop}/32 dev wan0\nroute add default dev wan0", lab.gw.netns)
    ip(f"addr add {plan.next_hop} peer {plan.public[0]}/32 dev eth0", lab.server.netns)
    ip("\n".join(f"addr add {one}/32 dev eth0" for one in plan.servers), lab.server.netns)
    ip(f"route replace {plan.public[0]} dev eth0 src {plan.servers[0]}", lab.server.netns)
    return tunnel


def _lan(lab: Lab, stack: contextlib.ExitStack) -> Tunnel:
    """Replaces the lab's LAN link."""
    plan = lab.plan
    ip("link del lan0", lab.gw.netns)
    tunnel = stack.enter_context(Tunnel((lab.gw, "lan0"), (lab.client, "eth0")))
    ip(f"addr add {plan.gateway} peer {plan.clients[0]}/32 dev lan0", lab.gw.netns)
    ip(f"addr add {plan.clients[0]} peer {plan.gateway}/32 dev eth0\nroute add default dev eth0", lab.client.netns)
    return tunnel


@pytest.fixture(scope="module", params=["wan", "lan", "both"])
def middle(request: pytest.FixtureRequest) -> Iterator[Middle]:
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(Lab())
        wan = _wan(lab, stack) if request.param != "lan" else None
        lan = _lan(lab, stack) if request.param != "wan" else None
        stack.enter_context(Echo(lab.server, ECHO))
        server = start_server("vsftpd", lab.server)
        (server.pub / "some").write_bytes(os.urandom(SIZE))
        # With XDP asked for, a device that can't have it gets TC, and XDP on the other leaves to TC what goes there.
        made = AlgateGateway(lab, config='[nat]\nmss_clamp = "auto"\n', datapath="xdp-generic")
        gateway = stack.enter_context(made)
        yield Middle(lab, gateway, server, wan, lan)
        no_netfilter(lab, gateway)


@pytest.fixture(autouse=True)
def nothing_leaks(middle: Middle) -> Iterator[None]:
    """What left by a WAN tunnel had the public source, and no inside address in its payload."""
    if middle.wan:
        middle.wan.seen.clear()
    yield
    plan = middle.lab.plan
    inside = plan.clients[0].replace(".", ",").encode()
    for packet in middle.wan.sent_by(middle.lab.gw) if middle.wan else []:
        assert socket.inet_ntoa(packet[12:16]) in plan.public
        assert inside not in packet


def test_a_datagram_and_a_stream(middle: Middle) -> None:
    address = middle.lab.plan.servers[0]
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with Line(middle.lab.client, address, ECHO, kind) as line:
            assert line.ask(b"hello") == b"hello"
            rows = {row["inside"]: row["mapped"] for row in data(middle.gateway, "sessions")}
            assert rows[line.local].startswith(middle.lab.plan.public[0])


def test_a_long_datagram(middle: Middle) -> None:
    """In fragments, in both directions."""
    with Line(middle.lab.client, middle.lab.plan.servers[0], ECHO, socket.SOCK_DGRAM) as line:
        sent = os.urandom(8000)
        assert line.ask(sent) == sent


def test_ping_and_the_gateway_as_a_hop(middle: Middle) -> None:
    client, address = middle.lab.client, middle.lab.plan.servers[0]
    assert client.run(["ping", "-c", "2", "-i", "0.2", "-W", "5", address]).returncode == 0
    said = client.run(["ping", "-c", "1", "-t", "1", "-W", "5", address]).stdout
    assert f"From {middle.lab.plan.gateway}" in said and "Time to live exceeded" in said


def test_an_error_from_outside_reaches_the_inside(middle: Middle) -> None:
    """Nobody listens on that port: the server's ICMP error, restored, refuses the connection inside."""
    address = middle.lab.plan.servers[0]
    with Line(middle.lab.client, address, ECHO + 1, socket.SOCK_DGRAM) as line, pytest.raises(ConnectionRefusedError):
        line.ask(b"anybody?")


@pytest.mark.parametrize("mode", [Mode.PORT, Mode.PASV])
def test_ftp(middle: Middle, mode: Mode) -> None:
    """Held, decided, reinjected through the TAP, and the data connection expected: over links without a header."""
    with talking(middle.lab.client, middle.lab.plan.servers[0], middle.server.login) as ftp:
        assert ftp.fetch("pub/some", mode) == (middle.server.pub / "some").read_bytes()
        ftp.store("pub/back", b"y" * 100_000, mode)
    assert (middle.server.pub / "back").read_bytes() == b"y" * 100_000
    if middle.wan and mode is Mode.PORT:
        public = middle.lab.plan.public[0].replace(".", ",").encode()
        assert any(b"PORT " + public in packet for packet in middle.wan.sent_by(middle.lab.gw))


def test_the_mss_fits(middle: Middle) -> None:
    """mss_clamp = "auto" follows the WAN's MTU."""
    if middle.wan is None:
        return
    with Line(middle.lab.client, middle.lab.plan.servers[0], ECHO) as line:
        line.ask(b"x")
    syns = [one for one in middle.wan.sent_by(middle.lab.gw) if one[9] == 6 and one[33] & 2]
    assert [int.from_bytes(one[42:44], "big") for one in syns] == [MTU - 40] * len(syns) and syns


def test_a_forward_and_a_hairpin(middle: Middle) -> None:
    """From outside to inside, and from inside through the public address."""
    with Echo(middle.lab.client, 7100):
        to = f"{middle.lab.plan.clients[0]}:7100"
        assert verb(middle.gateway, "forward", "add", "tcp", "7100", to).returncode == 0
        for host in (middle.lab.server, middle.lab.client):
            with Line(host, middle.lab.plan.public[0], 7100) as line:
                assert line.ask(b"in") == b"in"
        assert verb(middle.gateway, "forward", "del", "tcp", "7100").returncode == 0


def test_why_not_xdp(middle: Middle) -> None:
    """`status` says why such a device gets the TC path."""
    status = data(middle.gateway, "status")
    for device, tunnel in (("wan0", middle.wan), ("lan0", middle.lan)):
        assert ("no Ethernet header" in status["datapath_why"][device]) == (tunnel is not None)
