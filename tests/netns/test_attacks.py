"""Attacks on the gateway through FTP: nothing opens, nobody else notices, every refusal is reported with its reason.

`--all` has the full sizes: 100,000 PORT lines, 1,000 chatty control sessions, a bounce scan of all low ports.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from algate.cli.lab.gateways import AlgateGateway
from tests.cases.bed import ADDRESSES, STRANGER, Bed, configuration
from tests.cases.dialogue import Dialogue, dialogue
from tests.cases.ends import six
from tests.netns.bystanders import bystanders
from tests.netns.chatter import Chatter
from tests.netns.pinned import entries
from tests.netns.talk import Echo
from tests.topology import no_netfilter

pytestmark = pytest.mark.netns
ECHO = 7007
ECHO_ADDRESS = ADDRESSES["default"]  # the primary address: a UDP echo answers from it
GROWTH_MOST = 96 << 20  # bytes that the daemon may grow by in any attack here
UNANSWERED = 8  # PORT lines that may wait for the server, alg/README.md
AHEAD = 200  # lines of a flood that wait for their answers
FLOOD, FLOOD_ALL = 2500, 100_000
CHATTY, CHATTY_ALL = 80, 1000
LOW_PORTS, LOW_PORTS_ALL = (1, 21, 22, 80, 443, 1023), tuple(range(1, 1024))


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    text = configuration().replace('"tcp/2121"', f'"tcp/2121", "tcp/{ECHO}", "udp/{ECHO}"').replace("'tcp/2121'",
        f"'tcp/2121', 'tcp/{ECHO}', 'udp/{ECHO}'")  # fmt: skip
    assert f"udp/{ECHO}" in text
    with Bed("algate", config=text) as made, Echo(made.lab.server, ECHO):
        yield made
        no_netfilter(made.lab, made.gateway)


@pytest.fixture
def whole(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("run_all"))


def reasons(talk: Dialogue, event: str) -> Counter[str]:
    """Reason -> how often that event of the session was reported."""
    return Counter(one["reason"] for one in talk.told_events(event))


def refused(talk: Dialogue, event: str, reason: str, number: int) -> None:
    """Exactly that many were reported."""
    talk.bed.until(lambda: reasons(talk, event)[reason] >= number)
    assert reasons(talk, event)[reason] == number


def nothing_opened(talk: Dialogue, *ports: int) -> None:
    """No expectation is alive, and neither the peer nor a stranger gets in by the named ports."""
    assert talk.expectations() == []
    for port in ports:
        talk.shut_in(port, port)


def test_a_bounce_scan_from_inside(bed: Bed, whole: bool) -> None:
    """RFC 2577: PORT that names others' addresses, or ports of services."""
    others = (
        bed.lab.clients[1].address,
        bed.lab.plan.gateway,
        talk_address(),
        STRANGER,
        "127.0.0.1",
        "255.255.255.255",
    )
    low = LOW_PORTS_ALL if whole else LOW_PORTS
    with dialogue(bed) as talk:
        for other in others:
            talk.ask(b"PORT " + six(other, 50100) + b"\r\n", b"200 done\r\n")
            talk.ask(f"EPRT |1|{other}|50100|\r\n".encode(), b"200 done\r\n")
        for port in low:
            talk.ask(b"PORT " + six(talk.inner.address, port) + b"\r\n", b"200 done\r\n")
        refused(talk, "expectation-refused", "port-not-client", 2 * len(others))
        refused(talk, "expectation-refused", "port-too-low", len(low))
        nothing_opened(talk, 50100, low[-1])
        talk.alive()


def talk_address() -> str:
    """An address of the outside host other than the peer's."""
    return ADDRESSES["deny"]


def test_a_bounce_scan_from_outside(bed: Bed) -> None:
    """An outside client of the inside server names inside hosts, which the server can reach and it can't."""
    others = (bed.lab.clients[1].address, bed.lab.plan.gateway, "127.0.0.1", STRANGER)
    with dialogue(bed, inside="server") as talk:
        for other in others:
            for port in (50101, 22):
                talk.ask(b"PORT " + six(other, port) + b"\r\n", b"200 done\r\n")
        refused(talk, "expectation-refused", "port-not-client", len(others))
        refused(talk, "expectation-refused", "port-too-low", len(others))
        assert talk.expectations() == []
        talk.shut_out(STRANGER, 50101)
        talk.alive()


@pytest.mark.parametrize("answering", [True, False], ids=["with-ftp-answers", "silent"])
def test_a_browser_led_to_the_ftp_port(bed: Bed, answering: bool) -> None:
    """NAT slipstreaming: a page has the browser POST lines that look like FTP to an attacker's port 21."""
    body = b"PORT " + six(bed.lab.client.address, 50102) + b"\r\n"
    head = b"POST /x HTTP/1.1\r\nHost: attacker.example:21\r\nContent-Length: 999\r\n\r\n"
    with Dialogue(bed) as talk:
        if answering:
            talk.reply(b"220 ready\r\n")
        talk.client.say(head + body)
        for _ in range(8 if answering else 0):
            talk.server.say(b"200 ok\r\n")
        talk.told_reason("violation", "http-request")
        if answering:
            talk.told_reason("command-refused")
        nothing_opened(talk, 50102)


