"""xlat.h and xlat_icmp.h against the RFCs' model, both ways; the model against scapy."""

from __future__ import annotations

import ctypes
import struct
import subprocess
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algate.bpf import abi
from tests import rfc7915
from tests.rfc7915 import ICMP, ICMP6, TCP, UDP, WELL_KNOWN, Links, Message

pytestmark = pytest.mark.property

HERE = Path(__file__).parent.parent
LENGTHS = [32, 40, 48, 56, 64, 96]
OWN = IPv6Network("2001:db8:64::/96")  # the sum of the well-known prefix is zero: it changes no checksum


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    out = tmp_path_factory.mktemp("xlat") / "xlat.so"
    flags = ["-O2", "-Wall", "-Werror", "-Wno-unused-function", "-shared", "-fPIC", "-I", str(abi.INCLUDE)]
    subprocess.run(["gcc", *flags, "-o", out, HERE / "xlat_host.c"], check=True)
    library = ctypes.CDLL(str(out))
    library.resum.restype = ctypes.c_uint16
    return library


@st.composite
def prefixes(draw: Callable[..., int]) -> IPv6Network:
    bits = draw(st.sampled_from(LENGTHS))
    top = draw(st.integers(0, 2**bits - 1)) << (128 - bits)
    return IPv6Network((top & ~(0xFF << 56), bits))  # bits 64 to 71 are zero (RFC 6052 section 2.2)


v4s = st.integers(0, 2**32 - 1).map(IPv4Address)
v6s = st.integers(0, 2**128 - 1).map(IPv6Address)
links = st.builds(Links, st.integers(68, 66000), st.integers(1280, 66000))
octets = st.integers(0, 255)


def raw(library: ctypes.CDLL, name: str, room: int, *given: object) -> tuple[int, bytes]:
    out = ctypes.create_string_buffer(room)
    return getattr(library, name)(*given, out), out.raw


@given(prefixes(), v4s)
def test_addresses_there_and_back(c: ctypes.CDLL, prefix: IPv6Network, v4: IPv4Address) -> None:
    base, bits = prefix.network_address.packed, prefix.prefixlen
    _, made = raw(c, "embed", 16, base, bits, v4.packed)
    assert IPv6Address(made) == rfc7915.embed(prefix, v4)
    assert raw(c, "extract", 4, base, bits, made) == (1, v4.packed)


@given(prefixes(), v4s, st.integers(0, 127))
def test_another_bit_is_another_address(c: ctypes.CDLL, prefix: IPv6Network, v4: IPv4Address, bit: int) -> None:
    other = IPv6Address(int(rfc7915.embed(prefix, v4)) ^ 1 << bit)
    base, bits = prefix.network_address.packed, prefix.prefixlen
    found, which = raw(c, "extract", 4, base, bits, other.packed)
    assert (IPv4Address(which) if found else None) == rfc7915.extract(prefix, other)
    assert bool(c.within(base, bits, other.packed)) == (other in prefix)
    assert bool(c.well_known(base, bits)) == (prefix == WELL_KNOWN)


@pytest.mark.parametrize(
    ("prefix", "made"),
    [
        ("2001:db8::/32", "2001:db8:c000:221::"), ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
        ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"), ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
        ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100:0"),
        ("2001:db8:122:344::/96", "2001:db8:122:344::c000:221"), ("64:ff9b::/96", "64:ff9b::c000:221"),
    ],
)  # fmt: skip
def test_rfc_6052_table(c: ctypes.CDLL, prefix: str, made: str) -> None:
    """RFC 6052 section 2.4."""
    net = IPv6Network(prefix)
    _, out = raw(c, "embed", 16, net.network_address.packed, net.prefixlen, IPv4Address("192.0.2.33").packed)
    assert IPv6Address(out) == IPv6Address(made) == rfc7915.embed(net, IPv4Address("192.0.2.33"))


def edges() -> list[IPv4Address]:
    """The first and last of every net that isn't global, and their neighbours outside."""
    found = []
    for net in rfc7915.NOT_GLOBAL:
        ends = (int(net.network_address), int(net.broadcast_address))
        found += [IPv4Address(one % 2**32) for one in (ends[0] - 1, *ends, ends[1] + 1)]
    return found


def test_the_well_known_prefix_stands_for_global_addresses(c: ctypes.CDLL) -> None:
    wrong = [ip for ip in edges() if bool(c.is_global(ip.packed)) != rfc7915.is_global(ip)]
    assert wrong == []
    assert c.well_known(WELL_KNOWN.network_address.packed, 96)


