"""`announce`: the gateway is behind a 1:1 NAT, as in a cloud.

A router in front of it is that NAT and knows no FTP: the addresses in the dialogue must lead through it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from algate.cli.lab.capture import Capture
from algate.cli.lab.gateways import AlgateGateway, PortForward
from algate.cli.lab.host import Host
from algate.cli.lab.lab import Lab, LabPlan, ip
from tests.cases.bed import LEAST, listener
from tests.cases.ends import Data, Speaker, six
from tests.topology import no_netfilter

PLAN = LabPlan(clients=("10.77.0.2", "10.77.0.3"), router=True)
NAT = "192.0.2.9"  # the gateway's address for the outside; the WAN device has PUBLIC
PUBLIC, INSIDE = PLAN.public[0], PLAN.clients[0]
PEER, BARE = PLAN.servers  # a rule says that nothing is announced to the second
CALLED = [INSIDE, PUBLIC, NAT]  # all three mean the host inside
PORT = 20_017
CONFIG = f"""
[firewall]
allow_out = ["tcp/21"]
[metrics]
listen = ""
[alg.ftp]
announce = "{NAT}"
[[alg.ftp.rule]]
server = "{BARE}"
announce = ""
[[alg.ftp.rule]]
client = "{BARE}"
announce = ""
"""
RULES = f"""
table ip cloud {{
  chain to_gateway {{ type nat hook prerouting priority dstnat; ip daddr {NAT} dnat to {PUBLIC}; }}
  chain from_gateway {{ type nat hook postrouting priority srcnat; ip saddr {PUBLIC} snat to {NAT}; }}
}}
"""
PATIENCE = 8.0


class Bed(NamedTuple):
    """The lab, the gateway, and the link between it and the NAT."""

    lab: Lab
    gateway: AlgateGateway
    wire: Capture

    def leaves(self, line: bytes) -> None:
        """AssertionError unless that line left by the WAN device, without any inside address."""
        seen = self.wire.take()
        assert not any(one.ip.startswith("10.77.") for segment in seen for one in (segment.src, segment.dst))
        assert line in b"".join(one.payload for one in seen if one.src.ip == PUBLIC)

    def expected(self, public: str) -> dict[str, Any]:
        """The expectation that holds this public end point."""
        (row,) = [row for row in self.gateway.ask("expectations") if row["public"] == public and row["state"] != "used"]
        return dict(row)


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    """One gateway for all."""
    with Lab(PLAN) as lab:
        router = lab.hosts["router"]
        router.run(["nft", "-f", "-"], text=RULES, check=True)
        ip(f"route add {NAT} via 203.0.113.1", lab.server.netns)
        with (
            AlgateGateway(lab, (PortForward(21, f"{INSIDE}:21"),), config=CONFIG) as gateway,
            contextlib.closing(Capture(router, "eth0", forbidden=(PLAN.inside,))) as wire,
        ):
            yield Bed(lab, gateway, wire)
            no_netfilter(lab, gateway)


class Talk(NamedTuple):
    """A control session, greeted and logged in."""

    client: Speaker
    server: Speaker

    def ask(self, command: bytes, answer: bytes) -> None:
        """A command and its reply arrive as they were said."""
        self.client.say(command)
        self.server.hear(command)
        self.server.say(answer)
        self.client.hear(answer)


@contextlib.contextmanager
def talk(client: Host, client_ip: str, server: Host, server_ip: str, called: str) -> Iterator[Talk]:
    """The client's host connects to `called`."""
    with listener(server, server_ip, 21) as ear, client.socket() as sock:
        sock.settimeout(PATIENCE)
        ear.settimeout(PATIENCE)
        sock.bind((client_ip, 0))
        sock.connect((called, 21))
        accepted, _ = ear.accept()
        with accepted:
            made = Talk(Speaker(sock, PATIENCE), Speaker(accepted, PATIENCE))
            made.server.say(b"220 ready\r\n")
            made.client.hear(b"220 ready\r\n")
            made.ask(b"USER u\r\n", b"230 in\r\n")
            yield made


def client_inside(bed: Bed, peer: str = PEER) -> contextlib.AbstractContextManager[Talk]:
    return talk(bed.lab.client, INSIDE, bed.lab.server, peer, peer)


def server_inside(bed: Bed, peer: str = PEER) -> contextlib.AbstractContextManager[Talk]:
    return talk(bed.lab.server, peer, bed.lab.client, INSIDE, NAT)


def told(line: bytes, before: bytes, ip: str, after: bytes) -> tuple[str, int]:
    """The end point that a line with six numbers names; AssertionError if it isn't at `ip`."""
    start = before + ip.replace(".", ",").encode() + b","
    assert line.startswith(start) and line.endswith(after), line
    high, low = line[len(start) : -len(after)].split(b",")
    return ip, int(high) * 256 + int(low)


def comes_in(bed: Bed, where: tuple[str, int], peer: str = PEER, host: Host | None = None) -> None:
    """Nobody but `peer` gets from `where` to the inside host's port, and it does, once."""
    with listener(bed.lab.client, INSIDE, PORT) as ear, contextlib.ExitStack() as stack:
        ear.settimeout(PATIENCE)
        if host is None:
            with bed.lab.server.socket() as stranger:
                stranger.settimeout(LEAST)
                stranger.bind((BARE if peer == PEER else PEER, 0))
                with pytest.raises(OSError):
                    stranger.connect(where)
        caller = stack.enter_context((host or bed.lab.server).socket())
        caller.settimeout(PATIENCE)
        caller.bind((peer, 0))
        caller.connect(where)
        called = stack.enter_context(ear.accept()[0])
        called.settimeout(PATIENCE)
        assert Data(caller, called).carries()


