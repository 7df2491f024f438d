"""Field reports about public ports (R10, R17, R23, R24) and their siblings, by what the outside sees and reaches."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import struct
from collections.abc import Iterator

import pytest

from algate.cli.lab.host import call_in
from tests.cases.bed import ADDRESSES, PLAN, Bed, configuration
from tests.cases.case import field
from tests.cases.dialogue import PUBLIC, Dialogue, dialogue
from tests.cases.ends import Data
from tests.compliance import packet as pk
from tests.topology import no_netfilter

ALGATE_ONLY = "asks for algate's own configuration"
POOL = 64
SMALL = f'[nat]\nports = "40000-{40000 + POOL - 1}"\n'
TRANSFERS = 200
PORTS = itertools.count(5000)  # below the range that the hosts' own callers have: theirs may still be in TIME_WAIT
OUTSIDE = ADDRESSES["default"]


@contextlib.contextmanager
def opened(request: pytest.FixtureRequest, config: str) -> Iterator[Bed]:
    """A gateway of its own: what it did before decides which ports are free."""
    with Bed(str(request.config.getoption("gateway")), config=config) as made:
        yield made
        no_netfilter(made.lab, made.gateway)


@pytest.fixture(scope="module")
def small(request: pytest.FixtureRequest) -> Iterator[Bed]:
    """A pool of 64 ports."""
    with opened(request, SMALL + configuration()) as made:
        yield made


@pytest.fixture(scope="module")
def sharing(request: pytest.FixtureRequest) -> Iterator[Bed]:
    """The same, with mapping by address and port, and no list of what may go out."""
    text = SMALL + 'mapping = "address-and-port-dependent"\n[metrics]\nlisten = ""\n'
    with opened(request, text) as made:
        yield made


@pytest.fixture(scope="module")
def plain(request: pytest.FixtureRequest) -> Iterator[Bed]:
    """Anything may go out."""
    with opened(request, '[metrics]\nlisten = ""\n') as made:
        yield made


def finish(data: Data, how: str) -> None:
    """End a data connection: who closes, or resets, first. Both ends' stacks have seen it when this returns."""
    one, other = (data.listener, data.caller) if how.startswith("listener") else (data.caller, data.listener)
    if how.endswith("resets"):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.close()
        with contextlib.suppress(ConnectionResetError):
            other.recv(1)
        other.close()
        return
    one.shutdown(socket.SHUT_WR)
    assert other.recv(1) == b""
    other.shutdown(socket.SHUT_WR)
    assert one.recv(1) == b""
    data.close()


# -- R10 ---------------------------------------------------------------------------------------------------------------

ASKED = {"PORT": ("client", Dialogue.port), "EPRT": ("client", Dialogue.eprt),
         "PASV": ("server", Dialogue.pasv), "EPSV": ("server", Dialogue.epsv)}  # fmt: skip


@field(10, "transfer after transfer through a small pool: no 425, the port longest idle first", kernel=ALGATE_ONLY)
@pytest.mark.parametrize("how", ["caller closes", "listener closes", "caller resets", "listener resets"])
@pytest.mark.parametrize("verb", ASKED)
def test_r10_transfer_after_transfer_through_a_small_pool(small: Bed, verb: str, how: str) -> None:
    """No 425: a data session that is over gives its port back (proftpd PR 812, FluentFTP #605)."""
    small.fresh()
    inside, ask = ASKED[verb]
    with dialogue(small, inside) as talk:
        last: dict[int, int] = {}
        for turn in range(TRANSFERS if how == "caller closes" else POOL + 10):
            port = next(PORTS)
            public = ask(talk, port)
            assert 40000 <= public < 40000 + POOL
            assert turn - last.get(public, -POOL) > 20, "a port that was in use a moment ago, with others longer idle"
            last[public] = turn
            data = talk.inward(public, port)
            assert data is not None, f"transfer {turn} through port {public} does not come in"
            finish(data, how)
        assert len(last) > POOL // 2
        talk.alive()


