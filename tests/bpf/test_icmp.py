"""ICMP errors: the quote becomes what its sender sent, and the session isn't affected (RFC 5508)."""

from __future__ import annotations

from typing import Any

import pytest

from algate.bpf import abi
from algate.bpf.abi import Direction
from tests import packets
from tests.bpf.flows import FLOW, answer, echo_answer, frame_of, open_session, translated
from tests.bpf.rig import INSIDE, INSIDE_2, OK, PROTOS, PUBLIC, REMOTE, SHOT, TCP, Rig
from tests.bpf.watched import FIRST, IN, watch
from tests.packets import GATEWAY_LAN_MAC, GATEWAY_WAN_MAC, LAN_MAC, WAN_MAC, Flow

HOP = "192.0.2.9"  # a router on the way
FROM_OUTSIDE = Flow(HOP, 0, PUBLIC, 0, WAN_MAC, GATEWAY_WAN_MAC)
SIZES = [8, 9, 20, 128, None]
KINDS = [(3, 1), (3, 3), (3, 4), (11, 0), (12, 0), (4, 0)]


def sent(proto: str, size: int = 300, **ip: Any) -> tuple[bytes, bytes]:
    """A frame of the inside host as it was sent, and as the outside saw it."""
    frame = frame_of(proto, FLOW, bytes(range(250)) * 2, "PA", ttl=61, **ip)
    return frame, translated(frame, proto, ttl=61, source=(PUBLIC, 40000))


def came(proto: str) -> tuple[bytes, bytes]:
    """A frame of the remote host as it was sent, and as the inside saw it."""
    back = echo_answer(FLOW, 40000) if proto == "icmp" else answer(FLOW, 40000)
    frame = frame_of(proto, back, bytes(range(250)) * 2, "PA", reply=True, ttl=58)
    return frame, translated(frame, proto, ttl=58, destination=(INSIDE, 40000))


@pytest.mark.parametrize("proto", PROTOS)
@pytest.mark.parametrize("size", SIZES)
def test_error_from_outside(rig: Rig, proto: str, size: int | None) -> None:
    open_session(rig, proto)
    inside, outside = sent(proto)
    out = rig.wan_in(packets.icmp_error(FROM_OUTSIDE, outside, 3, 4, size=size, mtu=1400))
    assert out.action == OK and out.drops == {} and out.counts["ICMP_ERRORS"] == 1
    to_host = FROM_OUTSIDE.to(destination=INSIDE)
    packets.same(out.data, packets.icmp_error(to_host, inside, 3, 4, size=size, mtu=1400))


@pytest.mark.parametrize(("kind", "code"), KINDS)
def test_type_and_code_stay(rig: Rig, kind: int, code: int) -> None:
    open_session(rig, "udp")
    inside, outside = sent("udp")
    out = rig.wan_in(packets.icmp_error(FROM_OUTSIDE, outside, kind, code, size=8))
    packets.same(out.data, packets.icmp_error(FROM_OUTSIDE.to(destination=INSIDE), inside, kind, code, size=8))


def test_quoted_absent_udp_sum_stays_absent(rig: Rig) -> None:
    open_session(rig, "udp")
    inside, outside = sent("udp", checksum=0)
    out = rig.wan_in(packets.icmp_error(FROM_OUTSIDE, outside, size=128))
    packets.same(out.data, packets.icmp_error(FROM_OUTSIDE.to(destination=INSIDE), inside, size=128))


def test_another_mappings_port_in_the_quote_is_restored(rig: Rig) -> None:
    open_session(rig, "tcp")
    other = FLOW.to(source=INSIDE_2)
    rig.lan(packets.tcp(other, b"", "S"))
    session = rig.session(other, TCP)
    assert session is not None
    port = abi.public_port(session)
    frame = packets.tcp(other, b"x" * 40, "PA", ttl=60)
    outside = translated(frame, "tcp", ttl=60, source=(PUBLIC, port))
    out = rig.wan_in(packets.icmp_error(FROM_OUTSIDE, outside, size=None))
    packets.same(out.data, packets.icmp_error(FROM_OUTSIDE.to(destination=INSIDE_2), frame, size=None))


@pytest.mark.parametrize("proto", PROTOS)
@pytest.mark.parametrize("size", SIZES)
def test_error_of_an_inside_host(rig: Rig, proto: str, size: int | None) -> None:
    open_session(rig, proto)
    outside, inside = came(proto)
    flow = Flow(INSIDE, 0, REMOTE, 0, LAN_MAC, GATEWAY_LAN_MAC)
    frame = packets.icmp_error(flow, inside, 3, 3, size=size)
    shortcut = rig.lan(frame)
    assert shortcut.action == OK
    packets.same(shortcut.data, frame, "LAN ingress")
    out = rig.wan_out(frame)
    assert out.action == OK and out.drops == {}
    packets.same(out.data, packets.icmp_error(flow.to(source=PUBLIC), outside, 3, 3, size=size))


