"""Sessions that are told of: once made and once ended, with their port if it came or went, and only those asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

import pytest

from algate.alg.audit.translations import Translation, TranslationKind
from algate.alg.gateway import notices
from algate.bpf import abi
from algate.bpf.abi import ConfigFlag, ControlOp, Direction, ExpectationState, PortKind, TellFlag
from algate.bpf.packing import picker
from algate.bpf.requests import ControlProgram, owner, port_row
from algate.bpf.ring import Ring
from tests import packets
from tests.bpf.flows import FLOW, frame_of, open_session
from tests.bpf.rig import (
    INSIDE,
    INSIDE_2,
    PUBLIC,
    REDIRECT,
    REMOTE,
    REMOTE_2,
    SECOND,
    TCP,
    UDP,
    Rig,
    session_key,
    ticks,
)
from tests.bpf.watched import CONTROL, watch
from tests.packets import GATEWAY_WAN_MAC, WAN_MAC, Flow

K = TranslationKind
PROTOS = TellFlag.TCP | TellFlag.UDP | TellFlag.ICMP
ALL = TellFlag.SESSIONS | TellFlag.PORTS | PROTOS
MADE, OVER, TAKEN, FREED = K.SESSION_CREATED, K.SESSION_ENDED, K.MAPPING_CREATED, K.MAPPING_ENDED
Told = Callable[[], list[Translation]]
PAGES = 16


@pytest.fixture
def told(rig: Rig) -> Iterator[Told]:
    """What came through the ring since the last call."""
    samples: list[bytes] = []
    ring = Ring(
        rig.gateway.map_fd("notices"), lambda _, sample: samples.append(sample), lambda _: None, PAGES,
        picker("notice", "time"), watermark=4096,
    )  # fmt: skip

    def read() -> list[Translation]:
        while ring.turn():
            pass
        found = notices.records(samples, {1: "ftp"})
        samples.clear()
        return found

    rig.configure(tell=ALL)
    yield read
    ring.close()


def kinds(records: list[Translation]) -> list[K]:
    return [one.kind for one in records]


def age(rig: Rig, flow: Flow, proto: int) -> None:
    """Make a session look idle for a day."""
    key = session_key(flow, proto)
    session = rig.gateway.sessions[key]
    session.last_seen = (ticks() - 86_400 * SECOND) % 2**32
    rig.gateway.sessions.put(key, session)


def end(rig: Rig, flow: Flow, proto: int, op: ControlOp = ControlOp.KILL) -> None:
    assert ControlProgram(rig.gateway.fds["control"]).keys(op, [bytes(session_key(flow, proto))]) == 1


@pytest.mark.parametrize("op", [ControlOp.SWEEP, ControlOp.KILL])
@pytest.mark.parametrize("proto", ["tcp", "udp", "icmp"])
def test_a_session_from_its_first_packet_to_its_end(rig: Rig, told: Told, proto: str, op: ControlOp) -> None:
    open_session(rig, proto)
    port, made = told()
    flow, number = FLOW, {"tcp": TCP, "udp": UDP, "icmp": 1}[proto]
    session = rig.session(flow, number)
    assert session is not None
    assert (port.kind, made.kind, made.session) == (TAKEN, MADE, session.id)
    assert [str(one) for one in (made.inside, made.public)] == [f"{INSIDE}:40000", f"{PUBLIC}:40000"]
    assert str(made.remote) == (f"{REMOTE}:40000" if proto == "icmp" else f"{REMOTE}:443")
    assert (port.inside, port.public, port.remote) == (made.inside, made.public, None)
    age(rig, flow, number)
    end(rig, flow, number, op)
    over, freed = told()
    assert (over.kind, over.session, over.packets) == (OVER, session.id, (1, 1))
    assert min(over.octets) > 20 and over.state == ("established" if proto == "tcp" else "active")
    assert (freed.kind, freed.inside, freed.public) == (FREED, port.inside, port.public)
    assert abs(freed.since - port.time) < 0.1 and abs(over.since - made.time) < 0.1


def test_what_nobody_answered_is_reclaimed(rig: Rig, told: Told) -> None:
    rig.lan(frame_of("udp", FLOW))
    told()
    end(rig, FLOW, UDP, ControlOp.RECLAIM)
    assert kinds(told()) == [OVER, FREED]


def test_off_nothing_is_told_and_packets_leave_the_same(rig: Rig, told: Told) -> None:
    on = rig.lan(frame_of("udp", FLOW, b"x"))
    assert len(told()) == 2
    end(rig, FLOW, UDP)
    told()
    rig.configure(tell=0)
    off = rig.lan(frame_of("udp", FLOW, b"x"))
    end(rig, FLOW, UDP)
    assert told() == [] and off.data == on.data and off.action == on.action
    changed = set(off.counts) ^ set(on.counts)
    assert changed <= {"NOTICES"}


def test_a_mapping_begins_with_its_first_session_and_ends_with_its_last(rig: Rig, told: Told) -> None:
    other = FLOW.to(destination=REMOTE_2)
    for flow in (FLOW, other):
        assert rig.lan(frame_of("udp", flow)).action == REDIRECT
    assert kinds(told()) == [TAKEN, MADE, MADE]
    end(rig, FLOW, UDP)
    assert kinds(told()) == [OVER]
    end(rig, other, UDP)
    assert kinds(told()) == [OVER, FREED]


def test_a_session_that_begins_anew_keeps_its_port(rig: Rig, told: Told) -> None:
    open_session(rig, "tcp")
    first = told()[1]
    assert rig.lan(packets.tcp(FLOW, b"", "R")).action == REDIRECT
    assert rig.lan(packets.tcp(FLOW, b"", "S", seq=5000)).action == REDIRECT
    over, again = told()
    assert (over.kind, over.session, over.state, over.packets[0]) == (OVER, first.session, "reset", 2)
    assert (again.kind, again.state) == (MADE, "new") and again.session != first.session
    session = rig.session(FLOW, TCP)
    assert session is not None and session.id == again.session


def test_a_forward_is_no_mapping_of_a_session(rig: Rig, told: Told) -> None:
    rig.gateway.forwards.put(
        0, abi.Forward(to_ip=abi.ip_to_be32(INSIDE), to_port=21, wan_first=21, wan_last=21, proto=TCP,
                       flags=abi.ForwardFlag.USED, alg=1),
    )  # fmt: skip
    row = owner(IPv4Address(INSIDE), 21, PortKind.FORWARD)
    rig.put_slot(TCP, 21, abi.PortSlot(owner=row, sessions=1))
    flow = Flow(REMOTE, 50000, PUBLIC, 21, WAN_MAC, GATEWAY_WAN_MAC)
    rig.wan_in(packets.tcp(flow, b"", "S"))
    (made,) = told()
    assert (made.kind, str(made.inside), str(made.public), made.alg) == (MADE, f"{INSIDE}:21", f"{PUBLIC}:21", "ftp")
    end(rig, Flow(INSIDE, 21, REMOTE, 50000), TCP)
    assert kinds(told()) == [OVER]


def data_session(rig: Rig, watched_id: int, expect: Callable[..., object]) -> Flow:
    """A server's connection to the port that was reserved for it."""
    port = rig.reserve(TCP, 20000, INSIDE, 20000)
    assert port is not None and watched_id
    key = abi.ExpectationKey(
        from_=abi.ip_to_be32(REMOTE), to=abi.ip_to_be32(PUBLIC), to_port=abi.be16(port), proto=TCP, dir=Direction.IN
    )
    expect(key, port, ExpectationState.OPEN, inside_port=abi.be16(20000), port_index=port_row(0, TCP, port))
    outside = Flow(REMOTE, 20, PUBLIC, port, WAN_MAC, GATEWAY_WAN_MAC)
    assert rig.wan_in(packets.tcp(outside, b"", "S")).action == REDIRECT
    return Flow(INSIDE, 20000, REMOTE, 20)


