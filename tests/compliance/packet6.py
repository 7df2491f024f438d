"""IPv6 packets to bytes and back, as packet.py for IPv4; what was seen has the same fields (`ttl`: the hop limit).

The law of this file: as packet.py's. An extension header is given as its kind and its bytes; the first is filled in.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv6Address

from tests.compliance.packet import FLAGS, TCP, UDP, Packet, _transport, ones

HOPOPTS, ROUTING, FRAGMENT, ESP, AH, ICMP6, NONE, DSTOPTS = 0, 43, 44, 50, 51, 58, 59, 60
UNREACHABLE6, TOO_BIG, EXCEEDED6, PARAMETER6 = 1, 2, 3, 4
ECHO6, REPLY6, QUERY6, SOLICIT, ADVERTISE, REPORT6 = 128, 129, 130, 135, 136, 143
PAD = bytes((0, 0, 1, 4, 0, 0, 0, 0))  # an option header of 8 bytes with nothing in it
Chain = tuple[tuple[int, bytes], ...]


def address6(text: str) -> bytes:
    return IPv6Address(text).packed


@dataclass(frozen=True)
class Ip6:
    """What a sender may set in the IPv6 header, and the extension headers behind it."""

    hops: int = 64
    kind: int = 0  # traffic class
    flow: int = 0
    chain: Chain = ()


def ip6(source: str, destination: str, proto: int, load: bytes, head: Ip6 | None = None) -> bytes:
    """An IPv6 packet."""
    h = head or Ip6()
    kinds = [*(kind for kind, _ in h.chain), proto]
    body = b"".join(bytes((kinds[at + 1],)) + raw[1:] for at, (_, raw) in enumerate(h.chain)) + load
    word = 6 << 28 | h.kind << 20 | h.flow
    return struct.pack("!IHBB", word, len(body), kinds[0], h.hops) + address6(source) + address6(destination) + body


def _pseudo(source: str, destination: str, proto: int, size: int) -> bytes:
    return address6(source) + address6(destination) + struct.pack("!IHBB", size, 0, 0, proto)


def udp6(source: str, sport: int, destination: str, dport: int, data: bytes = b"", head: Ip6 | None = None) -> bytes:
    raw = struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data
    total = ones(_pseudo(source, destination, UDP, len(raw)) + raw) or 0xFFFF
    return ip6(source, destination, UDP, raw[:6] + struct.pack("!H", total) + data, head)


def tcp6(
    source: str, sport: int, destination: str, dport: int, flags: str, seq: int = 0, ack: int = 0, data: bytes = b"",
    head: Ip6 | None = None,
) -> bytes:  # fmt: skip
    bits = sum(1 << FLAGS.index(one) for one in flags)
    raw = struct.pack("!HHIIBBHHH", sport, dport, seq % 2**32, ack % 2**32, 5 << 4, bits, 8192, 0, 0) + data
    total = ones(_pseudo(source, destination, TCP, len(raw)) + raw)
    return ip6(source, destination, TCP, raw[:16] + struct.pack("!H", total) + raw[18:], head)


def icmp6(source: str, destination: str, kind: int, code: int, rest: bytes, data: bytes = b"",
          head: Ip6 | None = None) -> bytes:  # fmt: skip
    """`rest`: the second word of its header."""
    raw = struct.pack("!BBH", kind, code, 0) + rest + data
    total = ones(_pseudo(source, destination, ICMP6, len(raw)) + raw)
    return ip6(source, destination, ICMP6, raw[:2] + struct.pack("!H", total) + raw[4:], head)


def echo6(source: str, destination: str, ident: int, data: bytes = b"ping", *, reply: bool = False,
          head: Ip6 | None = None) -> bytes:  # fmt: skip
    return icmp6(source, destination, REPLY6 if reply else ECHO6, 0, struct.pack("!HH", ident, 1), data, head)


def error6(source: str, destination: str, quoted: bytes, kind: int = UNREACHABLE6, code: int = 4,
           mtu: int = 0) -> bytes:  # fmt: skip
    """An error about `quoted`, as much of it as fits into 1280 bytes (RFC 4443 section 2.4)."""
    return icmp6(source, destination, kind, code, struct.pack("!I", mtu), quoted[: 1280 - 48])


def solicit(source: str, mac: bytes, target: str, to: str) -> bytes:
    """A neighbour's question for the MAC of `target` (RFC 4861)."""
    return icmp6(source, to, SOLICIT, 0, bytes(4), address6(target) + b"\1\1" + mac, Ip6(255))


