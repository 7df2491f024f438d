"""6-A10, 6-A11: FTP's hard cases without a PORT or 227, TFTP and IRC's DCC, over IPv6 through the filter.

Lines come whole, byte by byte and all at once; what a gateway mustn't believe opens nothing."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.host import Host
from algate.cli.lab.lab import Lab, LabPlan
from tests.netns.scripted64 import LOGIN, WAYS, Exchange64, ScriptedServer, ahead, talk, whole
from tests.netns.talk import until

pytestmark = pytest.mark.netns
PORT, TFTP = 7007, 69
CONFIG = """
[ipv6]
filter = true
[firewall]
allow_out = ["tcp/21", "tcp/6667", "udp/69"]
[alg.tftp]
enabled = true
[alg.irc]
enabled = true
any_peer = true
[[allow_in]]
proto = "udp"
port = 69
to = "{inside}"
"""
EPSV229 = b"229 Entering Extended Passive Mode (|||50001|)\r\n"
ANSWERS = {b"USER": b"331 who\r\n", b"PASS": b"230 in\r\n", b"EPSV": EPSV229, b"EPRT": b"200 ok\r\n"}


def same(said: bytes, told: bytes) -> Exchange64:
    """A line that isn't changed."""
    return Exchange64(said, said, told)


OWN = same(b"EPRT |2|OWN|50000|", b"200")
EPSV = same(b"EPSV", b"229 ")
OPENING = {
    "eprt": ([*LOGIN, OWN], 1),
    "epsv": ([*LOGIN, EPSV], 1),
    "lower-case-and-blanks": ([*LOGIN, same(b"eprt  |2|OWN|50000| ", b"200")], 1),
    "another-delimiter": ([*LOGIN, same(b"EPRT !2!OWN!50000!", b"200")], 1),
    "the-later-one-counts": ([*LOGIN, OWN, same(b"NOOP", b"200"), EPSV], 1),
    "epsv-2": ([*LOGIN, same(b"EPSV 2", b"229 ")], 1),
}
ATTACKS = {
    "another-host": [*LOGIN, same(b"EPRT |2|2001:db8:9::1|50000|", b"200")],
    "another-family": [*LOGIN, same(b"EPRT |1|10.0.0.1|50000|", b"200")],
    "mapped-ipv4": [*LOGIN, same(b"EPRT |2|::ffff:10.0.0.1|50000|", b"200")],
    "a-zone": [*LOGIN, same(b"EPRT |2|OWN%1|50000|", b"200")],
    "low-port": [*LOGIN, same(b"EPRT |2|OWN|22|", b"")],
    "no-port": [*LOGIN, same(b"EPRT |2|OWN|0|", b"200")],
    "too-high": [*LOGIN, same(b"EPRT |2|OWN|70000|", b"200")],
    "an-argument-of-another": [*LOGIN, same(b"NOOP EPRT |2|OWN|50000|", b"200")],
    "no-end": [*LOGIN, same(b"EPRT |2|OWN|50000", b"200")],
}
FALSE_229 = {
    "of-its-own": {b"NOOP": EPSV229},
    "port-0": {b"EPSV": b"229 x (|||0|)\r\n"},
    "low-port": {b"EPSV": b"229 x (|||22|)\r\n"},
    "an-address-in-it": {b"EPSV": b"229 x (|2|2001:db8:9::1|50001|)\r\n"},
    "in-a-long-reply": {b"EPSV": b"200-229 x (|||50001|)\r\n 229 x (|||50001|)\r\n200 no\r\n"},
    "refused": {b"EPSV": b"500 229 (|||50001|)\r\n"},
}


@pytest.fixture(scope="module")
def gateway() -> Iterator[AlgateGateway]:
    plan = LabPlan(six=True)
    with Lab(plan) as lab, AlgateGateway(lab, config=CONFIG.replace("{inside}", plan.clients6[0])) as made:
        yield made


@pytest.fixture
def scripted(gateway: AlgateGateway) -> Iterator[ScriptedServer]:
    made = ScriptedServer(gateway.lab.server, dict(ANSWERS), gateway.lab.plan.servers6[0])
    yield made
    made.close()


def opened(gateway: AlgateGateway) -> list[dict[str, Any]]:
    return [row for row in gateway.ask("expectations") if row["state"] == "open" and row["alg"] == "ftp"]


@pytest.fixture(autouse=True)
def nothing_is_left(gateway: AlgateGateway) -> None:
    """Of the tests before: what was opened goes with its session."""
    gateway.ask("kill", {"alg": "ftp", "ids": []})
    until(lambda: not gateway.ask("expectations"), 10)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("name", OPENING)
