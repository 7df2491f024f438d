"""One host can't starve the others: its share of ports and sessions, what it leaves unanswered, and that the counts on
which all this rests come back to nothing."""

from __future__ import annotations

from typing import Any

import pytest

from algate.bpf import abi
from algate.bpf.abi import ConfigFlag, ControlOp
from algate.bpf.requests import ControlProgram
from tests import packets
from tests.bpf.flows import FLOW, answer, frame_of, open_session
from tests.bpf.rig import (
    INSIDE,
    INSIDE_2,
    PROTOS,
    PUBLIC,
    REDIRECT,
    REMOTE,
    REMOTE_2,
    SECOND,
    SHOT,
    TCP,
    UDP,
    Rig,
    session_key,
)
from tests.packets import GATEWAY_WAN_MAC, WAN_MAC, Flow

HALF = {"share_own": abi.SHARE_WHOLE // 2, "share_free": abi.SHARE_WHOLE // 2}
FIRST, PORTS = 50000, 512
THIRD = "10.0.0.4"


def configure(rig: Rig, **changes: Any) -> None:
    for proto in PROTOS.values():
        for port in range(FIRST, FIRST + PORTS):
            rig.slot(proto, port)
    rig.configure(**{"port_first": FIRST, "port_last": FIRST + PORTS - 1, **HALF, **changes})


def host(rig: Rig, ip: str) -> abi.Host:
    return rig.gateway.hosts.get(abi.MappingKey(inside_ip=abi.ip_to_be32(ip))) or abi.Host()


def begin(rig: Rig, proto: str, ip: str, number: int) -> dict[str, int]:
    """The first packet of the host's session with that number; drops."""
    flow = Flow(ip, 20000 + number, REMOTE, 443)
    out = rig.lan(frame_of(proto, flow, flags="S"))
    assert out.action == (SHOT if out.drops else REDIRECT)
    return out.drops


def granted(rig: Rig, proto: str, ip: str, tries: int) -> int:
    return sum(not begin(rig, proto, ip, number) for number in range(tries))


def end_all(rig: Rig, op: ControlOp = ControlOp.KILL) -> int:
    keys = [bytes(key) for key, _ in rig.gateway.sessions.items()]
    return ControlProgram(rig.gateway.fds["control"]).keys(op, keys)


@pytest.mark.parametrize("proto", ["tcp", "udp", "icmp"])
def test_a_host_gets_half_of_what_is_free(rig: Rig, proto: str) -> None:
    configure(rig)
    assert granted(rig, proto, INSIDE, 2 * PORTS) == PORTS // 2
    assert begin(rig, proto, INSIDE, 3 * PORTS) == {"share-ports": 1}
    assert host(rig, INSIDE).refused == 2 * PORTS - PORTS // 2 + 1
    assert granted(rig, proto, INSIDE_2, PORTS) == PORTS // 4, "two that take all they get leave as much again free"
    assert not begin(rig, proto, THIRD, 0)
    assert begin(rig, proto, INSIDE, 0) == {}, "what goes through a port that it has isn't refused"


def test_a_session_that_needs_no_port_of_its_own(rig: Rig) -> None:
    """A mapping serves any number of sessions (RFC 4787 REQ-1): the share of ports says nothing about them."""
    configure(rig)
    assert granted(rig, "udp", INSIDE, PORTS) == PORTS // 2
    for number in range(10):
        assert rig.lan(packets.udp(Flow(INSIDE, 20000, REMOTE_2, 1000 + number), b"x")).action == REDIRECT


def test_sessions_through_one_port_fill_half_of_the_table(rig: Rig) -> None:
    """A flood of UDP from one end point to many destinations needs one port alone."""
    configure(rig, max_sessions=200)

    def flood(ip: str, tries: int) -> list[dict[str, int]]:
        flows = [Flow(ip, 20000, REMOTE, 1000 + number) for number in range(tries)]
        return [rig.lan(packets.udp(flow, b"x")).drops for flow in flows]

    drops = flood(INSIDE, 160)
    assert drops.count({}) == 100 and drops[-1] == {"share-sessions": 1}
    assert flood(INSIDE_2, 10) == [{}] * 10
    inward = Flow(REMOTE_2, 443, PUBLIC, abi.public_port(session(rig, Flow(INSIDE, 20000, REMOTE, 1000))), WAN_MAC,
                  GATEWAY_WAN_MAC)  # fmt: skip
    rig.configure(**HALF, max_sessions=200, flags=ConfigFlag.HAIRPIN | ConfigFlag.FILTER_EIF)
    assert rig.wan_in(packets.udp(inward, b"x")).drops == {"share-sessions": 1}  # nor may the outside


def session(rig: Rig, flow: Flow) -> abi.Session:
    found = rig.session(flow, UDP)
    assert found is not None
    return found


def test_a_whole_share_is_no_limit(rig: Rig) -> None:
    configure(rig, share_own=0, share_free=abi.SHARE_WHOLE)
    assert granted(rig, "tcp", INSIDE, PORTS) == PORTS
    assert begin(rig, "tcp", INSIDE_2, 0) == {"no-port": 1}


def test_whoever_has_little_may_have_more(rig: Rig) -> None:
    """In a small pool all: one host's ended transfers hold half of it, until somebody needs their ports (R10)."""
    configure(rig, port_last=FIRST + 255)
    assert granted(rig, "tcp", INSIDE, 256) == 256
    assert begin(rig, "tcp", INSIDE, 256) == {"no-port": 1}


def test_tcp_sessions_without_an_answer(rig: Rig) -> None:
    configure(rig, share_own=0, max_unanswered_per_host=5)
    assert granted(rig, "tcp", INSIDE, 20) == 5
    assert begin(rig, "tcp", INSIDE, 30) == {"host-unanswered": 1}
    assert begin(rig, "udp", INSIDE, 30) == {} and begin(rig, "tcp", INSIDE_2, 0) == {}
    assert begin(rig, "tcp", INSIDE, 0) == {}, "its own SYN again"
    flow = Flow(INSIDE, 20000, REMOTE, 443)
    port = abi.public_port(rig.gateway.sessions[session_key(flow, TCP)])
    assert rig.wan_in(packets.tcp(answer(flow, port), b"", "SA")).action == REDIRECT
    assert host(rig, INSIDE).unanswered == 4
    assert not begin(rig, "tcp", INSIDE, 31) and begin(rig, "tcp", INSIDE, 32)
    assert end_all(rig) == 8
    assert host(rig, INSIDE).unanswered == 0 and not begin(rig, "tcp", INSIDE, 33)


def test_a_refusal_is_an_answer(rig: Rig) -> None:
    configure(rig)
    assert not begin(rig, "tcp", INSIDE, 0) and host(rig, INSIDE).unanswered == 1
    flow = Flow(INSIDE, 20000, REMOTE, 443)
    port = abi.public_port(rig.gateway.sessions[session_key(flow, TCP)])
    syn = packets.field(frame_of("tcp", flow, flags="S"), "TCP_seq")
    rig.wan_in(packets.tcp(answer(flow, port), b"", "RA", ack=syn + 1))  # RFC 9293 section 3.10.7.3
    assert host(rig, INSIDE).unanswered == 0
    end_all(rig)
    assert host(rig, INSIDE).unanswered == 0


def test_reclaiming_takes_what_nobody_answered_and_what_is_over(rig: Rig) -> None:
    rig.configure(**HALF)
    open_session(rig, "tcp")
    open_session(rig, "udp")
    for number in range(3):
        begin(rig, "tcp", INSIDE, number), begin(rig, "udp", INSIDE, number)
    open_session(rig, "tcp", over := Flow(INSIDE_2, 33333, REMOTE, 80))
    closed = rig.gateway.sessions[session_key(over, TCP)]
    closed.state = abi.SessionState.TIME_WAIT
    rig.gateway.sessions.put(session_key(over, TCP), closed)
    assert end_all(rig, ControlOp.RECLAIM) == 7, "and what is over"
    assert rig.session(FLOW, TCP) and rig.session(FLOW, UDP) and len(rig.gateway.sessions) == 2


def test_hold_down_yields_when_nothing_else_is_left(rig: Rig) -> None:
    """Else a host would have its share, and as much again in hold-down: RFC 6888 REQ-8, exceptions A and C."""
    configure(rig, hold_down=120 * SECOND, flags=ConfigFlag.HAIRPIN)
    assert granted(rig, "tcp", INSIDE, PORTS) == PORTS // 2
    end_all(rig)
    for number in range(PORTS // 2):
        assert not begin(rig, "tcp", INSIDE, PORTS + number)
    served = granted(rig, "tcp", INSIDE_2, 64)
    assert served >= 60, "of twelve tries, each at a random port, half of which are in use"
    rig.configure(port_first=FIRST, port_last=FIRST + PORTS - 1, hold_down=120 * SECOND,
                  flags=ConfigFlag.HAIRPIN | ConfigFlag.FILTER_EIF, **HALF)  # fmt: skip
    assert granted(rig, "tcp", THIRD, 4) == 0, "where anybody may send to a port, its former host's traffic would come"


def test_low_ports_are_a_wish(rig: Rig) -> None:
    """RFC 4787 REQ-3a recommends a low port for a low port; a host that has them all doesn't starve the others' NTP."""
    rig.configure(**HALF)
    for port in range(1, 1024):
        owner = abi.ip_to_be32(INSIDE) | abi.be16(port) << 32 | abi.PortKind.MAPPING << 48
        rig.put_slot(UDP, port, abi.PortSlot(owner=owner, sessions=1))
    for word in range(16):
        rig.gateway.port_bits.put(abi.BITMAP_BLOCK * 1 + word, (1 << 64) - 1)
    out = rig.lan(packets.udp(Flow(INSIDE_2, 123, REMOTE, 123), b"time"))
    assert out.action == REDIRECT and packets.field(out.data, "UDP_sport") >= 1024
    rig.slot(UDP, packets.field(out.data, "UDP_sport"))


def test_reservations_count(rig: Rig) -> None:
    """Ports held for data connections are the host's too."""
    configure(rig)
    for number in range(PORTS // 2):
        assert rig.reserve(TCP, 0, INSIDE, 6000 + number) is not None
    assert rig.reserve(TCP, 0, INSIDE, 7000) is None
    assert begin(rig, "tcp", INSIDE, 0) == {"share-ports": 1}
    assert host(rig, INSIDE).held[abi.ProtoClass.TCP] == PORTS // 2 and host(rig, INSIDE).ports == 0
    assert rig.reserve(TCP, 0, INSIDE_2, 7000) is not None


@pytest.mark.parametrize("flags", [0, int(ConfigFlag.MAPPING_APDM)])
def test_the_counts_come_back_to_nothing(rig: Rig, flags: int) -> None:
    """Sessions of all kinds, answered or not, repeated, refused for want of a port; then all ended."""
    configure(rig, flags=ConfigFlag.HAIRPIN | flags, hold_down=0)
    for proto in ("tcp", "udp", "icmp"):
        for ip in (INSIDE, INSIDE_2):
            for number in (*range(PORTS), *range(10)):
                begin(rig, proto, ip, number)
    for flow in (Flow(INSIDE, 20000, REMOTE, 443), Flow(INSIDE, 20001, REMOTE, 443)):
        port = abi.public_port(rig.gateway.sessions[session_key(flow, TCP)])
        rig.wan_in(packets.tcp(answer(flow, port), b"", "SA"))
    number = len(rig.gateway.sessions)
    assert rig.gateway.pools[abi.POOL_SESSIONS].used == number
    assert sum(host(rig, ip).sessions for ip in (INSIDE, INSIDE_2)) == number
    assert end_all(rig) == number
    assert {row: pool.used for row, pool in rig.gateway.pools.items() if pool.used and row != abi.POOL_FREED} == {}
    for ip in (INSIDE, INSIDE_2):
        left = host(rig, ip)
        assert (left.sessions, left.ports, left.unanswered, [*left.held]) == (0, 0, 0, [0] * 4)
