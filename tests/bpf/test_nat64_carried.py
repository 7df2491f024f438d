"""What ICMP errors carry behind their quote (RFC 4884), and NAT64: kept in shape both ways; the model judges."""

from __future__ import annotations

from itertools import product

import pytest
from scapy.layers import inet, inet6
from scapy.packet import Raw

from tests.bpf.rig import INSIDE6, PUBLIC, REDIRECT, REMOTE, SHOT, Rig
from tests.bpf.six import frame, tcp
from tests.bpf.test_nat64_errors import LINKS, ROUTER, error4, error6, sent4, sent6
from tests.bpf.turned import fed, opened, shown
from tests.rfc7915 import Message, checksum, message4, message6, shape

pytestmark = pytest.mark.bpf
MPLS = bytes.fromhex("2000 0000 0008 0101 0006 41ff")  # one label; its sum is made below


def extension(objects: int = 1) -> bytes:
    """A header and so many objects of one MPLS label."""
    bare = MPLS[:4] + MPLS[4:] * objects
    return bare[:2] + checksum(bare).to_bytes(2, "big") + bare[4:]


def carried(quote: bytes, unit: int, behind: bytes) -> tuple[bytes, int]:
    """What follows the 8 bytes as a router writes it: the quote padded, extensions; and its length field."""
    padded = max(128, -(-len(quote) // unit) * unit)
    return quote.ljust(padded, b"\0") + behind, padded // unit


KINDS4 = [(3, 1, 0), (3, 3, 0), (3, 13, 0), (11, 0, 0), (11, 1, 0), (3, 4, 1400), (3, 2, 0), (12, 0, 8 << 24)]


@pytest.mark.parametrize(("kind", "code", "rest"), KINDS4)
@pytest.mark.parametrize(
    ("size", "objects"),
    [*product([40, 88, 128, 140, 252, 500], [1, 5]), (40, 137), (252, 137), (500, 137), (140, 138), (480, 79)],
)  # 137: all that fits behind 128 bytes of a quote
def test_inward(rig64: Rig, kind: int, code: int, rest: int, size: int, objects: int) -> None:
    """64-11: 32-bit words become 64-bit ones; a message without a length field has the quote alone."""
    opened(rig64)
    quoted, whole = bytes(sent4(b"x" * 460)), bytes(sent6(b"x" * 460))
    behind = extension(objects)
    body, words = carried(quoted[:size], 4, behind)
    sent = error4(kind, code, rest | words << 16, Raw(body))
    got = rig64.wan_in(fed(sent, source=ROUTER, proto=1))
    assert got.action == REDIRECT, got
    want = message6(Message(kind, code, rest), len(quoted), LINKS)
    assert want is not None
    made = shape(max(size, 128) + 20, len(behind), 8 if want.type in (1, 3) else 0, 1232)
    whole = (whole[: size + 20] + bytes(100) if size < 128 else whole)[: made.quoted]
    after = whole.ljust(made.padded, b"\0") + behind[: made.extension]
    assert got.data[14:] == error6(want.type, want.code, want.rest | made.words << 24, after, shown(ROUTER), INSIDE6)


@pytest.mark.parametrize(("kind", "to"), [(3, 1), (11, 3), (12, 4)])
@pytest.mark.parametrize("load", [0, 3, 80, 87])
def test_a_short_packet_quoted_whole(rig64: Rig, kind: int, to: int, load: int) -> None:
    """It says its own length: padding is made anew where there is a length field, and cut off where there is none."""
    opened(rig64)
    quoted, whole = bytes(sent4(b"x" * load)), bytes(sent6(b"x" * load))
    body, words = carried(quoted, 4, extension())
    got = rig64.wan_in(fed(error4(kind, 1 if kind == 3 else 0, words << 16, Raw(body)), source=ROUTER, proto=1))
    made = shape(len(whole), 12, 0 if to == 4 else 8, 1232)
    after = whole.ljust(made.padded, b"\0") + extension()[: made.extension]
    assert got.data[14:] == error6(to, 0, made.words << 24, after, shown(ROUTER), INSIDE6)


KINDS6 = [(1, 0, 0), (1, 1, 0), (1, 4, 0), (3, 0, 0), (3, 1, 0)]


@pytest.mark.parametrize(("kind", "code", "rest"), KINDS6)
@pytest.mark.parametrize(
    ("size", "objects"),
    [*product([60, 120, 128, 136, 144, 536, 552, 600, 1160], [1, 5]), (60, 52), (600, 52), (120, 53), (552, 53)],
)  # 52: all that fits
def test_outward(rig64: Rig, kind: int, code: int, rest: int, size: int, objects: int) -> None:
    """64-bit words become 32-bit ones; where all of it exceeds 576 bytes the quote gives way."""
    opened(rig64)
    upper = tcp("PA", 40000, 80, back=True, load=b"x" * 1200)
    quoted = bytes(inet6.IPv6(src=shown(REMOTE), dst=INSIDE6, hlim=9) / upper)
    behind = extension(objects)
    body, words = carried(quoted[:size], 8, behind)
    bare = bytes([kind, code, 0, 0]) + (words << 24).to_bytes(4, "big") + body
    value = inet6.in6_chksum(58, inet6.IPv6(src=INSIDE6, dst=shown(REMOTE), nh=58), bare)
    message = Raw(bare[:2] + value.to_bytes(2, "big") + bare[4:])
    got = rig64.lan(frame(message, destination=shown(REMOTE), nh=58))
    assert got.action == REDIRECT, got
    want = message4(Message(kind, code, rest), LINKS)
    assert want is not None
    made = shape(max(size, 128) - 20, len(behind), 4, 548)
    inner = bytes(inet.IP(src=REMOTE, dst=PUBLIC, ttl=9, id=0) / upper)
    inner = (inner[: size - 20] + bytes(100) if size < 128 else inner)[: made.quoted]
    after = inner.ljust(made.padded, b"\0") + behind[: made.extension]
    made4 = error4(want.type, want.code, made.words << 16, Raw(after))
    assert got.data[14:] == bytes(inet.IP(src=PUBLIC, dst=REMOTE, ttl=63, id=0, proto=1, flags=0) / made4)


@pytest.mark.parametrize(("words", "size"), [(200, 140), (35, 140), (3, 140)])
def test_a_length_that_can_not_be_true(rig64: Rig, words: int, size: int) -> None:
    """Longer than the message, of all of it, or shorter than the least that is quoted."""
    opened(rig64)
    quoted, whole = bytes(sent4(b"x" * 460)), bytes(sent6(b"x" * 460))
    got = rig64.wan_in(fed(error4(11, 0, words << 16, Raw(quoted[:size])), source=ROUTER, proto=1))
    if words == 3:
        assert (got.action, got.drops) == (SHOT, {"icmp-invalid": 1})
        return
    assert got.data[14:] == error6(3, 0, 0, whole[: size + 20], shown(ROUTER), INSIDE6)


def test_a_quote_within_a_quote(rig64: Rig) -> None:
    """One packet is translated: an error that quotes an error is refused, both ways (RFC 7915 sections 4.3, 5.3)."""
    opened(rig64)
    inner = inet.IP(src=PUBLIC, dst=REMOTE) / error4(11, 0, 0, inet.IP(src=REMOTE, dst=PUBLIC) / tcp("A", back=True))
    assert rig64.wan_in(fed(error4(3, 1, 0, inner), source=ROUTER, proto=1)).action == SHOT
    inner6 = inet6.IPv6(src=shown(REMOTE), dst=INSIDE6) / inet6.ICMPv6TimeExceeded() / sent6()
    got = rig64.lan(frame(inet6.ICMPv6DestUnreach() / inner6, destination=shown(REMOTE)))
    assert got.action == SHOT
