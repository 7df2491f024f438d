"""Control sessions of datagrams at the gate, and expectations on such a session's own mapping."""

from __future__ import annotations

import pytest

from algate.bpf import abi
from algate.bpf.abi import ConfigFlag, ControlOp, Direction, ExpectationState, InjectKind, PuntKind
from algate.bpf.requests import ControlProgram
from tests import packets
from tests.bpf.flows import answer
from tests.bpf.rig import INSIDE, PUBLIC, REDIRECT, REMOTE, REMOTE_2, SHOT, UDP, Outcome, Rig, session_key, ticks
from tests.packets import GATEWAY_WAN_MAC, WAN_MAC, Flow

NUMBER = 9
FLOW = Flow(INSIDE, 40069, REMOTE, 69)
ASK = b"\0\x01file\0octet\0"
OUT, IN = Direction.OUT, Direction.IN


@pytest.fixture
def watched(rig: Rig) -> Rig:
    """udp/69 is watched and the helper is alive."""
    rig.beat()
    rig.gateway.alg_ports.put(abi.ServiceKey(port=abi.be16(69), proto=UDP), NUMBER)
    return rig


def opened(rig: Rig) -> abi.Session:
    """The session of FLOW after its first datagram, which the helper let pass."""
    frame = packets.udp(FLOW, ASK)
    assert rig.lan(frame).drops == {"punt-held": 1}
    assert rig.tap(frame, InjectKind.OUT).action == REDIRECT
    rig.taken()
    session = rig.session(FLOW, UDP)
    assert session is not None and session.alg == NUMBER
    return session


def translated(frame: bytes) -> bytes:
    return packets.changed(frame, IP_src=PUBLIC, UDP_sport=40069, IP_ttl=63)


def test_a_first_datagram_opens_the_session_and_is_held(watched: Rig) -> None:
    frame = packets.udp(FLOW, ASK)
    out = watched.lan(frame)
    assert out.action == SHOT and out.drops == {"punt-held": 1}
    (told, _), (punt, copy) = watched.taken()
    session = watched.session(FLOW, UDP)
    assert session is not None and (told.kind, told.id, told.alg) == (PuntKind.OPENED, session.id, NUMBER)
    packets.same(copy, frame, "copy")
    assert (punt.kind, punt.id, punt.dir, punt.payload_size) == (PuntKind.SEGMENT, session.id, OUT, len(ASK))
    assert punt.payload_offset == 42 and bytes(punt.key) == bytes(session_key(FLOW, UDP))


def test_what_the_helper_writes_is_what_leaves(watched: Rig) -> None:
    opened(watched)
    frame = packets.udp(FLOW, b"quite another datagram")
    out = watched.tap(frame, InjectKind.OUT)
    assert out.action == REDIRECT and watched.taken() == []
    packets.same(frame[:1] + out.data[1:], translated(frame))


@pytest.mark.parametrize("side", [OUT, IN])
def test_each_repetition_is_held_again(watched: Rig, side: Direction) -> None:
    session = opened(watched)
    frame = packets.udp(FLOW if side == OUT else answer(FLOW, 40069), ASK)
    for _ in range(2):
        out = watched.lan(frame) if side == OUT else watched.wan_in(frame)
        assert out.drops == {"punt-held": 1} and out.counts["ALG_SEGMENTS"] == 1
        ((punt, copy),) = watched.taken()
        assert (punt.kind, punt.dir, punt.id) == (PuntKind.SEGMENT, side, session.id)
        packets.same(copy, frame, "copy")


def test_an_empty_datagram_has_nothing_to_judge(watched: Rig) -> None:
    opened(watched)
    assert watched.lan(packets.udp(FLOW)).action == REDIRECT and watched.taken() == []


def test_without_a_helper_the_fail_policy_holds(watched: Rig) -> None:
    opened(watched)
    watched.gateway.heartbeat.put(0, 0)
    frame = packets.udp(FLOW, ASK)
    assert watched.lan(frame).drops == {"helper-dead": 1}
    watched.configure(flags=ConfigFlag.FAIL_OPEN)
    out = watched.lan(frame)
    assert out.action == REDIRECT and out.counts["FAIL_OPEN"] == 1
    packets.same(out.data, translated(frame))
    watched.beat()
    assert watched.lan(frame).action == REDIRECT, "bypassed until it ends"


def test_fragments_of_a_control_datagram_are_refused(watched: Rig) -> None:
    opened(watched)
    head, *_ = packets.fragments(packets.udp(FLOW, bytes(3000)), 1480)
    assert watched.wan_out(head, ingress_ifindex=watched.devices["lan0"]).drops == {"fragment-control": 1}