# -- a client inside -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CALLED)
def test_announce_port(bed: Bed, name: str) -> None:
    with client_inside(bed) as session:
        assert session.server.remote.ip == NAT, "the router is no NAT"
        session.client.say(b"PORT " + six(name, PORT) + b"\r\n")
        line = session.server.line()
        where = told(line, b"PORT ", NAT, b"\r\n")
        bed.leaves(line)
        session.server.say(b"200 ok\r\n")
        session.client.hear(b"200 ok\r\n")
        comes_in(bed, where)
        session.ask(b"NOOP\r\n", b"200 ok\r\n")


@pytest.mark.parametrize("name", CALLED)
def test_announce_eprt(bed: Bed, name: str) -> None:
    with client_inside(bed) as session:
        session.client.say(f"EPRT |1|{name}|{PORT}|\r\n".encode())
        line = session.server.line()
        assert line.startswith(f"EPRT |1|{NAT}|".encode()) and line.endswith(b"|\r\n"), line
        bed.leaves(line)
        session.server.say(b"200 ok\r\n")
        session.client.hear(b"200 ok\r\n")
        comes_in(bed, (NAT, int(line.split(b"|")[3])))


# -- a server inside -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CALLED)
def test_announce_227(bed: Bed, name: str) -> None:
    """The last is a server with `pasv_address`."""
    with server_inside(bed) as session:
        session.client.say(b"PASV\r\n")
        session.server.hear(b"PASV\r\n")
        session.server.say(b"227 here (" + six(name, PORT) + b").\r\n")
        line = session.client.line()
        bed.leaves(line)
        comes_in(bed, told(line, b"227 here (", NAT, b").\r\n"))
        session.ask(b"NOOP\r\n", b"200 ok\r\n")


def test_announce_229_leads_to_where_the_client_is(bed: Bed) -> None:
    with server_inside(bed) as session:
        session.client.say(b"EPSV\r\n")
        session.server.hear(b"EPSV\r\n")
        session.server.say(b"229 here (|||%d|)\r\n" % PORT)
        line = session.client.line()
        assert line.startswith(b"229 here (|||") and line.endswith(b"|)\r\n"), line
        comes_in(bed, (NAT, int(line.split(b"|")[3])))


def test_announce_leaves_the_outside_s_lines_alone(bed: Bed) -> None:
    """The outside host names itself: the line isn't changed, and the inside host gets there."""
    with client_inside(bed) as session, listener(bed.lab.server, PEER, PORT) as ear:
        session.ask(b"PASV\r\n", b"227 here (" + six(PEER, PORT) + b").\r\n")
        ear.settimeout(PATIENCE)
        with bed.lab.client.socket() as caller:
            caller.settimeout(PATIENCE)
            caller.connect((PEER, PORT))
            with ear.accept()[0] as called:
                called.settimeout(PATIENCE)
                assert Data(caller, called).carries()


# -- rules, hairpins, and what is told to the operator --------------------------------------------------------------


def test_announce_by_rule(bed: Bed) -> None:
    """A peer that reaches the gateway without the NAT is told the mapped address, on either side's word."""
    with client_inside(bed, BARE) as session:
        session.client.say(b"PORT " + six(INSIDE, PORT) + b"\r\n")
        where = told(session.server.line(), b"PORT ", PUBLIC, b"\r\n")
        session.server.say(b"200 ok\r\n")
        session.client.hear(b"200 ok\r\n")
        comes_in(bed, where, BARE)
    with server_inside(bed, BARE) as session:
        session.client.say(b"PASV\r\n")
        session.server.hear(b"PASV\r\n")
        session.server.say(b"227 (" + six(INSIDE, PORT) + b")\r\n")
        comes_in(bed, told(session.client.line(), b"227 (", PUBLIC, b")\r\n"), BARE)


def test_announce_not_in_a_hairpin(bed: Bed) -> None:
    """The NAT would loop an inside host's data connection back, from an address that nobody expects."""
    other = bed.lab.clients[1]
    with talk(other, other.address, bed.lab.client, INSIDE, PUBLIC) as session:
        session.client.say(b"PASV\r\n")
        session.server.hear(b"PASV\r\n")
        session.server.say(b"227 (" + six(INSIDE, PORT) + b")\r\n")
        comes_in(bed, told(session.client.line(), b"227 (", PUBLIC, b")\r\n"), other.address, other)


def test_announce_is_told(bed: Bed) -> None:
    with client_inside(bed) as session:
        session.client.say(b"PORT " + six(INSIDE, PORT) + b"\r\n")
        port = told(session.server.line(), b"PORT ", NAT, b"\r\n")[1]
        row = bed.expected(f"{PUBLIC}:{port}")
        assert (row["to"], row["from"], row["state"]) == (f"{INSIDE}:{PORT}", PEER, "pending"), row
        words = [f"{INSIDE}:{session.client.local.port}", f"{PEER}:21"]
        text = str(bed.gateway.ask("explain", {"subject": words}))
        assert f"named {INSIDE}:{PORT} (outside: {NAT}:{port})" in text, text
        session.server.say(b"200 ok\r\n")
        session.client.hear(b"200 ok\r\n")
        text = str(bed.gateway.ask("explain", {"subject": words}))
        assert f"to {PUBLIC}:{port} (which leads to {INSIDE}:{PORT}; announced as {NAT}:{port})" in text, text
        assert f"can reach {NAT}:{port}: a NAT must lead that to {PUBLIC}:{port}" in text, text