@field(10, "what the server declines is given back: more declined PORTs than ports", kernel=ALGATE_ONLY)
def test_r10_what_is_declined_is_given_back(small: Bed) -> None:
    """Such a port rests (R17) while others are free; here none is for long (FTP-27)."""
    small.fresh()
    with dialogue(small) as talk:
        for _ in range(2 * POOL):
            assert 40000 <= talk.port(next(PORTS), agree=False) < 40000 + POOL
            talk.reply(b"500 no PORT\r\n")
        assert talk.expectations() == []
        talk.alive()


@field(10, "the same in passive mode of an inside client", kernel=ALGATE_ONLY)
def test_r10_passive_client_inside(small: Bed) -> None:
    """There the port is the mapping's of the client's data connection."""
    small.fresh()
    with dialogue(small) as talk:
        for turn in range(TRANSFERS):
            port = next(PORTS)
            talk.client.say(b"PASV\r\n")
            talk.server.hear(b"PASV\r\n")
            high, low = divmod(port, 256)
            line = f"227 ok ({talk.outer_ip.replace('.', ',')},{high},{low})\r\n".encode()
            talk.server.say(line)
            talk.client.hear(line)
            data = talk.outward(talk.outer_ip, port)
            assert data is not None, f"transfer {turn} does not go out"
            finish(data, ("caller closes", "listener closes")[turn % 2])


@field(10, "a transfer under way keeps its port", kernel=ALGATE_ONLY)
def test_r10_what_goes_on_keeps_its_port(small: Bed) -> None:
    """Transfers under way are not robbed for those that come."""
    small.fresh()
    with dialogue(small) as talk:
        running = []
        for _ in range(8):
            port = next(PORTS)
            running.append(talk.comes_in(talk.port(port), port))
        running[0].caller.shutdown(socket.SHUT_WR)
        for _ in range(POOL + 10):
            port = next(PORTS)
            finish(talk.comes_in(talk.port(port), port), "caller closes")
        assert running[0].listener.recv(1) == b""
        running[0].listener.sendall(b"late")
        assert running[0].caller.recv(9) == b"late"
        assert all(one.carries() for one in running[1:])


# -- R17 ---------------------------------------------------------------------------------------------------------------


@field(17, "one inside port twenty times, a server without timestamps: another public port each time")
def test_r17_one_inside_port_again_and_again(bed: Bed) -> None:
    """A server's port 20 meets no TIME_WAIT of its own: without timestamps it would refuse to connect (curl #7534)."""
    own = random.randrange(20000, 30000)
    before = bed.lab.server.sysctl("ipv4/tcp_timestamps")
    bed.lab.server.sysctl("ipv4/tcp_timestamps", "0")
    try:
        with dialogue(bed) as talk:
            seen = []
            for _ in range(20):
                seen.append(talk.port(own))
                data = talk.inward(seen[-1], own, source_port=20)
                assert data is not None, f"{len(seen)}. transfer, public port {seen[-1]}"
                finish(data, "caller closes")
    finally:
        bed.lab.server.sysctl("ipv4/tcp_timestamps", before)
    assert len(set(seen)) == 20, seen


@field(17, "a public port that nobody came to rests too")
def test_r17_a_named_port_that_nobody_came_to(bed: Bed) -> None:
    """Withdrawn reservations rest too; so do the passive server's."""
    own = random.randrange(30000, 32000)
    with dialogue(bed) as talk:
        seen = [talk.port(own) for _ in range(20)]
    assert len(set(seen)) == 20, seen
    with dialogue(bed, "server") as talk:
        seen = [talk.pasv(own) for _ in range(20)]
    assert len(set(seen)) == 20, seen


# -- R23 ---------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def raw(bed: Bed) -> Iterator[tuple[list[socket.socket], socket.socket]]:
    """Sockets for whole IP packets at both inside hosts, and one that sees what the outside host gets."""
    with contextlib.ExitStack() as stack:
        senders = []
        for host in bed.lab.clients[:2]:
            one = stack.enter_context(host.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW))
            senders.append(one)
        wire = call_in(
            bed.lab.server.netns, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(0x0800))
        )
        stack.enter_context(wire)
        wire.settimeout(1.0)
        yield senders, wire


