"""ICMP errors and NAT64, by test-run: scapy makes each message anew that must come out."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers import inet, inet6
from scapy.packet import Packet, Raw

from tests.bpf.rig import INSIDE6, LAN6, PUBLIC, REDIRECT, REMOTE, REMOTE_2, SHOT, WAN, Rig
from tests.bpf.six import frame, tcp
from tests.bpf.test_small_links import mtu
from tests.bpf.turned import PREFIX, PREFIXES, fed, opened, prefix_is, shown
from tests.rfc7915 import Links, Message, message4, message6

pytestmark = pytest.mark.bpf
ROUTER, INNER = "192.0.2.77", "2001:db8:1::99"
LINKS = Links(v4=1500, v6=1500)


def error4(kind: int, code: int, rest: int, quoted: Packet, cut: int | None = None) -> Packet:
    """An ICMP message with its rest as a number."""
    body = bytes(quoted)[:cut]
    bare = bytes([kind, code, 0, 0]) + rest.to_bytes(4, "big") + body
    return Raw(bare[:2] + inet.checksum(bare).to_bytes(2, "big") + bare[4:])


def error6(kind: int, code: int, rest: int, quoted: bytes, source: str, destination: str) -> bytes:
    """The IPv6 packet around an ICMPv6 message."""
    bare = bytes([kind, code, 0, 0]) + rest.to_bytes(4, "big") + quoted
    ip = inet6.IPv6(src=source, dst=destination, hlim=63, nh=58)
    value = inet6.in6_chksum(58, ip, bare)
    return bytes(ip / Raw(bare[:2] + value.to_bytes(2, "big") + bare[4:]))


def sent4(load: bytes = b"", **ip: Any) -> Packet:
    """A segment of the session as it is outside."""
    return inet.IP(src=PUBLIC, dst=REMOTE, ttl=9, flags="DF", id=0, **ip) / tcp("PA", 40000, 80, load=load)


def sent6(load: bytes = b"", **ip: Any) -> Packet:
    """As its sender sent it, a few hops later."""
    return inet6.IPv6(src=INSIDE6, dst=shown(REMOTE), hlim=9, **ip) / tcp("PA", 40000, 80, load=load)


KINDS4 = [(3, code, 0) for code in range(16)] + [(3, 4, 1400), (11, 0, 0), (11, 1, 0), (5, 0, 0)]
KINDS4 += [(12, 0, at << 24) for at in range(21)] + [(12, 1, 0), (12, 2, 8 << 24), (4, 0, 0)]


@pytest.mark.parametrize(("kind", "code", "rest"), KINDS4)
def test_of_a_router_outside(rig64: Rig, kind: int, code: int, rest: int) -> None:
    """64-11 and 64-13: row by row; the router shows as prefix and its address."""
    opened(rig64)
    quoted, whole = sent4(b"x" * 100), sent6(b"x" * 100)
    got = rig64.wan_in(fed(error4(kind, code, rest, quoted), source=ROUTER, proto=1))
    want = message6(Message(kind, code, rest), len(quoted), LINKS)
    if want is None:
        assert got.action != REDIRECT, got
        return
    assert got.action == REDIRECT, got
    assert got.data[14:] == error6(want.type, want.code, want.rest, bytes(whole), shown(ROUTER), INSIDE6)


@pytest.mark.parametrize("known", [False, True], ids=["own", "well-known"])
@pytest.mark.parametrize(("kind", "code", "rest"), [(3, 4, 1400), (11, 0, 0)])
def test_of_a_router_with_a_private_address(rig64: Rig, known: bool, kind: int, code: int, rest: int) -> None:
    """64-1, RFC 6052 section 3.1: behind the well-known prefix it isn't shown; the gateway speaks for it (RFC 6791)."""
    prefix = PREFIXES[-1] if known else PREFIX
    prefix_is(rig64, prefix)
    remote = shown("8.8.8.8", prefix)
    assert rig64.lan(frame(tcp("S"), destination=remote)).action == REDIRECT
    quoted = inet.IP(src=PUBLIC, dst="8.8.8.8", ttl=9, flags="DF", id=0) / tcp("S")
    got = rig64.wan_in(fed(error4(kind, code, rest, quoted), source="10.77.0.1", proto=1))
    want = message6(Message(kind, code, rest), len(quoted), LINKS)
    assert want is not None and got.action == REDIRECT, got
    whole = bytes(inet6.IPv6(src=INSIDE6, dst=remote, hlim=9) / tcp("S"))
    speaker = LAN6 if known else shown("10.77.0.1", prefix)
    assert got.data[14:] == error6(want.type, want.code, want.rest, whole, speaker, INSIDE6)