def test_bypassed_it_leaves_no_record_behind(watched: Rig) -> None:
    opened(watched)
    assert len(list(watched.gateway.tracks.items())) == 1
    key = bytes(session_key(FLOW, UDP))
    assert ControlProgram(watched.gateway.fds["control"]).keys(ControlOp.BYPASS, [key]) == 1
    assert list(watched.gateway.tracks.items()) == []
    frame = packets.udp(FLOW, ASK)
    out = watched.lan(frame)
    assert out.action == REDIRECT and watched.taken() == []
    packets.same(out.data, translated(frame))


def expect_reply(rig: Rig, source: str | None, state: ExpectationState = ExpectationState.OPEN) -> abi.ExpectationKey:
    """An expectation from any port of that host to the public port of FLOW's own mapping."""
    session = opened(rig)
    key = abi.ExpectationKey(
        from_=abi.ip_to_be32(source) if source else 0, to=abi.ip_to_be32(PUBLIC), to_port=abi.be16(40069), proto=UDP,
        dir=IN,
    )  # fmt: skip
    value = abi.Expectation(
        id=77, control_id=session.id, control_key=session_key(FLOW, UDP), state=state, alg=NUMBER,
        inside_ip=abi.ip_to_be32(INSIDE), inside_port=abi.be16(40069), expires=(ticks() + 100_000) % 2**32,
    )  # fmt: skip
    rig.gateway.expectations.put(key, value)
    return key


def reply(rig: Rig, source: str = REMOTE, port: int = 5555) -> Outcome:
    return rig.wan_in(packets.udp(Flow(source, port, PUBLIC, 40069, WAN_MAC, GATEWAY_WAN_MAC), b"data"))


def test_the_mapping_itself_admits_nobody_else(watched: Rig) -> None:
    opened(watched)
    assert reply(watched).drops == {"unsolicited": 1}


def test_an_expected_reply_from_a_new_port_arrives_once(watched: Rig) -> None:
    key = expect_reply(watched, REMOTE)
    assert reply(watched, REMOTE_2).drops == {"unsolicited": 1}, "another host"
    out = reply(watched)
    assert out.action == REDIRECT and packets.field(out.data, "IP_dst") == INSIDE
    assert packets.field(out.data, "UDP_dport") == 40069
    ((punt, _),) = watched.taken()
    data = watched.session(Flow(INSIDE, 40069, REMOTE, 5555), UDP)
    control = watched.session(FLOW, UDP)
    assert data is not None and control is not None and punt.kind == PuntKind.EXPECT_USED
    assert (watched.parent(data), data.alg) == (control.id, 0) and data.flags & abi.SessionFlag.EXPECTED
    assert watched.gateway.expectations[key].state == ExpectationState.USED
    assert reply(watched, port=5556).drops == {"expect-spent": 1}
    assert reply(watched).action == REDIRECT, "the same port belongs to the session"
    back = packets.udp(Flow(INSIDE, 40069, REMOTE, 5555), b"ack")
    out = watched.lan(back)
    packets.same(out.data, translated(back))


def test_pending_holds_the_reply(watched: Rig) -> None:
    expect_reply(watched, None, ExpectationState.PENDING)
    assert reply(watched).drops == {"expect-pending": 1}
    ((punt, _),) = watched.taken()
    assert (punt.kind, punt.expectation_id) == (PuntKind.DATA_SYN, 77)


def test_it_dies_with_its_control_session(watched: Rig) -> None:
    expect_reply(watched, REMOTE)
    data = packets.udp(FLOW.to(destination=REMOTE_2, destination_port=53), b"keeps the mapping")
    assert watched.lan(data).action == REDIRECT
    key = bytes(session_key(FLOW, UDP))
    assert ControlProgram(watched.gateway.fds["control"]).keys(ControlOp.KILL, [key]) == 1
    assert reply(watched).drops == {"expect-spent": 1}


def test_a_lenient_filter_still_uses_the_expectation(watched: Rig) -> None:
    expect_reply(watched, REMOTE)
    watched.configure(flags=ConfigFlag.FILTER_EIF)
    assert reply(watched, REMOTE_2).action == REDIRECT
    assert reply(watched).action == REDIRECT
    data = watched.session(Flow(INSIDE, 40069, REMOTE, 5555), UDP)
    assert data is not None and watched.parent(data)
    assert reply(watched, port=5556).action == REDIRECT, "spent, and the filter admits it all the same"