def test_error_of_the_gateways_own_stack(rig: Rig) -> None:
    """The stack saw the packet translated; its sender must see it as it was sent (DESIGN section 3, 2)."""
    open_session(rig, "tcp")
    outside, inside = came("tcp")
    flow = Flow(PUBLIC, 0, REMOTE, 0)
    out = rig.local_out(packets.icmp_error(flow, inside, 3, 4, size=128, mtu=1400))
    assert out.action == OK
    packets.same(out.data, packets.icmp_error(flow, outside, 3, 4, size=128, mtu=1400))


@pytest.mark.parametrize("proto", PROTOS)
def test_an_error_changes_no_session(rig: Rig, proto: str) -> None:
    """RFC 5508 REQ-6: it neither refreshes nor ends one."""
    open_session(rig, proto)
    before = rig.session(FLOW, PROTOS[proto])
    rig.wan_in(packets.icmp_error(FROM_OUTSIDE, sent(proto)[1], 3, 3))
    assert rig.session(FLOW, PROTOS[proto]) == before


def test_error_about_nothing_that_was_sent_is_refused(rig: Rig) -> None:
    open_session(rig, "tcp")
    for change in ({"destination": "198.51.100.99"}, {"destination_port": 444}, {"source_port": 40001}):
        frame = packets.tcp(FLOW.to(**change), b"x" * 40)
        port = change.get("source_port", 40000)
        outside = translated(frame, "tcp", ttl=64, source=(PUBLIC, port))
        out = rig.wan_in(packets.icmp_error(FROM_OUTSIDE, outside))
        if "source_port" in change:  # nobody's port: the stack judges, and has no socket for it
            assert out.action == OK
            packets.same(out.data, packets.icmp_error(FROM_OUTSIDE, outside))
        else:
            assert out.action == SHOT and out.drops == {"no-session": 1}


def test_quote_cut_at_every_length(rig: Rig) -> None:
    """A quote with less than 8 bytes of transport names no session: refused, never half translated."""
    open_session(rig, "tcp")
    inside, outside = sent("tcp")
    for size in range(37):
        packet = outside[14 : 14 + size]
        frame = packets.icmp_error(
            FROM_OUTSIDE, bytes(14) + b"\x45" + packet[1:] if size else bytes(15), size=size - 20
        )
        if size < 28:
            out = rig.wan_in(frame)
            assert out.action == SHOT and out.drops == {"icmp-invalid": 1}, size
        else:
            out = rig.wan_in(frame)
            want = packets.icmp_error(FROM_OUTSIDE.to(destination=INSIDE), inside, size=size - 20)
            packets.same(out.data, want, f"quote of {size}")


@pytest.mark.parametrize("size", [8, 12, 16, 18, 20, None])
@pytest.mark.parametrize("side", [Direction.OUT, Direction.IN])
def test_the_quoted_numbers_of_a_shifted_stream(rig: Rig, side: Direction, size: int | None) -> None:  # FTP-55
    """A host ignores an error about a number that it never sent (RFC 5927 section 4.1)."""
    watched = watch(rig)
    watched.adjust([(FIRST[Direction.OUT], FIRST[Direction.OUT] + 5, 0, 9)], [(FIRST[IN], FIRST[IN] + 7, 0, -3)])
    back = Direction(1 - side)
    watched.decide(side, bytes(40), at=60)
    watched.doubt()
    frame = watched.frame(side, bytes(40), at=60, ack=FIRST[back] + 50)
    told = watched.send(side, frame).data
    came = packets.changed(frame, IP_ttl=63)  # a quote has the TTL of where it was made
    if side == Direction.OUT:
        out = rig.wan_in(packets.icmp_error(FROM_OUTSIDE, told, 3, 1, size=size))
        wanted = packets.icmp_error(FROM_OUTSIDE.to(destination=INSIDE), came, 3, 1, size=size)
    else:
        error = packets.icmp_error(Flow(INSIDE, 0, REMOTE, 0), told, 3, 1, size=size)
        out = rig.wan_out(error)
        wanted = packets.icmp_error(Flow(PUBLIC, 0, REMOTE, 0), came, 3, 1, size=size)
    packets.same(out.data, wanted)