def test_a_data_session_names_its_control_session(rig: Rig, told: Told) -> None:
    watched = watch(rig)
    rig.configure(tell=ALL)
    told()
    flow = data_session(rig, watched.id, watched.expect)
    port, made = told()
    assert (port.kind, made.related, made.alg) == (TAKEN, watched.id, None)
    end(rig, flow, TCP)
    over, freed = told()
    assert (over.related, freed.kind, freed.public) == (watched.id, FREED, made.public)


def test_a_port_given_up_for_another_is_told(rig: Rig, told: Told) -> None:
    """finish_take: whoever finds no free port ends the data session that has been over longest."""
    watched = watch(rig)
    for port in range(50000, 50001):
        rig.slot(TCP, port)
    rig.configure(tell=ALL, port_first=50000, port_last=50000)
    flow = data_session(rig, watched.id, watched.expect)
    number = abi.public_port(rig.session(flow, TCP) or abi.Session())
    assert ControlProgram(rig.gateway.fds["control"]).release(
        port_row(0, TCP, number), owner(IPv4Address(INSIDE), 20000, PortKind.RESERVED)
    )
    outside = Flow(REMOTE, 20, PUBLIC, number, WAN_MAC, GATEWAY_WAN_MAC)
    assert rig.lan(packets.tcp(flow, b"", "SA")).action == REDIRECT
    assert rig.wan_in(packets.tcp(outside, b"", "R")).action == REDIRECT
    told()
    new = Flow(INSIDE, 33333, REMOTE_2, 80)
    assert rig.lan(packets.tcp(new, b"", "S")).action == REDIRECT
    assert kinds(told()) == [OVER, FREED, TAKEN, MADE]