def fragments_seen(wire: socket.socket, number: int) -> list[pk.Packet]:
    """The next fragments to the outside host's UDP port 7."""
    seen: list[pk.Packet] = []
    with contextlib.suppress(TimeoutError):
        while len(seen) < number:
            frame = wire.recv(4096)
            packet = frame[14:]
            if packet[9] == pk.UDP and packet[12:16] == socket.inet_aton(PUBLIC):
                seen.append(pk.parse(packet))
    return seen


@field(23, "fragments of two inside hosts with one IP id: put together rightly, ids differ outside")
@pytest.mark.parametrize("order", ["heads first", "tails first"])
def test_r23_two_hosts_fragments_with_one_id(plain: Bed, order: str) -> None:
    """Interleaved, to one server, which puts both packets together (RFC 7857 section 10)."""
    loads = [bytes([65 + place]) * 4000 for place in range(2)]
    with raw(plain) as (senders, wire), plain.lab.server.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        ear.bind((OUTSIDE, 53))
        ear.settimeout(3.0)
        for turn in range(5):
            parts = []
            for place, load in enumerate(loads):
                packet = pk.udp(PLAN.clients[place], 5000 + turn, OUTSIDE, 53, load, pk.Ip(ident=4242 + turn))
                parts.append(pk.fragments(packet, 1400))
            pairs = list(zip(*parts, strict=True))
            for pair in pairs if order == "heads first" else pairs[::-1]:
                for sender, part in zip(senders, pair, strict=True):
                    sender.sendto(part, (OUTSIDE, 0))
            got = {ear.recvfrom(9000)[0] for _ in loads}
            assert got == set(loads), "the packets are mixed"
            seen = fragments_seen(wire, 2 * len(pairs))
            assert len(seen) == 2 * len(pairs) and len({one.ident for one in seen}) == 2
            for ident in {one.ident for one in seen}:
                assert len([one for one in seen if one.ident == ident]) == len(pairs)


# -- R24 ---------------------------------------------------------------------------------------------------------------


@field(24, "400 flows to 200 destinations through 64 ports", kernel=ALGATE_ONLY)
@pytest.mark.parametrize("proto", ["udp", "tcp"])
def test_r24_more_flows_than_ports(sharing: Bed, proto: str) -> None:
    """A public port serves several destinations: that is what this mapping is for (RFC 7857 section 3)."""
    sharing.fresh()
    flows, destinations = 400, 200
    kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
    with contextlib.ExitStack() as stack:
        ears = []
        for n in range(destinations):
            ear = stack.enter_context(sharing.lab.server.socket(socket.AF_INET, kind))
            ear.settimeout(3.0)
            ear.bind((OUTSIDE, 3000 + n))
            if proto == "tcp":
                ear.listen()
            ears.append(ear)
        keys = set()
        for n in range(flows):
            ear = ears[n % destinations]
            one = stack.enter_context(sharing.lab.clients[n // destinations].socket(socket.AF_INET, kind))
            one.settimeout(3.0)
            one.connect((OUTSIDE, 3000 + n % destinations))
            one.send(b"%d" % n)
            if proto == "tcp":
                accepted, peer = ear.accept()
                stack.enter_context(accepted).settimeout(3.0)
                assert accepted.recv(99) == b"%d" % n
                accepted.sendall(b"%d" % n)
            else:
                heard, peer = ear.recvfrom(99)
                assert heard == b"%d" % n
                ear.sendto(heard, peer)
            assert one.recv(99) == b"%d" % n, "the answer went elsewhere"
            assert peer[0] == PUBLIC and 40000 <= peer[1] < 40000 + POOL
            keys.add((peer, n % destinations))
        assert len(keys) == flows
