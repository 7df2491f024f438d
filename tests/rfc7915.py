"""Translation between IPv4 and IPv6 as RFC 7915 and RFC 6052 say it, sums computed afresh: an oracle.

The law of this file: it imports nothing of algate, so that an error there can't repeat itself here. Packets begin at
the IP header. None: the packet has no counterpart, or may not go on.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

ICMP, TCP, UDP, FRAGMENT, ICMP6 = 1, 6, 17, 44, 58
WELL_KNOWN = IPv6Network("64:ff9b::/96")
NOT_GLOBAL = [
    IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/3",
    )
]  # fmt: skip
PLATEAUS = [65535, 32000, 17914, 8166, 4352, 2002, 1492, 1280]

UNREACHABLE6 = {  # ICMP code -> ICMPv6 type and code, of type 3 (section 4.2)
    0: (1, 0), 1: (1, 0), 2: (4, 1), 3: (1, 4), 4: (2, 0), 5: (1, 0), 6: (1, 0), 7: (1, 0), 8: (1, 0), 9: (1, 1),
    10: (1, 1), 11: (1, 0), 12: (1, 0), 13: (1, 1), 15: (1, 1),
}  # fmt: skip
UNREACHABLE4 = {0: (3, 1), 1: (3, 10), 2: (3, 1), 3: (3, 1), 4: (3, 3)}  # ICMPv6 code of type 1 (section 5.2)
POINTER6 = {0: 0, 1: 1, 2: 4, 3: 4, 8: 7, 9: 6} | dict.fromkeys(range(12, 16), 8) | dict.fromkeys(range(16, 20), 24)
POINTER4 = {0: 0, 1: 1, 4: 2, 5: 2, 6: 9, 7: 8} | dict.fromkeys(range(8, 24), 12) | dict.fromkeys(range(24, 40), 16)


@dataclass(frozen=True)
class Links:
    """MTUs of the next hops."""

    v4: int = 1500
    v6: int = 1500


@dataclass(frozen=True)
class Message:
    """Type, code and the 4 bytes after the checksum."""

    type: int
    code: int
    rest: int


def embed(prefix: IPv6Network, v4: IPv4Address) -> IPv6Address:
    """RFC 6052 section 2.2: the bytes of the IPv4 address after the prefix, leaping over the ninth."""
    out = bytearray(prefix.network_address.packed)
    at = prefix.prefixlen // 8
    for byte in v4.packed:
        at += at == 8
        out[at] = byte
        at += 1
    return IPv6Address(bytes(out))


def extract(prefix: IPv6Network, ip: IPv6Address) -> IPv4Address | None:
    """Only what `embed` makes is an address of the prefix."""
    at, found = prefix.prefixlen // 8, bytearray()
    while len(found) < 4:
        at += at == 8
        found.append(ip.packed[at])
        at += 1
    v4 = IPv4Address(bytes(found))
    return v4 if embed(prefix, v4) == ip else None


def is_global(v4: IPv4Address) -> bool:
    return not any(v4 in net for net in NOT_GLOBAL)


def checksum(data: bytes) -> int:
    """RFC 1071."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def mtu6(told: int, size: int, links: Links) -> int:
    path = told + 20 if told else next((one for one in PLATEAUS if one < size), 1280)
    return max(1280, min(path, links.v6, links.v4 + 20))


def mtu4(told: int, links: Links) -> int:
    return min(max(68, min(told, links.v6) - 20), links.v4, 0xFFFF)


def message6(one: Message, size: int, links: Links) -> Message | None:
    """ICMP to ICMPv6; `size`: the length in the header of the packet that an error quotes."""
    if one.type in (0, 8):
        return Message({8: 128, 0: 129}[one.type], 0, one.rest)
    if one.type == 3 and one.code in UNREACHABLE6:
        kind, code = UNREACHABLE6[one.code]
        return Message(kind, code, {4: 6, 2: mtu6(one.rest & 0xFFFF, size, links)}.get(kind, 0))
    if one.type == 11 and one.code in (0, 1):
        return Message(3, one.code, 0)
    if one.type == 12 and one.code in (0, 2) and one.rest >> 24 in POINTER6:
        return Message(4, 0, POINTER6[one.rest >> 24])
    return None