def test_a_shared_port_is_told_with_its_destination(rig: Rig, told: Told) -> None:
    rig.configure(tell=ALL, flags=ConfigFlag.HAIRPIN | ConfigFlag.MAPPING_APDM)
    assert rig.lan(frame_of("udp", FLOW)).action == REDIRECT
    port, made = told()
    assert port.kind == TAKEN and port.remote == made.remote
    end(rig, FLOW, UDP)
    freed = told()[1]
    assert (freed.kind, freed.remote) == (FREED, made.remote)


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({"tell": TellFlag.SESSIONS | TellFlag.TCP}, ["tcp 2", "tcp 3", "tcp 2"]),
        ({"tell": TellFlag.SESSIONS | TellFlag.UDP | TellFlag.ICMP}, ["udp 2"]),
        ({"tell": TellFlag.PORTS | PROTOS}, ["udp 2", "tcp 2", "tcp 3"]),
        ({"tell": TellFlag.SESSIONS | TellFlag.WATCHED | PROTOS}, ["tcp 2"]),
        (
            {"tell": TellFlag.SESSIONS | PROTOS, "tell_net": abi.ip_to_be32("10.0.0.3"), "tell_mask": 0xFFFFFFFF},
            ["tcp 3"],
        ),
    ],
)
def test_only_what_is_asked_for(rig: Rig, told: Told, asked: dict[str, int], wanted: list[str]) -> None:
    rig.gateway.alg_ports.put(abi.ServiceKey(port=abi.be16(21), proto=TCP), 1)
    rig.configure(**asked)
    rig.lan(frame_of("udp", FLOW))
    rig.lan(frame_of("tcp", FLOW, flags="S"))
    rig.lan(frame_of("tcp", FLOW.to(source=INSIDE_2, source_port=41000), flags="S"))
    rig.lan(frame_of("tcp", FLOW.to(destination=REMOTE_2, destination_port=21), flags="S"))  # a mapping that is there
    found = [one for one in told() if one.kind == MADE]
    assert [f"{one.proto_name} {one.inside.ip[3]}" for one in found] == wanted


def test_what_nobody_reads_is_counted(rig: Rig) -> None:
    rig.configure(tell=ALL)
    out = rig.lan(frame_of("udp", FLOW))
    assert out.action == REDIRECT and out.counts["NOTICES_UNREAD"] == 1
    assert "NOTICES" not in out.counts and "NOTICES_LOST" not in out.counts


def test_what_finds_no_room_is_counted(rig: Rig, told: Told) -> None:
    number = 2000  # of 112 bytes each, for 64 KiB
    before = rig.gateway.counters.sums()
    for port in range(number):
        assert rig.lan(frame_of("udp", FLOW.to(source_port=2000 + port))).action == REDIRECT
    after = rig.gateway.counters.sums()
    kept, lost = (after[row] - before[row] for row in (abi.Counter.NOTICES, abi.Counter.NOTICES_LOST))
    assert kept + lost == number and lost > 100
    assert kinds(told()).count(MADE) == kept


def test_control_sessions_are_told_and_the_gate_still_meets_them(rig: Rig, told: Told) -> None:
    watched = watch(rig)
    rig.configure(tell=ALL)
    told()
    end(rig, CONTROL, TCP)
    assert rig.lan(packets.tcp(CONTROL, b"", "S", seq=9000)).action == REDIRECT
    over, freed, port, made = told()
    assert [one.kind for one in (over, freed, port, made)] == [OVER, FREED, TAKEN, MADE]
    assert (over.session, over.alg, made.alg) == (watched.id, "ftp", "ftp")
    assert any(punt.kind == abi.PuntKind.OPENED and punt.id == made.session for punt, _ in rig.taken())


def test_hairpin_is_two_sessions(rig: Rig, told: Told) -> None:
    row = owner(IPv4Address(INSIDE_2), 80, PortKind.FORWARD)
    rig.put_slot(TCP, 8080, abi.PortSlot(owner=row, sessions=1))
    rig.gateway.forwards.put(
        0, abi.Forward(to_ip=abi.ip_to_be32(INSIDE_2), to_port=80, wan_first=8080, wan_last=8080, proto=TCP,
                       flags=abi.ForwardFlag.USED),
    )  # fmt: skip
    assert rig.lan(packets.tcp(FLOW.to(destination=PUBLIC, destination_port=8080), b"", "S")).action == REDIRECT
    found = told()
    assert kinds(found) == [TAKEN, MADE, MADE]
    assert {str(one.inside) for one in found[1:]} == {f"{INSIDE}:40000", f"{INSIDE_2}:80"}
