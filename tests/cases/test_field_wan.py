"""Field reports about the WAN's edge (R6, R16) and their siblings: forwards to containers, an address that moves."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

import pytest

from algate.cli.lab.capture import Capture
from algate.cli.lab.gateways import AlgateGateway, KernelGateway, LabGateway, PortForward
from algate.cli.lab.host import Host
from algate.cli.lab.lab import Lab, LabPlan, ip
from algate.cli.lab.wire import RST, SeenSegment
from tests.cases.bed import listener
from tests.cases.case import field
from tests.topology import no_netfilter

CONTAINER = "172.17.0.2"
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
PLAN = LabPlan(clients=("10.77.0.2", "10.77.0.3"))
SERVER, PUBLIC, OTHER_PUBLIC = PLAN.servers[0], PLAN.public[0], "198.51.100.77"
PATIENCE = 8.0
AT_ONCE = 2.0  # s; the timers that would end it otherwise count minutes


class Bed:
    """A gateway with a container behind a third device, which `lan` doesn't name, and captures on both links."""

    def __init__(self, stack: contextlib.ExitStack, name: str) -> None:
        self.lab = stack.enter_context(Lab(PLAN))
        self.box = self._add_container()
        forwards = (PortForward(21, f"{CONTAINER}:21"), PortForward(8022, f"{PLAN.clients[1]}:8022", alg=None))
        self.algate = name == "algate"
        made: LabGateway = KernelGateway(self.lab, forwards)
        if self.algate:
            made = AlgateGateway(self.lab, forwards, config="[metrics]\nlisten = ''\n")
        self.gateway = stack.enter_context(made)
        self._outside = stack.enter_context(Capture(self.lab.server, forbidden=PRIVATE))

    def _add_container(self) -> Host:
        lab = self.lab
        lab._add_host("box", CONTAINER, "eth0")
        lab._link("box", "eth0", "gw", "docker0")
        ip("addr add 172.17.0.1/24 dev docker0", lab.gw.netns)
        ip(f"addr add {CONTAINER}/24 dev eth0\nroute add default via 172.17.0.1", lab.hosts["box"].netns)
        lab.gw.sysctl("ipv4/conf/docker0/forwarding", "1")
        return lab.hosts["box"]

    def lost(self) -> float:
        """Packets that a gateway must not drop here."""
        stats = self.gateway.ask("stats") if self.algate else {}
        return sum(float(stats.get(f'algate_drops_total{{reason="{one}"}}', 0)) for one in ("not-ours", "no-route"))

    def outside(self) -> list[SeenSegment]:
        """What the WAN has shown since the last look. AssertionError if a private address was there."""
        seen = self._outside.take()
        private = [one for one in seen if _private(one.src.ip) or _private(one.dst.ip)]
        assert private == []
        return seen


def _private(address: str) -> bool:
    return any(IPv4Address(address) in IPv4Network(one) for one in PRIVATE)


@pytest.fixture(scope="module")
def edge(request: pytest.FixtureRequest) -> Iterator[Bed]:
    """One gateway for all."""
    with contextlib.ExitStack() as stack:
        yield Bed(stack, str(request.config.getoption("gateway")))


@pytest.fixture
def wan(edge: Bed) -> Iterator[Bed]:
    """The WAN has its first address, and nothing private was on it, before and after."""
    edge.outside()
    yield edge
    edge.outside()
    no_netfilter(edge.lab, edge.gateway)