def test_forged_lines_from_the_wrong_side(bed: Bed) -> None:
    """227 and 229 from the client, PORT from the server, a 227 that nobody asked for."""
    inside, stranger = bed.lab.client.address, STRANGER
    with dialogue(bed) as talk:
        talk.ask(b"227 Entering Passive Mode (" + six(inside, 50103) + b").\r\n", b"500 what?\r\n")
        talk.ask(b"229 Extended (|||50103|)\r\n", b"500 what?\r\n")
        refused(talk, "violation", "wrong-side", 2)
        talk.reply(b"PORT " + six(stranger, 50104) + b"\r\n")
        refused(talk, "violation", "wrong-side", 3)
        talk.ask(b"NOOP\r\n", b"227 Entering Passive Mode (" + six(talk.outer_ip, 50105) + b").\r\n")
        refused(talk, "violation", "unasked-reply", 1)
        nothing_opened(talk, 50103, 50104)
        talk.shut_out(talk.outer_ip, 50105)
        talk.shut_out(stranger, 50104)
    with dialogue(bed, inside="server") as talk:
        talk.ask(b"227 Entering Passive Mode (" + six(inside, 50106) + b").\r\n", b"500 what?\r\n")
        refused(talk, "violation", "wrong-side", 1)
        nothing_opened(talk, 50106)


def test_a_flood_of_expectations(bed: Bed, whole: bool) -> None:
    """PORT after PORT, every tenth naming another host: one is alive at a time, the others are reported and gone."""
    number = FLOOD_ALL if whole else FLOOD
    own, other = bed.lab.client.address, bed.lab.clients[1].address
    lines = [b"PORT " + six(own if at % 10 else other, 20000 + at % 40000) + b"\r\n" for at in range(number)]
    before = memory(bed)
    with bystanders(bed.lab.clients[1], ECHO_ADDRESS, ECHO), dialogue(bed) as talk, dialogue(bed, index=1) as beside:
        flood(talk, lines)
        beside.comes_in(beside.port(50107), 50107)
        assert len(talk.expectations()) <= 1
        assert entries(bed.gateway.run_dir if isinstance(bed.gateway, AlgateGateway) else Path())["expectations"] < 20
        told_or_lost(bed, talk, number // 10)
        talk.shut_in(20000 + (number - 2) % 40000, 20000)
        talk.alive()
    assert memory(bed) - before < GROWTH_MOST


def told_or_lost(bed: Bed, talk: Dialogue, number: int) -> None:
    """Every refusal is reported, except those that `follow` itself reports as lost."""

    def lost() -> int:
        return sum(one["fields"]["count"] for one in list(bed.events) if one["event"] == "events-lost")

    bed.until(lambda: reasons(talk, "expectation-refused")["port-not-client"] + lost() >= number, 20)
    assert reasons(talk, "expectation-refused")["port-not-client"] <= number
    assert reasons(talk, "expectation-refused")["port-not-client"] > 0


def flood(talk: Dialogue, lines: list[bytes]) -> None:
    """The client sends all of them, at most AHEAD of the answers; the server answers each."""
    talk.client.socket.settimeout(60)
    talk.server.socket.settimeout(60)

    def answer() -> None:
        heard = 0
        while heard < len(lines) and (data := talk.server.socket.recv(1 << 16)):
            heard += data.count(b"\n")
            talk.server.socket.sendall(b"200 ok\r\n" * data.count(b"\n"))

    server = threading.Thread(target=answer, daemon=True)
    server.start()
    said = answers = 0
    while answers < len(lines):
        talk.client.socket.sendall(b"".join(lines[said : answers + AHEAD]))
        said = answers + AHEAD
        data = talk.client.socket.recv(1 << 16)
        assert data, "the session ended"
        answers += data.count(b"\n")
    server.join(60)


def test_a_client_that_never_waits(bed: Bed) -> None:
    """Line after line to a server that never answers: a few get through, TCP holds the others back at the client."""
    line = b"PORT " + six(bed.lab.client.address, 50109) + b"\r\n"
    before = memory(bed)
    with bystanders(bed.lab.clients[1], ECHO_ADDRESS, ECHO), dialogue(bed) as talk, dialogue(bed, index=1) as beside:
        talk.client.socket.settimeout(1.5)
        with pytest.raises(TimeoutError):
            for _ in range(10_000):
                talk.client.socket.sendall(line * 1000)
        talk.server.socket.settimeout(0.3)
        assert talk.server.read(1 << 16).count(b"\n") <= UNANSWERED
        assert len(talk.expectations()) <= 1 and all(one["state"] == "pending" for one in talk.expectations())
        talk.shut_in(50109, 50109, STRANGER)
        beside.comes_in(beside.port(50110), 50110)
    assert memory(bed) - before < GROWTH_MOST


def test_an_overloaded_helper(bed: Bed, whole: bool) -> None:
    """Control sessions that never stop talking: all are served, so are new ones, and data doesn't wait for them."""
    number = CHATTY_ALL if whole else CHATTY
    before = memory(bed)
    host, address = bed.lab.clients[1], ADDRESSES["no-tls"]
    with bystanders(host, ECHO_ADDRESS, ECHO), Chatter(host, bed.lab.server, address, number) as crowd:
        crowd.until_all(2, 60)
        thread = threading.Thread(target=crowd.talk, args=(8 if whole else 2,), daemon=True)
        thread.start()
        with dialogue(bed) as talk:
            talk.comes_in(talk.port(50108), 50108)
            talk.alive()
        thread.join(30)
        crowd.until_all(max(crowd.answers[0], 3), 60)
        assert sum(crowd.answers) > 3 * number
        assert bed.gateway.ask("status")["control_sessions"] >= number
    assert memory(bed) - before < GROWTH_MOST


def memory(bed: Bed) -> int:
    """Bytes of the daemon's resident memory."""
    pid = bed.gateway.ask("status")["pid"]
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) << 10
