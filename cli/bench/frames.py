"""Frames for test-runs: Ethernet, IPv4 and one of UDP, TCP, ICMP, with correct checksums.

The law of this file: pure; values in, bytes out. It is for measurements; tests have their own oracle.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

TCP, UDP, ICMP = 6, 17, 1
SYN, ACK, PSH_ACK, SYN_ACK = 0x02, 0x10, 0x18, 0x12
ETHERNET = 14
UNREACHABLE = bytes([3, 1])  # host unreachable
MORE, DONT = 0x2000, 0x4000  # flags of the fragment field


@dataclass(frozen=True, slots=True)
class Way:
    """Who sends to whom, between which devices."""

    source: str
    source_port: int
    destination: str
    destination_port: int
    source_mac: bytes
    destination_mac: bytes

    def to(self, source_port: int) -> Way:
        """The same from another port."""
        return replace(self, source_port=source_port)


def checksum(data: bytes) -> int:
    """RFC 1071."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def packet(way: Way, proto: int, load: bytes, *, ident: int = 0, fragment: int = DONT) -> bytes:
    """The frame around an IP payload. `fragment`: flags and offset in units of 8 bytes."""
    ends = IPv4Address(way.source).packed + IPv4Address(way.destination).packed
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(load), ident, fragment, 64, proto, 0)
    total = checksum(head + ends)
    ethernet = way.destination_mac + way.source_mac + b"\x08\x00"
    return ethernet + head[:10] + total.to_bytes(2, "big") + ends + load


def _summed(way: Way, proto: int, load: bytes, at: int) -> bytes:
    """`load` with its checksum at offset `at`, pseudo header included."""
    ends = IPv4Address(way.source).packed + IPv4Address(way.destination).packed
    total = checksum(ends + struct.pack("!HH", proto, len(load)) + load)
    return load[:at] + total.to_bytes(2, "big") + load[at + 2 :]


def over6(way: Way, frame: bytes) -> bytes:
    """A frame of UDP or TCP between these IPv6 ends, with the payload and the ports of one over IPv4."""
    load, proto = frame[ETHERNET + 20 :], frame[ETHERNET + 9]
    at = 6 if proto == UDP else 16
    ends = IPv6Address(way.source).packed + IPv6Address(way.destination).packed
    bare = load[:at] + bytes(2) + load[at + 2 :]
    total = checksum(ends + struct.pack("!II", len(load), proto) + bare)
    head = way.destination_mac + way.source_mac + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, len(load), proto, 64)
    return head + ends + bare[:at] + total.to_bytes(2, "big") + bare[at + 2 :]


def udp(way: Way, load: bytes) -> bytes:
    head = struct.pack("!HHHH", way.source_port, way.destination_port, 8 + len(load), 0)
    return packet(way, UDP, _summed(way, UDP, head + load, 6))


def tcp(way: Way, load: bytes, flags: int, seq: int, ack: int, options: bytes = b"") -> bytes:
    """`options`: whole words."""
    words = 5 + len(options) // 4
    head = struct.pack("!HHIIBBHHH", way.source_port, way.destination_port, seq, ack, words << 4, flags, 501, 0, 0)
    return packet(way, TCP, _summed(way, TCP, head + options + load, 16))


def icmp_error(way: Way, quoted: bytes) -> bytes:
    """Host unreachable about the frame `quoted`, all of it quoted."""
    body = UNREACHABLE + bytes(6) + quoted[ETHERNET:]
    return packet(way, ICMP, body[:2] + checksum(body).to_bytes(2, "big") + body[4:])


def tail(way: Way, load: bytes, ident: int) -> bytes:
    """The last fragment of a packet whose head had 64 bytes of payload."""
    return packet(way, UDP, load, ident=ident, fragment=64 // 8)


def head(way: Way, ident: int) -> bytes:
    """The first fragment, 64 bytes of payload."""
    body = struct.pack("!HHHH", way.source_port, way.destination_port, 128, 0) + bytes(56)
    return packet(way, UDP, body, ident=ident, fragment=MORE)