class Talk:
    """A control session, both ends in the test's hands. `there`: the server's side."""

    def __init__(self, stack: contextlib.ExitStack, client: Host, server: Host, listen: str, reach: str) -> None:
        ear = stack.enter_context(listener(server, listen, 21))
        ear.settimeout(PATIENCE)
        self.here = stack.enter_context(client.socket())
        self.here.settimeout(PATIENCE)
        self.here.connect((reach, 21))
        self.there, self.seen_from = ear.accept()
        stack.enter_context(self.there)
        self.there.settimeout(PATIENCE)
        self.serve(b"220 ready")
        for ask, answer in ((b"USER u", b"331 ok"), (b"PASS p", b"230 ok")):
            self.ask(ask, answer)

    def serve(self, line: bytes) -> bytes:
        """The server says it; what the client hears."""
        self.there.sendall(line + b"\r\n")
        return _line(self.here)

    def say(self, line: bytes) -> bytes:
        """The client says it; what the server hears."""
        self.here.sendall(line + b"\r\n")
        return _line(self.there)

    def ask(self, line: bytes, answer: bytes) -> tuple[bytes, bytes]:
        return self.say(line), self.serve(answer)


def _line(sock: socket.socket) -> bytes:
    text = b""
    while not text.endswith(b"\r\n"):
        more = sock.recv(4096)
        assert more, f"closed after {text!r}"
        text += more
    return text[:-2]


def numbers(where: tuple[str, int]) -> bytes:
    """As PORT and 227 spell an end point."""
    return ",".join([*where[0].split("."), str(where[1] >> 8), str(where[1] & 255)]).encode()


def spelt(line: bytes) -> tuple[str, int]:
    """The end point that a line names."""
    found = re.search(rb"(\d+),(\d+),(\d+),(\d+),(\d+),(\d+)", line)
    assert found, line
    *address, high, low = map(int, found.groups())
    return ".".join(map(str, address)), high << 8 | low


# -- R6 ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def contained(wan: Bed) -> Iterator[tuple[Bed, Talk]]:
    """An outside client in session with the server in the container."""
    refused = wan.lost()
    with contextlib.ExitStack() as stack:
        yield wan, Talk(stack, wan.lab.server, wan.box, CONTAINER, PUBLIC)
    assert wan.lost() == refused, "given back by the helper, and refused: its sender had to repeat it"


@field(6, "a forward to a container behind a third device: a log-in and PASV, both ways by the public address")
def test_r06_a_forward_to_a_container_is_translated(contained: tuple[Bed, Talk]) -> None:
    """docker-pure-ftpd #119. Log-in, a passive transfer: 227 names the public address, and its port leads there."""
    wan, talk = contained
    assert talk.seen_from[0] == SERVER
    with listener(wan.box, CONTAINER, 0) as ear:
        ear.settimeout(PATIENCE)
        told = talk.ask(b"PASV", b"227 Entering (%s)" % numbers(ear.getsockname()))[1]
        address, port = spelt(told)
        assert address == PUBLIC
        with wan.lab.server.socket() as sock:
            sock.settimeout(PATIENCE)
            sock.connect((address, port))
            accepted = ear.accept()[0]
            with accepted:
                accepted.sendall(b"d" * 200_000)
                accepted.shutdown(socket.SHUT_WR)
                assert sum(map(len, iter(lambda: sock.recv(65536), b""))) == 200_000
    assert talk.ask(b"QUIT", b"221 bye") == (b"QUIT", b"221 bye")


@field(6, "its active transfer leaves with the public address")
def test_r06_an_active_transfer_from_a_container(contained: tuple[Bed, Talk]) -> None:
    """The data connection begins behind the third device: it leaves with the public address."""
    wan, talk = contained
    with listener(wan.lab.server, SERVER, 0) as ear, wan.box.socket() as sock:
        ear.settimeout(PATIENCE)
        sock.settimeout(PATIENCE)
        assert talk.ask(b"PORT " + numbers(ear.getsockname()), b"200 ok")[1] == b"200 ok"
        sock.connect(ear.getsockname())
        accepted, peer = ear.accept()
        with accepted:
            assert peer[0] == PUBLIC
            sock.sendall(b"x" * 100)
            assert accepted.recv(100)