@pytest.mark.parametrize("cut", [28, 36, 40, None])
@pytest.mark.parametrize("proto", ["tcp", "udp", "icmp"])
def test_what_a_short_quote_has_of_it(rig64: Rig, cut: int | None, proto: str) -> None:
    uppers = {
        "tcp": (tcp("PA", 40000, 80, load=b"abc"),) * 2,
        "udp": (inet.UDP(sport=40000, dport=80) / b"abc",) * 2,
        "icmp": (inet6.ICMPv6EchoRequest(id=40000, data=b"abc"), inet.ICMP(type=8, id=40000) / b"abc"),
    }
    opened(rig64)
    assert rig64.lan(frame(uppers[proto][0], destination=shown(REMOTE))).action == REDIRECT
    quoted = inet.IP(src=PUBLIC, dst=REMOTE, ttl=9) / uppers[proto][1]
    whole = inet6.IPv6(src=INSIDE6, dst=shown(REMOTE), hlim=9) / uppers[proto][0]
    got = rig64.wan_in(fed(error4(11, 0, 0, quoted, cut), source=ROUTER, proto=1))
    assert got.action == REDIRECT, got
    assert got.data[14:] == error6(3, 0, 0, bytes(whole)[: None if cut is None else cut + 20], shown(ROUTER), INSIDE6)


KINDS6 = [(1, code, 0) for code in range(8)] + [(2, 0, mtu) for mtu in (1280, 1400, 9000)] + [(3, 0, 0), (3, 1, 0)]
KINDS6 += [(4, 0, at) for at in range(42)] + [(4, 1, 6), (4, 2, 0)]


@pytest.mark.parametrize(("kind", "code", "rest"), KINDS6)
@pytest.mark.parametrize("source", [INSIDE6, INNER])
def test_of_a_host_or_router_inside(rig64: Rig, kind: int, code: int, rest: int, source: str) -> None:
    opened(rig64)
    upper = tcp("PA", 40000, 80, back=True, load=b"x" * 100)
    quoted = bytes(inet6.IPv6(src=shown(REMOTE), dst=INSIDE6, hlim=9) / upper)
    bare = bytes([kind, code, 0, 0]) + rest.to_bytes(4, "big") + quoted
    value = inet6.in6_chksum(58, inet6.IPv6(src=source, dst=shown(REMOTE), nh=58), bare)
    message = Raw(bare[:2] + value.to_bytes(2, "big") + bare[4:])
    got = rig64.lan(frame(message, source=source, destination=shown(REMOTE), nh=58))
    want = message4(Message(kind, code, rest), LINKS)
    if want is None:
        assert got.action == SHOT, got
        return
    assert got.action == REDIRECT, got
    inner = inet.IP(src=REMOTE, dst=PUBLIC, ttl=9, id=0) / upper
    body = error4(want.type, want.code, want.rest, inner)
    assert got.data[14:] == bytes(inet.IP(src=PUBLIC, dst=REMOTE, ttl=63, id=0, proto=1, flags=0) / body)


@pytest.mark.parametrize("before", [b"", b"\x2c\0\1\4\0\0\0\0"], ids=["-", "hops"])
@pytest.mark.parametrize(("kind", "code", "want"), [(3, 1, (11, 1)), (1, 4, (3, 3))])
def test_about_a_first_fragment_from_outside(
    rig64: Rig, kind: int, code: int, want: tuple[int, int], before: bytes
) -> None:
    """64-11: a host that waited for the rest in vain (RFC 8200 section 4.5) quotes a first fragment."""
    opened(rig64)
    upper = bytes(inet6.IPv6(src=shown(REMOTE), dst=INSIDE6) / tcp("PA", 40000, 80, back=True, load=b"x" * 1200))[40:]
    piece = bytes(inet6.IPv6ExtHdrFragment(nh=6, m=1, id=0x4242)) + upper[:1184]
    heads = inet6.IPv6(src=shown(REMOTE), dst=INSIDE6, hlim=9, nh=0 if before else 44)
    message = error6(kind, code, 0, bytes(heads / (before + piece)), INSIDE6, shown(REMOTE))
    got = rig64.lan(frame(Raw(message[40:]), destination=shown(REMOTE), nh=58))
    assert got.action == REDIRECT, got
    made = bytes(inet.IP(src=REMOTE, dst=PUBLIC, proto=6) / tcp("PA", 40000, 80, back=True, load=b"x" * 1200))[20:]
    inner = inet.IP(src=REMOTE, dst=PUBLIC, ttl=9, id=0x4242, flags="MF", proto=6) / made[:1184]
    body = error4(*want, 0, inner, 576 - 28)
    assert got.data[14:] == bytes(inet.IP(src=PUBLIC, dst=REMOTE, ttl=63, id=0, proto=1, flags=0) / body)