def header(tos: int, size: int, ident: int, place: int, ttl: int, proto: int) -> bytes:
    return struct.pack(">BBHHHBBH8x", 0x45, tos, size + 20, ident, place, ttl, proto, 0)


@given(
    octets, st.integers(0, 65000), st.integers(0, 65535), st.integers(0, 0x7FFF), octets, octets,
    st.sampled_from([0, 1]), v6s, v6s,
)  # fmt: skip
def test_header_to_6(
    c: ctypes.CDLL, tos: int, size: int, ident: int, place: int, ttl: int, proto: int, hop: int, a: IPv6Address,
    b: IPv6Address,
) -> None:  # fmt: skip
    ip = header(tos, size, ident, place, ttl, proto)
    out = ctypes.create_string_buffer(bytes(8) + a.packed + b.packed, 48)
    length = c.head6(ip, size, hop, out)
    assert (out.raw[:length] or None) == rfc7915.header6(ip, a, b, hop)


@given(
    octets, st.integers(0, 65000), st.none() | st.integers(0, 0xFFF9), st.integers(0, 2**32 - 1), octets,
    st.sampled_from([TCP, UDP, ICMP6, 50]), st.sampled_from([0, 1]), v4s, v4s,
)  # fmt: skip
def test_header_to_4(
    c: ctypes.CDLL, tos: int, size: int, place: int | None, ident: int, ttl: int, proto: int, hop: int, a: IPv4Address,
    b: IPv4Address,
) -> None:  # fmt: skip
    tail = b"" if place is None else struct.pack(">BBHI", proto, 0, place, ident)
    head = struct.pack(">IHBB", 6 << 28 | tos << 20 | 0xABCDE, size + len(tail), 44 if tail else proto, ttl) + bytes(32)
    out = ctypes.create_string_buffer(bytes(12) + a.packed + b.packed, 20)
    goes = c.head4((head + tail).ljust(48, b"\0"), size, hop, ident & 0xFFFF, out)
    assert (out.raw if goes else None) == rfc7915.header4(head + tail, a, b, hop, ident & 0xFFFF)


@given(octets, st.integers(0, 1240), st.integers(0, 65535), st.integers(0, 0x3FFF), octets, v4s, v4s)
def test_header_there_and_back(
    tos: int, size: int, ident: int, place: int, ttl: int, a: IPv4Address, b: IPv4Address
) -> None:
    """A fragment, or a small packet, that was translated twice is what it was."""
    ip = header(tos, size, ident, place, ttl, UDP)
    there = rfc7915.header6(ip, rfc7915.embed(WELL_KNOWN, a), rfc7915.embed(WELL_KNOWN, b), 0)
    assert there is not None
    back = rfc7915.header4(there, a, b, 0, ident)
    assert back is not None
    assert back[:10] == ip[:10]
    assert rfc7915.checksum(back) == 0


def v6_header(size: int, proto: int, a: IPv6Address, b: IPv6Address) -> bytes:
    return struct.pack(">IHBB", 6 << 28, size, proto, 64) + a.packed + b.packed


@given(
    st.sampled_from([TCP, UDP, ICMP]), st.binary(min_size=20, max_size=60), st.integers(0, 3), v4s, v4s, v6s, v6s,
    st.booleans(),
)  # fmt: skip
def test_transport_sums(
    c: ctypes.CDLL, proto: int, body: bytes, wrong: int, a: IPv4Address, b: IPv4Address, a6: IPv6Address,
    b6: IPv6Address, back: bool,
) -> None:  # fmt: skip
    """A right sum becomes a right one, a wrong one stays wrong by as much."""
    at = {TCP: 16, UDP: 6}.get(proto, 2)
    four = b"" if proto == ICMP else rfc7915.pseudo(a, b, proto, len(body))
    six = rfc7915.pseudo(a6, b6, ICMP6 if proto == ICMP else proto, len(body))
    before, after = (six, four) if back else (four, six)
    bare = body[:at] + bytes(2) + body[at + 2 :]
    told = (rfc7915.checksum(before + bare) + wrong) % 0xFFFF or 0xFFFF
    full = body[:at] + struct.pack(">H", told) + body[at + 2 :]
    heads = header(0, len(body), 0, 0, 64, proto)[:12] + a.packed + b.packed, v6_header(len(body), proto, a6, b6)
    made = c.resum(*heads, len(body), proto, int(back), int.from_bytes(full[at : at + 2], "little"))
    made = int.from_bytes(made.to_bytes(2, "little"), "big")
    expected = int.from_bytes(rfc7915.resummed(full, proto, before, after)[at : at + 2], "big")
    assert made % 0xFFFF == expected % 0xFFFF
    assert proto != UDP or made != 0


