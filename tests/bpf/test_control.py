"""The control program: ending sessions, and public ports that two flows never share."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address

import pytest

from algate.bpf import abi
from algate.bpf.abi import ControlOp, PortKind
from algate.bpf.requests import ControlProgram, owner, port_row
from tests import packets
from tests.bpf.flows import FLOW, answer, open_session
from tests.bpf.rig import INSIDE, INSIDE_2, REDIRECT, REMOTE_2, SECOND, SHOT, TCP, UDP, Rig, session_key, ticks
from tests.packets import Flow

HOST, OTHER = INSIDE, INSIDE_2


@pytest.fixture
def control(rig: Rig) -> ControlProgram:
    return ControlProgram(rig.gateway.fds["control"])


def held_by(ip: str, port: int) -> int:
    return owner(IPv4Address(ip), port, PortKind.RESERVED)


def flows(number: int) -> list[Flow]:
    return [FLOW.to(source_port=20000 + n) for n in range(number)]


def test_sweep_ends_what_is_over_and_nothing_else(rig: Rig, control: ControlProgram) -> None:
    for flow in flows(200):
        assert rig.lan(packets.udp(flow, b"x")).action == REDIRECT
    keys = [key for key, _ in rig.gateway.sessions.items()]
    old = {bytes(key) for key in keys[::3]}
    for key in keys:
        session = rig.gateway.sessions[key]
        session.last_seen = ticks() - (301 * SECOND if bytes(key) in old else 299 * SECOND)
        rig.gateway.sessions.put(key, session)
    assert control.keys(ControlOp.SWEEP, [bytes(key) for key in keys]) == len(old)
    left = {bytes(key) for key, _ in rig.gateway.sessions.items()}
    assert left == {bytes(key) for key in keys} - old
    for flow in flows(200):
        gone = bytes(session_key(flow, UDP)) in old
        assert bool(rig.slot(UDP, flow.source_port).owner) != gone
        assert rig.slot(UDP, flow.source_port).sessions == (0 if gone else 1)


def test_a_session_just_refreshed_is_not_swept(rig: Rig, control: ControlProgram) -> None:
    """User space judged it idle a moment ago; the kernel looks again."""
    open_session(rig, "udp")
    key = bytes(session_key(FLOW, UDP))
    assert control.keys(ControlOp.SWEEP, [key]) == 0
    assert rig.session(FLOW, UDP) is not None


def test_kill_ends_whatever_the_state(rig: Rig, control: ControlProgram) -> None:
    open_session(rig, "tcp")
    open_session(rig, "udp")
    keys = [bytes(session_key(FLOW, TCP)), bytes(session_key(FLOW, UDP)), bytes(16)]
    assert control.keys(ControlOp.KILL, keys) == 2
    assert len(rig.gateway.sessions) == 0 and not rig.slot(TCP, 40000).owner and not rig.slot(UDP, 40000).owner
    assert rig.wan_in(packets.tcp(answer(FLOW, 40000), b"", "A")).action == SHOT
    assert control.keys(ControlOp.KILL, keys) == 0


def test_kill_of_one_session_leaves_the_mapping_of_another(rig: Rig, control: ControlProgram) -> None:
    open_session(rig, "udp")
    other = FLOW.to(destination_port=53)
    rig.lan(packets.udp(other, b"x"))
    control.keys(ControlOp.KILL, [bytes(session_key(other, UDP))])
    assert rig.slot(UDP, 40000).sessions == 1
    assert rig.wan_in(packets.udp(answer(FLOW, 40000), b"x")).action == REDIRECT


def test_a_mapping_under_another_number_stays_when_its_own_becomes_free(rig: Rig, control: ControlProgram) -> None:
    """Endpoint-independent mapping, RFC 4787 REQ-1, for an inside host whose own port number was already taken."""
    rig.configure(hold_down=0)
    open_session(rig, "udp")
    second = FLOW.to(source=INSIDE_2)
    port = packets.field(rig.lan(packets.udp(second, b"x")).data, "UDP_sport")
    assert port != 40000 and rig.slot(UDP, port).sessions == 1
    assert rig.slot(UDP, 40000).away == 1 and len(rig.gateway.mappings) == 1
    assert control.keys(ControlOp.KILL, [bytes(session_key(FLOW, UDP))]) == 1
    assert not rig.slot(UDP, 40000).owner
    other = second.to(destination=REMOTE_2, destination_port=53)
    assert packets.field(rig.lan(packets.udp(other, b"q")).data, "UDP_sport") == port
    assert rig.slot(UDP, port).sessions == 2 and not rig.slot(UDP, 40000).owner
    keys = [bytes(session_key(flow, UDP)) for flow in (second, other)]
    assert control.keys(ControlOp.KILL, keys) == 2
    assert rig.slot(UDP, 40000).away == 0 and len(rig.gateway.mappings) == 0


def test_refresh_and_bypass(rig: Rig, control: ControlProgram) -> None:
    open_session(rig, "tcp")
    key, session = next(iter(rig.gateway.sessions.items()))
    session.last_seen, session.alg = ticks() - 1000, 1
    rig.gateway.sessions.put(key, session)
    assert control.keys(ControlOp.REFRESH, [bytes(key)]) == 1
    assert (ticks() - rig.gateway.sessions[key].last_seen) % 2**32 < 500
    assert control.keys(ControlOp.BYPASS, [bytes(key)]) == 1
    assert rig.gateway.sessions[key].alg == 0


def test_requests_without_sense_do_nothing(rig: Rig, control: ControlProgram) -> None:
    open_session(rig, "tcp")
    before = list(rig.gateway.sessions.items())
    for op in (0, 77):
        request = abi.Control(op=op, count=1)
        request.keys[0] = session_key(FLOW, TCP)
        rig.control(request)
    assert rig.control(abi.Control(op=ControlOp.KILL, count=2**32 - 1)).count == 0
    assert rig.control(abi.Control(op=ControlOp.RESERVE, port_index=2**32 - 1, owner=1)).error < 0
    assert list(rig.gateway.sessions.items()) == before


def test_reserve_the_wanted_port_or_another(rig: Rig, control: ControlProgram) -> None:
    assert rig.reserve(TCP, 50000, HOST, 20) == 50000
    slot = rig.slot(TCP, 50000)
    assert slot.owner == held_by(HOST, 20) and slot.sessions == 1
    other = rig.reserve(TCP, 50000, OTHER, 20)
    assert other is not None and other != 50000
    assert rig.slot(TCP, other).owner == held_by(OTHER, 20)
    free = rig.reserve(TCP, 0, HOST, 20, 1)
    assert free is not None and 1024 <= free <= 65535
    assert rig.slot(TCP, free, 1).owner == held_by(HOST, 20)
    assert rig.slot(TCP, free, 0).owner == 0


def test_only_the_owner_releases(rig: Rig, control: ControlProgram) -> None:
    port = rig.reserve(TCP, 50000, HOST, 20)
    assert port == 50000
    row = port_row(0, TCP, port)
    assert not control.release(row, held_by(OTHER, 20)) and not control.release(row, held_by(HOST, 21))
    assert rig.slot(TCP, port).owner
    assert control.release(row, held_by(HOST, 20))
    assert rig.slot(TCP, port).owner == 0 and rig.slot(TCP, port).sessions == 0
    assert not control.release(row, held_by(HOST, 20))


def test_hold_down_keeps_a_freed_port_from_others(rig: Rig, control: ControlProgram) -> None:
    """RFC 6888 section 8: late packets for the former holder must not reach the next."""
    rig.configure(hold_down=120 * SECOND)
    assert rig.reserve(TCP, 50000, HOST, 20) == 50000
    assert control.release(port_row(0, TCP, 50000), held_by(HOST, 20))
    other = rig.reserve(TCP, 50000, OTHER, 20)
    assert other is not None and other != 50000
    rig.configure(hold_down=120 * SECOND, port_first=50000, port_last=50000)
    assert rig.reserve(TCP, 50000, OTHER, 20) is None
    assert rig.reserve(TCP, 50000, HOST, 20) == 50000


def test_the_gateways_own_socket_keeps_its_port(rig: Rig, control: ControlProgram) -> None:
    import socket

    with socket.socket() as own:
        own.bind(("0.0.0.0", 50000))
        own.listen()
        port = rig.reserve(TCP, 50000, HOST, 20)
        assert port is not None and port != 50000
        rig.slot(TCP, port)
    assert rig.slot(TCP, 50000).owner == 0


def test_no_port_is_given_twice(rig: Rig, control: ControlProgram) -> None:
    """Two CPUs reserve from one small block at once: each port goes to one of them, and all can be reserved."""
    first, last = 50000, 50031
    rig.configure(port_first=first, port_last=last)
    cpus = sorted(os.sched_getaffinity(0))

    def take(worker: int) -> list[int]:
        os.sched_setaffinity(0, {cpus[worker % len(cpus)]})
        got = [rig.reserve(UDP, 0, HOST, 1000 + worker) for _ in range(200)]
        return [port for port in got if port is not None]

    with ThreadPoolExecutor(4) as pool:
        taken = [port for ports in pool.map(take, range(4)) for port in ports]
    for port in range(first, last + 1):
        rig.slot(UDP, port)
    assert len(taken) == len(set(taken))
    assert set(taken) == set(range(first, last + 1))


def test_a_reserved_port_is_not_given_to_a_mapping(rig: Rig, control: ControlProgram) -> None:
    assert rig.reserve(UDP, 40000, OTHER, 20) == 40000
    assert rig.lan(packets.udp(FLOW, b"x")).action == REDIRECT
    session = rig.session(FLOW, UDP)
    assert session is not None and abi.public_port(session) != 40000
    assert rig.slot(UDP, 40000).owner == held_by(OTHER, 20)
    assert port_row(0, UDP, 40000) == 65536 + 40000
