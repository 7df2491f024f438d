"""NAT64 and extension headers: which go, which are answered, which are refused in silence (RFC 7915 section 5.1)."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers import inet, inet6
from scapy.packet import Packet, Raw

from tests.bpf.rig import INSIDE6, LAN6, REDIRECT, REMOTE, SHOT, Rig
from tests.bpf.six import frame, tcp
from tests.bpf.test_nat64_errors import error6
from tests.bpf.turned import four, shown

pytestmark = pytest.mark.bpf
PAD = inet6.PadN(optdata=bytes(4))
HOPS, OPTIONS = inet6.IPv6ExtHdrHopByHop(options=PAD), inet6.IPv6ExtHdrDestOpt(options=PAD)


def route(kind: int, left: int) -> Packet:
    """A routing header by one address, with so many segments left."""
    return inet6.IPv6ExtHdrRouting(type=kind, segleft=left, addresses=["2001:db8:7::1"])


def told(rig: Rig, sent: bytes, kind: int, code: int, rest: int, reason: str) -> None:
    """Its sender gets that message, from the gateway's own address."""
    got = rig.lan(sent)
    assert (got.action, got.drops) == (REDIRECT, {reason: 1})
    want = error6(kind, code, rest, sent[14:1246], LAN6, INSIDE6)
    assert got.data[14:] == want[:7] + b"\x40" + want[8:]


@pytest.mark.parametrize("kind", [0, 2, 3, 4, 253])
@pytest.mark.parametrize(("before", "at"), [(None, 43), (HOPS, 51), (HOPS / OPTIONS, 59)], ids=["-", "hops", "both"])
@pytest.mark.parametrize("upper", [tcp("S"), inet6.ICMPv6EchoRequest(id=9)], ids=["tcp", "echo"])
def test_segments_left(rig64: Rig, kind: int, before: Packet | None, at: int, upper: Packet) -> None:
    """64-8: parameter problem, pointing at Segments Left, wherever the header is; nothing begins."""
    heads = route(kind, 1) / upper if before is None else before / route(kind, 1) / upper
    told(rig64, frame(heads, destination=shown(REMOTE)), 4, 0, at, "nat64-routed")
    assert not list(rig64.gateway.sessions.items()) and not list(rig64.gateway.handles.items())


def test_segments_left_of_a_fragmented_packet(rig64: Rig) -> None:
    """Its head is answered, as any error would be; its tails are not."""
    piece = inet6.IPv6ExtHdrFragment(nh=17, offset=0, m=1, id=7) / bytes(64)
    told(rig64, frame(route(2, 1) / piece, destination=shown(REMOTE)), 4, 0, 43, "nat64-routed")
    piece = inet6.IPv6ExtHdrFragment(nh=17, offset=8, m=0, id=7) / bytes(64)
    got = rig64.lan(frame(route(2, 1) / piece, destination=shown(REMOTE)))
    assert (got.action, got.drops) == (SHOT, {"nat64-routed": 1})


def test_an_error_with_segments_left_is_not_answered(rig64: Rig) -> None:
    quoted = bytes(inet6.IPv6(src=shown(REMOTE), dst=INSIDE6) / tcp("A", back=True))
    upper = inet6.ICMPv6DestUnreach(code=4) / Raw(quoted)
    got = rig64.lan(frame(route(2, 1) / upper, destination=shown(REMOTE)))
    assert (got.action, got.drops) == (SHOT, {"nat64-routed": 1})


@pytest.mark.parametrize("kind", [0, 2, 253])
def test_a_routing_header_at_its_end_goes(rig64: Rig, kind: int) -> None:
    """Of type 0, too: it has no effect then (RFC 5095 section 3), and goes with all others."""
    got = rig64.lan(frame(HOPS / route(kind, 0) / OPTIONS / tcp("S"), destination=shown(REMOTE)))
    assert got.data[14:] == four(got.data, tcp("S"))