def message(done: int, out: bytes) -> Message | None:
    return Message(*struct.unpack("=3I", out)) if done else None


EVERY = [(kind, code) for kind in range(256) for code in range(17)]
POINTERS = [0, *(at << 24 for at in range(1, 256))]


def test_every_message_to_6(c: ctypes.CDLL) -> None:
    for kind, code in EVERY:
        for rest in POINTERS if kind == 12 else [0, 0x12345678]:
            made = message(*raw(c, "icmp6", 12, kind, code, rest, 1500, 1500, 1400))
            assert made == rfc7915.message6(Message(kind, code, rest), 1500, Links(1500, 1400)), (kind, code, rest)


def test_every_message_to_4(c: ctypes.CDLL) -> None:
    for kind, code in EVERY:
        for rest in range(64) if kind == 4 else [0, 0x12345678]:
            made = message(*raw(c, "icmp4", 12, kind, code, rest, 1500, 1400))
            assert made == rfc7915.message4(Message(kind, code, rest), Links(1500, 1400)), (kind, code, rest)


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), links)
def test_mtu_for_an_ipv6_sender(c: ctypes.CDLL, told: int, size: int, links: Links) -> None:
    made = message(*raw(c, "icmp6", 12, 3, 4, told, size, links.v4, links.v6))
    assert made == Message(2, 0, rfc7915.mtu6(told, size, links))
    assert made.rest >= 1280


@given(st.integers(0, 2**32 - 1) | st.integers(0, 70000), links)
def test_mtu_for_an_ipv4_sender(c: ctypes.CDLL, told: int, links: Links) -> None:
    made = message(*raw(c, "icmp4", 12, 2, 0, told, links.v4, links.v6))
    assert made == Message(3, 4, rfc7915.mtu4(told, links))


@given(st.integers(0, 3000), st.integers(0, 600), st.sampled_from([0, 4, 8]), st.sampled_from([548, 1232, 2400]))
def test_shape_of_errors(c: ctypes.CDLL, quoted: int, extension: int, unit: int, room: int) -> None:
    _, out = raw(c, "reshape", 16, quoted, extension, unit, room)
    made = rfc7915.Shape(*struct.unpack("=4I", out))
    assert made == rfc7915.shape(quoted, extension, unit, room)
    assert made.padded + made.extension <= room
    assert made.words < 256


@given(st.sampled_from([TCP, UDP, ICMP]), st.binary(max_size=40), v4s, v4s, st.integers(1, 255))
def test_the_model_says_what_scapy_does(proto: int, data: bytes, a: IPv4Address, b: IPv4Address, ttl: int) -> None:
    from scapy.layers import inet, inet6

    a6, b6 = rfc7915.embed(OWN, a), rfc7915.embed(OWN, b)
    four, six = {
        TCP: (inet.TCP(sport=5, dport=6), inet.TCP(sport=5, dport=6)),
        UDP: (inet.UDP(sport=5, dport=6), inet.UDP(sport=5, dport=6)),
        ICMP: (inet.ICMP(id=5, seq=6), inet6.ICMPv6EchoRequest(id=5, seq=6)),
    }[proto]
    packet = bytes(inet.IP(src=str(a), dst=str(b), ttl=ttl, id=7) / four / data)
    expected = bytes(inet6.IPv6(src=str(a6), dst=str(b6), hlim=ttl) / six / data)
    head = rfc7915.header6(packet, a6, b6, 0)
    assert head == expected[:40]
    body = packet[20:]
    if proto == ICMP:
        told = Message(8, 0, int.from_bytes(body[4:8], "big"))
        said = rfc7915.message6(told, 0, Links())
        assert said is not None
        body = struct.pack(">BBxxI", said.type, said.code, said.rest) + body[8:]
        summed = rfc7915.checksum(rfc7915.pseudo(a6, b6, ICMP6, len(body)) + body)
        body = body[:2] + struct.pack(">H", summed) + body[4:]
    else:
        before, after = rfc7915.pseudo(a, b, proto, len(body)), rfc7915.pseudo(a6, b6, proto, len(body))
        body = rfc7915.resummed(body, proto, before, after)
    at = {TCP: 16, UDP: 6}.get(proto, 2)
    assert body[:at] + body[at + 2 :] == expected[40:][:at] + expected[40:][at + 2 :]
    assert (
        int.from_bytes(body[at : at + 2], "big") % 0xFFFF == int.from_bytes(expected[40 + at : 42 + at], "big") % 0xFFFF
    )