@field(6, "what nobody translates never reaches the WAN", kernel="it translates whatever leaves")
def test_r06_a_container_opens_nothing_by_itself(contained: tuple[Bed, Talk]) -> None:
    """Nobody translates it: no packet of it reaches the WAN, and the reason is counted."""
    wan, _ = contained
    with listener(wan.lab.server, SERVER, 4444), wan.box.socket() as sock:
        sock.settimeout(0.5)
        with pytest.raises(OSError):
            sock.connect((SERVER, 4444))
    assert wan.gateway.ask("stats")['algate_drops_total{reason="private-source"}'] > 0
    assert not [one for one in wan.outside() if one.dst.port == 4444]


# -- R16 ---------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def moved(wan: Bed) -> Iterator[None]:
    """The WAN has another address."""
    _address(wan, OTHER_PUBLIC)
    try:
        yield
    finally:
        _address(wan, PUBLIC)


def _address(wan: Bed, address: str) -> None:
    ip(f"addr flush dev wan0\naddr add {address}/24 dev wan0", wan.lab.gw.netns)
    ip(f"route replace default via {PLAN.next_hop}", wan.lab.gw.netns)
    end = time.monotonic() + PATIENCE
    while wan.algate and wan.gateway.ask("status")["addresses"] != [address]:
        assert time.monotonic() < end
        time.sleep(0.005)


def ends_at_once(sock: socket.socket, say: bytes = b"") -> None:
    """The connection is over by RST, with or without a word of its owner."""
    sock.settimeout(AT_ONCE)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        if say:
            sock.sendall(say)
        while sock.recv(100):
            pass


@field(16, "the WAN address changes: RST at once to an FTP client that says NOOP or only waits")
@pytest.mark.parametrize("say", [b"NOOP\r\n", b""], ids=["says NOOP", "only waits"])
def test_r16_a_control_session_whose_address_is_gone(wan: Bed, say: bytes) -> None:
    """einat #34, landscape #214: RST at once, not a quarter of an hour of repetitions. The outside end is told too."""
    with contextlib.ExitStack() as stack:
        talk = Talk(stack, wan.lab.client, wan.lab.server, SERVER, SERVER)
        public = talk.there.getpeername()
        with moved(wan):
            ends_at_once(talk.here, say)
            told = [one for one in wan.outside() if one.flags & RST and tuple(one.src) == public]
            assert told, "RST under the old address"


@field(16, "RST also to a connection that nobody watches")
@pytest.mark.parametrize("say", [b"more", b""], ids=["speaks", "only waits"])
def test_r16_so_is_any_other_connection(wan: Bed, say: bytes) -> None:
    """Nobody knows the sequence numbers: the inside end is asked for them."""
    with listener(wan.lab.server, SERVER, 4000) as ear, wan.lab.client.socket() as sock:
        ear.settimeout(PATIENCE)
        sock.settimeout(PATIENCE)
        sock.connect((SERVER, 4000))
        with ear.accept()[0] as other:
            sock.sendall(b"hello")
            assert other.recv(100) == b"hello"
            with moved(wan):
                ends_at_once(sock, say)


@field(16, "and to a server inside")
def test_r16_and_a_server_inside(wan: Bed) -> None:
    """Its client outside sends to an address that isn't ours any more: nobody can tell that one."""
    with listener(wan.lab.clients[1], PLAN.clients[1], 8022) as ear, wan.lab.server.socket() as sock:
        ear.settimeout(PATIENCE)
        sock.settimeout(PATIENCE)
        sock.connect((PUBLIC, 8022))
        with ear.accept()[0] as accepted:
            sock.sendall(b"hello")
            assert accepted.recv(100) == b"hello"
            with moved(wan):
                ends_at_once(accepted)


@field(16, "a session begun afterwards has the new address")
def test_r16_new_sessions_have_the_new_address(wan: Bed) -> None:
    with contextlib.ExitStack() as stack, moved(wan):
        talk = Talk(stack, wan.lab.client, wan.lab.server, SERVER, SERVER)
        assert talk.seen_from[0] == OTHER_PUBLIC