def test_what_it_names_is_opened_once(gateway: AlgateGateway, scripted: ScriptedServer, name: str, way: Any) -> None:
    exchanges, count = OPENING[name]
    seen: list[int] = []

    def look() -> None:
        until(lambda: len(opened(gateway)) == count, 5)
        seen.extend(int(row["to"].rpartition(":")[2]) for row in opened(gateway))

    talk(gateway.lab.client, gateway.lab.plan.servers6[0], scripted, exchanges, way, look)
    assert seen == [50000 if b"eprt" in exchanges[-1].said.lower() else 50001]


@pytest.mark.parametrize("way", [whole, ahead], ids=lambda way: way.__name__)
@pytest.mark.parametrize("name", ATTACKS)
def test_what_it_may_not_name_opens_nothing(
    gateway: AlgateGateway, scripted: ScriptedServer, name: str, way: Any
) -> None:
    with contextlib.suppress(AssertionError, OSError):  # some are refused, which is as good
        talk(gateway.lab.client, gateway.lab.plan.servers6[0], scripted, ATTACKS[name], way,
             lambda: nothing(gateway))  # fmt: skip
    nothing(gateway)


def nothing(gateway: AlgateGateway) -> None:
    if opened(gateway):
        pytest.fail(f"it opens {opened(gateway)}")


@pytest.mark.parametrize("name", FALSE_229)
def test_a_229_that_nobody_may_believe(gateway: AlgateGateway, scripted: ScriptedServer, name: str) -> None:
    scripted._answers.update(FALSE_229[name])
    word = next(iter(FALSE_229[name]))
    told = scripted._answers[word].split(b"\r\n")[0][:3]
    exchanges = [*LOGIN, same(word, told)]
    with contextlib.suppress(AssertionError, OSError):
        talk(gateway.lab.client, gateway.lab.plan.servers6[0], scripted, exchanges, whole, lambda: nothing(gateway))
    nothing(gateway)


@pytest.mark.parametrize("inside", [True, False], ids=["client-inside", "server-inside"])
def test_tftp_is_answered_from_a_new_port(gateway: AlgateGateway, inside: bool) -> None:
    """6-A11: of the host that was asked, once; nobody else's datagram comes by."""
    lab = gateway.lab
    hosts = [(lab.client, lab.plan.clients6[0]), (lab.server, lab.plan.servers6[0])]
    (asks, own), (answers, address) = hosts if inside else hosts[::-1]
    with contextlib.ExitStack() as stack:
        client, server, fresh, third = (stack.enter_context(datagrams(host, where)) for host, where in (
            (asks, (own, 0)), (answers, (address, TFTP)), (answers, (address, 0)), (answers, (address, 0)),
        ))  # fmt: skip
        client.sendto(b"\0\1file\0octet\0", (address, TFTP))
        asked, whom = server.recvfrom(600)
        assert asked.startswith(b"\0\1file") and whom[0] == own
        fresh.sendto(b"\0\3\0\1data", whom)
        got, sender = client.recvfrom(600)
        assert got == b"\0\3\0\1data" and sender[:2] == fresh.getsockname()[:2]
        client.sendto(b"\0\4\0\1", sender)
        assert fresh.recvfrom(600)[0] == b"\0\4\0\1"
        if inside:
            third.sendto(b"\0\3\0\1false", whom)
            client.settimeout(0.5)
            with pytest.raises(TimeoutError):
                client.recvfrom(600)


def datagrams(host: Host, where: tuple[str, int]) -> socket.socket:
    made = host.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    made.settimeout(5)
    made.bind(where)
    return made


def test_a_dcc_offer_of_an_ipv6_address_is_taken_up_once(gateway: AlgateGateway) -> None:
    """6-A11: it passes as it is, and lets one connection in."""
    lab = gateway.lab
    own, address = lab.plan.clients6[0], lab.plan.servers6[0]
    with contextlib.ExitStack() as stack:
        listener, irc, server, taker = (
            stack.enter_context(host.socket(socket.AF_INET6))
            for host in (lab.client, lab.client, lab.server, lab.server)
        )
        for one in (listener, irc, server, taker):
            one.settimeout(5)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, 6667))
        server.listen()
        listener.bind((own, 0))
        listener.listen()
        port = listener.getsockname()[1]
        irc.connect((address, 6667))
        peer = stack.enter_context(server.accept()[0])
        peer.settimeout(5)
        said = b"NICK a\r\nUSER a 0 * :x\r\nPRIVMSG bob :\1DCC SEND f %s %d 10\1\r\n" % (own.encode(), port)
        for at in range(0, len(said), 5):
            irc.sendall(said[at : at + 5])
        heard = b""
        while len(heard) < len(said):
            heard += peer.recv(4096)
        assert heard == said
        until(lambda: [row for row in gateway.ask("expectations") if row["alg"] == "irc"], 5)
        taker.bind((address, 0))
        taker.connect((own, port))
        stack.enter_context(listener.accept()[0])
        again = stack.enter_context(lab.server.socket(socket.AF_INET6))
        again.settimeout(0.7)
        with pytest.raises(OSError):
            again.connect((own, port))
