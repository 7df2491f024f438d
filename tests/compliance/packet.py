"""IPv4 packets to bytes and back: the vocabulary of the scenarios.

The law of this file: bytes in, bytes out, fast enough for a hundred thousand packets. It knows no socket, no gateway.
All sums are computed here; scapy is their oracle in tests/bpf.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

ICMP, TCP, UDP, DCCP, GRE, ESP, SCTP = 1, 6, 17, 33, 47, 50, 132
ECHO_REPLY, UNREACHABLE, QUENCH, ECHO, EXCEEDED, PARAMETER = 0, 3, 4, 8, 11, 12
PORT_UNREACHABLE, FRAG_NEEDED, PROHIBITED = 3, 4, 13
FLAGS = "FSRPAUEC"
ERRORS = (UNREACHABLE, QUENCH, EXCEEDED, PARAMETER)


def ones(data: bytes) -> int:
    """The Internet checksum, RFC 1071."""
    if len(data) & 1:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def address(text: str) -> bytes:
    return IPv4Address(text).packed


@dataclass(frozen=True)
class Ip:
    """What a sender may set in the IP header. `offset` is in bytes."""

    ttl: int = 64
    ident: int = 7
    df: bool = False
    mf: bool = False
    offset: int = 0
    options: bytes = b""
    bad_sum: bool = False


def ip(source: str, destination: str, proto: int, load: bytes, head: Ip | None = None) -> bytes:
    """An IPv4 packet."""
    h = head or Ip()
    words = 5 + len(h.options) // 4
    flags = (0x4000 if h.df else 0) | (0x2000 if h.mf else 0) | h.offset // 8
    raw = struct.pack("!BBHHHBBH", 0x40 | words, 0, words * 4 + len(load), h.ident, flags, h.ttl, proto, 0)
    raw += address(source) + address(destination) + h.options
    total = ones(raw) ^ (0x5555 if h.bad_sum else 0)
    return raw[:10] + struct.pack("!H", total) + raw[12:] + load


def _pseudo(source: str, destination: str, proto: int, size: int) -> bytes:
    return address(source) + address(destination) + struct.pack("!BBH", 0, proto, size)


def udp(
    source: str,
    sport: int,
    destination: str,
    dport: int,
    data: bytes = b"",
    head: Ip | None = None,
    no_sum: bool = False,
) -> bytes:
    """A UDP packet; `no_sum` sends a checksum of 0 (none, RFC 768)."""
    raw = struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data
    total = ones(_pseudo(source, destination, UDP, len(raw)) + raw) or 0xFFFF
    raw = raw[:6] + struct.pack("!H", 0 if no_sum else total) + data
    return ip(source, destination, UDP, raw, head)


def tcp(
    source: str,
    sport: int,
    destination: str,
    dport: int,
    flags: str,
    seq: int = 0,
    ack: int = 0,
    data: bytes = b"",
    head: Ip | None = None,
    options: bytes = b"",
    window: int = 8192,
    urgent: int = 0,
    bad_sum: bool = False,
) -> bytes:
    """A TCP segment; `options`: a multiple of 4 bytes, `flags`: letters of FLAGS."""
    bits = sum(1 << FLAGS.index(one) for one in flags)
    offset = (5 + len(options) // 4) << 4
    numbers = (sport, dport, seq % 2**32, ack % 2**32, offset, bits, window, 0, urgent)
    raw = struct.pack("!HHIIBBHHH", *numbers) + options + data
    total = ones(_pseudo(source, destination, TCP, len(raw)) + raw) ^ (0x5555 if bad_sum else 0)
    return ip(source, destination, TCP, raw[:16] + struct.pack("!H", total) + raw[18:], head)


def icmp(
    source: str, destination: str, kind: int, code: int, rest: bytes, data: bytes = b"", head: Ip | None = None,
    bad_sum: bool = False,
) -> bytes:  # fmt: skip
    """An ICMP message; `rest` is the second word of its header."""
    raw = struct.pack("!BBH", kind, code, 0) + rest + data
    total = ones(raw) ^ (0x5555 if bad_sum else 0)
    return ip(source, destination, ICMP, raw[:2] + struct.pack("!H", total) + raw[4:], head)


def echo(source: str, destination: str, ident: int, seq: int = 1, data: bytes = b"ping", *, reply: bool = False,
         head: Ip | None = None) -> bytes:  # fmt: skip
    kind = ECHO_REPLY if reply else ECHO
    return icmp(source, destination, kind, 0, struct.pack("!HH", ident, seq), data, head)


def error(
    source: str, destination: str, quoted: bytes, kind: int = UNREACHABLE, code: int = PORT_UNREACHABLE,
    size: int | None = 8, mtu: int = 0, bad_sum: bool = False,
) -> bytes:  # fmt: skip
    """An ICMP error about `quoted`; it quotes the header and `size` bytes (None: up to 548 bytes in all)."""
    header = (quoted[0] & 15) * 4
    quote = quoted[:548] if size is None else quoted[: header + size]
    return icmp(source, destination, kind, code, struct.pack("!HH", 0, mtu), quote, bad_sum=bad_sum)


def fragments(packet: bytes, size: int) -> list[bytes]:
    """The packet in fragments of `size` bytes of payload (a multiple of 8)."""
    header, load = (packet[0] & 15) * 4, packet[(packet[0] & 15) * 4 :]
    seen = parse(packet)
    made = []
    for at in range(0, len(load), size):
        head = Ip(seen.ttl, seen.ident, mf=at + size < len(load), offset=at, options=packet[20:header])
        made.append(ip(seen.source, seen.destination, seen.proto, load[at : at + size], head))
    return made


@dataclass
class Packet:
    """A packet as it was seen. For ICMP echo both ports are the identifier. `wrong`: the wrong checksums."""

    raw: bytes
    source: str = ""
    destination: str = ""
    proto: int = 0
    ttl: int = 0
    ident: int = 0
    df: bool = False
    mf: bool = False
    offset: int = 0
    sport: int = 0
    dport: int = 0
    flags: str = ""
    seq: int = 0
    ack: int = 0
    kind: int = -1
    code: int = -1
    mtu: int = 0
    data: bytes = b""
    options: bytes = b""
    window: int = 0
    urgent: int = 0
    gso: int = 0  # size of the segments that were merged into this, 0: none were
    quote: Packet | None = None
    wrong: list[str] = field(default_factory=list)

    @property
    def fragment(self) -> bool:
        return self.mf or self.offset > 0

    def said(self) -> str:
        """One line for a reason; without random ports, so that every run writes the same report."""
        name = {ICMP: f"ICMP {self.kind}/{self.code}", TCP: f"TCP {self.flags}", UDP: "UDP"}
        return f"{name.get(self.proto, f'protocol {self.proto}')} from {self.source}"


def parse(raw: bytes, *, quoted: bool = False) -> Packet:
    """Read the bytes of an IP packet. Of a quote, read only what is there, and skip transport checksums."""
    p = Packet(raw)
    header = (raw[0] & 15) * 4
    size, p.ident, flags, p.ttl, p.proto = struct.unpack("!HHHBB", raw[2:10])
    p.source, p.destination = str(IPv4Address(raw[12:16])), str(IPv4Address(raw[16:20]))
    p.df, p.mf, p.offset = bool(flags & 0x4000), bool(flags & 0x2000), (flags & 0x1FFF) * 8
    if ones(raw[:header]):
        p.wrong.append("IP header")
    if not quoted:
        raw = raw[:size]
    load = raw[header:]
    if p.offset == 0 and len(load) >= 8:
        _transport(p, load, check=not quoted and not p.mf)
    else:
        p.data = load
    return p


def _transport(p: Packet, load: bytes, *, check: bool) -> None:
    pseudo = _pseudo(p.source, p.destination, p.proto, len(load)) if check else b""
    if p.proto in (TCP, UDP):
        p.sport, p.dport = struct.unpack("!HH", load[:4])
    if p.proto == UDP:
        p.data = load[8:]
        if check and load[6:8] != b"\0\0" and ones(pseudo + load):
            p.wrong.append("UDP")
    elif p.proto == TCP and len(load) >= 20:
        p.seq, p.ack, words, bits, p.window, _, p.urgent = struct.unpack("!IIBBHHH", load[4:20])
        p.flags = "".join(one for place, one in enumerate(FLAGS) if bits >> place & 1)
        p.options, p.data = load[20 : (words >> 4) * 4], load[(words >> 4) * 4 :]
        if check and ones(pseudo + load):
            p.wrong.append("TCP")
    elif p.proto == TCP:
        p.seq = struct.unpack("!I", load[4:8])[0]
    elif p.proto == ICMP:
        p.kind, p.code = load[0], load[1]
        p.data = load[8:]
        if check and ones(load):
            p.wrong.append("ICMP")
        if p.kind in ERRORS:
            p.mtu = struct.unpack("!H", load[6:8])[0]
            if len(p.data) >= 28:
                p.quote = parse(p.data, quoted=True)
        else:
            p.sport = p.dport = struct.unpack("!H", load[4:6])[0]


def join(parts: list[Packet]) -> bytes | None:
    """The IP payload of a fragmented packet, of overlaps the first that came; None while a byte is missing."""
    last = [part for part in parts if not part.mf]
    if not last or any(part.offset == 0 for part in parts) is False:
        return None
    size = last[0].offset + len(last[0].raw) - (last[0].raw[0] & 15) * 4
    whole, known = bytearray(size), bytearray(size)
    for part in parts:
        load = part.raw[(part.raw[0] & 15) * 4 :]
        for place, byte in enumerate(load):
            at = part.offset + place
            if at < size and not known[at]:
                whole[at], known[at] = byte, 1
    return bytes(whole) if all(known) else None


def joined(parts: list[Packet]) -> Packet | None:
    """The whole packet, checksums verified; None while a byte is missing."""
    load = join(parts)
    if load is None:
        return None
    first = parts[0]
    return replace(parse(ip(first.source, first.destination, first.proto, load, Ip(first.ttl, first.ident))))