def advertise(target: str, mac: bytes, to: str) -> bytes:
    """Its answer."""
    return icmp6(target, to, ADVERTISE, 0, b"\x60\0\0\0", address6(target) + b"\2\1" + mac, Ip6(255))


def piece(packet: bytes, offset: int, load: bytes, ident: int, more: bool) -> bytes:
    """A fragment of `packet`, whose IPv6 header it has, with these bytes at this place."""
    head = struct.pack("!BBHI", packet[6], 0, offset | more, ident)
    return packet[:4] + struct.pack("!HB", len(head) + len(load), FRAGMENT) + packet[7:40] + head + load


def fragments6(packet: bytes, size: int, ident: int) -> list[bytes]:
    """The packet in fragments of `size` bytes (a multiple of 8)."""
    load = packet[40:]
    return [
        piece(packet, at, load[at : at + size], ident, at + size < len(load)) for at in range(0, len(load), size)
    ]  # fmt: skip


def parse6(raw: bytes, *, quoted: bool = False) -> Packet:
    """Read the bytes of an IPv6 packet; of a quote only what is there. Of a fragment `data` is its own."""
    p = Packet(raw)
    _, size, p.proto, p.ttl = struct.unpack("!IHBB", raw[:8])
    p.source, p.destination = str(IPv6Address(raw[8:24])), str(IPv6Address(raw[24:40]))
    load = raw[40:] if quoted else raw[40 : 40 + size]
    while p.proto in (HOPOPTS, ROUTING, DSTOPTS, FRAGMENT) and len(load) >= 8:
        kind, p.proto = p.proto, load[0]
        if kind == FRAGMENT:
            word, p.ident = struct.unpack("!HI", load[2:8])
            p.offset, p.mf = word & 0xFFF8, bool(word & 1)
        load = load[8 if kind == FRAGMENT else 8 + load[1] * 8 :]
        if p.fragment:
            p.data = load
            return p
    if p.proto == ICMP6 and len(load) >= 8:
        _icmp(p, load, check=not quoted)
    elif len(load) >= 8:
        _transport(p, load, check=False)
        if p.proto in (TCP, UDP) and not quoted and ones(_pseudo(p.source, p.destination, p.proto, len(load)) + load):
            p.wrong.append("TCP" if p.proto == TCP else "UDP")
    else:
        p.data = load
    return p


def _icmp(p: Packet, load: bytes, *, check: bool) -> None:
    p.kind, p.code, p.data = load[0], load[1], load[8:]
    if check and ones(_pseudo(p.source, p.destination, ICMP6, len(load)) + load):
        p.wrong.append("ICMPv6")
    if UNREACHABLE6 <= p.kind <= PARAMETER6:
        p.mtu = struct.unpack("!I", load[4:8])[0]
        if len(p.data) >= 48:
            p.quote = parse6(p.data, quoted=True)
    elif p.kind in (ECHO6, REPLY6):
        p.sport = p.dport = struct.unpack("!H", load[4:6])[0]


def joined6(parts: list[Packet]) -> Packet | None:
    """The whole packet, checksums verified, of overlaps the first that came; None while a byte is missing."""
    last = [part for part in parts if not part.mf]
    if not last:
        return None
    size = last[0].offset + len(last[0].data)
    whole, known = bytearray(size), bytearray(size)
    for part in parts:
        for place, byte in enumerate(part.data[: size - part.offset]):
            if not known[part.offset + place]:
                whole[part.offset + place], known[part.offset + place] = byte, 1
    first = parts[0]
    if not all(known):
        return None
    return parse6(ip6(first.source, first.destination, first.proto, bytes(whole), Ip6(first.ttl)))


def hop_further(packet: bytes) -> bytes:
    """The same packet after one hop: nothing else may have changed."""
    return packet[:7] + bytes((packet[7] - 1,)) + packet[8:]