def message4(one: Message, links: Links) -> Message | None:
    """ICMPv6 to ICMP."""
    if one.type in (128, 129):
        return Message({128: 8, 129: 0}[one.type], 0, one.rest)
    if one.type == 1 and one.code in UNREACHABLE4:
        return Message(*UNREACHABLE4[one.code], 0)
    if one.type == 2:
        return Message(3, 4, mtu4(one.rest, links))
    if one.type == 3 and one.code in (0, 1):
        return Message(11, one.code, 0)
    if one.type == 4 and one.code == 1:
        return Message(3, 2, 0)
    if one.type == 4 and one.code == 0 and one.rest in POINTER4:
        return Message(12, 0, POINTER4[one.rest] << 24)
    return None


def header6(ip: bytes, source: IPv6Address, destination: IPv6Address, hop: int) -> bytes | None:
    """The headers in place of an IPv4 header, whose total length counts."""
    tos, size, ident, place = ip[1], *struct.unpack(">HHH", ip[2:8])
    ttl, proto, left = ip[8], ip[9], size - 4 * (ip[0] & 15)
    proto = ICMP6 if proto == ICMP else proto
    if hop and ttl <= hop:
        return None
    fragment = b""
    if place & 0x3FFF:
        fragment = struct.pack(">BBHI", proto, 0, (place & 0x1FFF) << 3 | place >> 13 & 1, ident)
        proto = FRAGMENT
    head = struct.pack(">IHBB", 6 << 28 | tos << 20, left + len(fragment), proto, ttl - hop)
    return head + source.packed + destination.packed + fragment


def header4(ip: bytes, source: IPv4Address, destination: IPv4Address, hop: int, ident: int = 0) -> bytes | None:
    """The header in place of an IPv6 one and a fragment header, if it comes next. `ident`: for packets that get one."""
    word, left, proto, ttl = struct.unpack(">IHBB", ip[:8])
    if hop and ttl <= hop:
        return None
    if proto == FRAGMENT:
        proto, _, place, number = struct.unpack(">BBHI", ip[40:48])
        left -= 8
        ident, flags = number & 0xFFFF, place >> 3 | (place & 1) << 13
    else:
        flags = 0 if left + 20 <= 1260 else 0x4000
        ident = 0 if flags else ident
    proto = ICMP if proto == ICMP6 else proto
    head = struct.pack(">BBHHHBBH", 0x45, word >> 20 & 0xFF, left + 20, ident, flags, ttl - hop, proto, 0)
    head += source.packed + destination.packed
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:]


def pseudo(source: IPv4Address | IPv6Address, destination: IPv4Address | IPv6Address, proto: int, size: int) -> bytes:
    tail = struct.pack(">BBH", 0, proto, size) if source.version == 4 else struct.pack(">IxxxB", size, proto)
    return source.packed + destination.packed + tail


def resummed(body: bytes, proto: int, before: bytes, after: bytes) -> bytes:
    """A whole TCP segment, UDP datagram or echo under another pseudo header; wrong sums stay wrong by as much."""
    at = {TCP: 16, UDP: 6}.get(proto, 2)
    told = struct.unpack(">H", body[at : at + 2])[0]
    bare = body[:at] + bytes(2) + body[at + 2 :]
    new = (told + checksum(after + bare) - checksum(before + bare)) % 0xFFFF
    # 0 and 0xFFFF are the same number: a sum over something is never 0 before its complement is taken
    if new == 0 and proto == UDP:
        new = 0xFFFF
    return body[:at] + struct.pack(">H", new) + body[at + 2 :]


@dataclass(frozen=True)
class Shape:
    """What follows the 8 bytes of a translated error."""

    quoted: int
    padded: int
    extension: int
    words: int


def shape(quoted: int, extension: int, unit: int, room: int) -> Shape:
    """RFC 4884: extensions keep their place behind a quote of a multiple of `unit` bytes, at least 128, if all that
    fits; `unit` 0: the message has no length field. The quote gives way first."""
    if not extension or not unit or 128 + extension > room:
        return Shape(min(quoted, room), min(quoted, room), 0, 0)
    padded = max(128, -(-quoted // unit) * unit)
    while padded + extension > room or padded // unit > 255:
        padded -= unit
    return Shape(min(quoted, padded), padded, extension, padded // unit)