@pytest.mark.parametrize(
    ("upper", "hops", "kind", "code", "reason"),
    [
        (tcp("S"), 1, 3, 0, "nat64-hops"),
        (inet6.IPv6(src=INSIDE6) / b"abcdefgh", 64, 1, 4, "nat64-protocol"),
    ],
)
def test_the_gateway_tells_inside(rig64: Rig, upper: Packet, hops: int, kind: int, code: int, reason: str) -> None:
    """64-5, 64-13: of its own address."""
    sent = frame(upper, destination=shown(REMOTE), hops=hops)
    got = rig64.lan(sent)
    assert (got.action, got.drops) == (REDIRECT, {reason: 1})
    want = error6(kind, code, 0, sent[14:], LAN6, INSIDE6)
    assert got.data[14:] == want[:7] + b"\x40" + want[8:]


def test_the_gateway_tells_inside_of_a_small_link(rig64: Rig) -> None:
    """64-10: what IPv4 takes, and 20 bytes."""
    sent = frame(tcp("S", load=bytes(1400)), destination=shown(REMOTE_2))
    with mtu(WAN, 1400):
        got = rig64.lan(sent)
    assert (got.action, got.drops) == (REDIRECT, {"nat64-too-big": 1})
    want = error6(2, 0, 1420, sent[14:1246], LAN6, INSIDE6)
    assert got.data[14:] == want[:7] + b"\x40" + want[8:]


@pytest.mark.parametrize(
    ("ttl", "load", "kind", "rest", "reason"), [(1, 0, 11, 0, "nat64-hops"), (64, 1460, 3, 1480, "nat64-too-big")]
)
def test_the_gateway_tells_outside(rig64: Rig, ttl: int, load: int, kind: int, rest: int, reason: str) -> None:
    """64-10: what IPv6 takes less 20 bytes; of the public address."""
    opened(rig64)
    sent = fed(tcp("A", 40000, 80, back=True, load=bytes(load), ack=1000), ttl=ttl)
    got = rig64.wan_in(sent)
    assert (got.action, got.drops) == (REDIRECT, {reason: 1})
    body = error4(kind, 4 if kind == 3 else 0, rest, Raw(sent[14:562]))
    assert got.data[14:] == bytes(inet.IP(src=PUBLIC, dst=REMOTE, ttl=64, tos=0xC0, id=0, proto=1) / body)


@pytest.mark.parametrize(("size", "told"), [(1484, 1480), (1476, 1472), (1468, None)])
def test_fragments_that_may_not_be_cut(rig64: Rig, size: int, told: int | None) -> None:
    """64-10: as IPv6 they have 8 bytes more than other packets, of which their sender can't know."""
    opened(rig64)
    whole = bytes(inet.IP(src=REMOTE, dst=PUBLIC) / tcp("A", 40000, 80, back=True, load=bytes(1500)))
    got = rig64.wan_in(fed(Raw(whole[20:size]), flags="DF+MF", proto=6, id=9))
    assert (got.action, got.drops) == (REDIRECT, {"nat64-too-big": 1} if told else {})
    assert told is None or (got.data[34:36], int.from_bytes(got.data[40:42], "big")) == (b"\3\4", told)


def test_no_error_about_an_error(rig64: Rig) -> None:
    quoted = bytes(inet6.IPv6(src=shown(REMOTE), dst=INSIDE6) / tcp("A", 40000, 80, back=True))
    upper = inet6.ICMPv6DestUnreach(code=4) / Raw(quoted)
    got = rig64.lan(frame(upper, destination=shown(REMOTE), hops=1))
    assert (got.action, got.drops) == (SHOT, {"nat64-hops": 1})