@pytest.mark.parametrize("number", [1, 4, 41, 47, 50, 51, 59, 132, 135, 139, 140, 143, 200, 253, 255])
@pytest.mark.parametrize("before", [None, HOPS, OPTIONS], ids=["-", "hops", "options"])
def test_another_protocol(rig64: Rig, number: int, before: Packet | None) -> None:
    """64-5, RFC 6146 section 3.5: 1/4, be it unknown, an extension of mobility, IPsec, or IPv4's own ICMP."""
    ip: dict[str, Any] = {"nh": number} if before is None else {}
    upper: Packet = Raw(bytes(range(24)))
    if before is not None:
        upper = before.copy() / upper
        upper.nh = number
    told(rig64, frame(upper, destination=shown(REMOTE), **ip), 1, 4, 0, "nat64-protocol")


@pytest.mark.parametrize(
    ("number", "reason"),
    [(58, "nat64-sum"), (60, "extension"), (43, "extension"), (0, "extension"), (51, "nat64-protocol"),
     (1, "nat64-protocol")],
)  # fmt: skip
@pytest.mark.parametrize("at", [0, 8])
def test_fragments_of_what_is_not_translated(rig64: Rig, number: int, reason: str, at: int) -> None:
    """64-9: parts would not fit together without the headers that one of them has; ICMP is summed as a whole. The head
    is answered (RFC 7915 section 5.4), a message of ICMP isn't."""
    body = bytes([6, 0]) + bytes(62)
    sent = frame(inet6.IPv6ExtHdrFragment(nh=number, offset=at, m=int(not at), id=7) / body, destination=shown(REMOTE))
    if number != 58 and not at:
        told(rig64, sent, 1, 4 if reason == "nat64-protocol" else 1, 0, reason)
        return
    got = rig64.lan(sent)
    assert (got.action, got.drops) == (SHOT, {reason: 1})


def test_an_atomic_fragment_with_options_behind(rig64: Rig) -> None:
    """It is whole (RFC 6946), so nothing of it is missing elsewhere."""
    got = rig64.lan(frame(inet6.IPv6ExtHdrFragment(id=0x10009) / OPTIONS / tcp("S"), destination=shown(REMOTE)))
    assert got.data[14:] == four(got.data, tcp("S"), id=9)


def test_fragments_behind_headers(rig64: Rig) -> None:
    """What stands before the fragment header goes from each part alike."""
    whole = bytes(inet6.IPv6(src=INSIDE6, dst=shown(REMOTE)) / inet.UDP(sport=40000, dport=80) / bytes(120))[40:]
    made = bytes(inet.IP(src="203.0.113.1", dst=REMOTE, proto=17) / inet.UDP(sport=40000, dport=80) / bytes(120))[20:]
    for at, more, start, end in ((0, 1, 0, 64), (8, 0, 64, 128)):
        piece = inet6.IPv6ExtHdrFragment(nh=17, offset=at, m=more, id=5) / whole[start:end]
        got = rig64.lan(frame(HOPS / OPTIONS / piece, destination=shown(REMOTE)))
        assert got.action == REDIRECT, got
        assert got.data[14:] == four(got.data, Raw(made[start:end]), proto=17, id=5, frag=at, flags=more)


def test_hop_by_hop_stands_first(rig64: Rig) -> None:
    """6-A5."""
    told(rig64, frame(OPTIONS / HOPS / tcp("S"), destination=shown(REMOTE)), 1, 1, 0, "extension")


@pytest.mark.parametrize("source", ["2001:db8:5::1", "fe80::1"])
def test_nobody_else_is_told(rig64: Rig, source: str) -> None:
    """A source that isn't inside: what it asked for is no matter."""
    for destination, upper in ((shown("127.0.0.1"), tcp("S")), (shown(REMOTE), OPTIONS / HOPS / tcp("S"))):
        got = rig64.lan(frame(upper, source=source, destination=destination))
        assert got.action == SHOT and set(got.drops) <= {"spoofed-inside", "link-scope"}
