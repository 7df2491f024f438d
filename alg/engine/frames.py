"""TCP and UDP frames for the TAP device: judge a checksum, finish one, read a header, build a segment or a datagram.

The law of this file: bytes in, bytes out; it knows Ethernet, IPv4, IPv6, TCP and UDP, nothing of sessions or streams. A
frame of the helper begins with an Ethernet header whose first byte is the inject kind; checksums in it are complete.
"""

from __future__ import annotations

import struct
from typing import Final, final

from algate.alg.plugin.fixed import Fixed

from .digest import summed

FIN: Final = 1
SYN: Final = 2
RST: Final = 4
PSH: Final = 8
ACK: Final = 16
URG: Final = 32
ECE: Final = 64
CWR: Final = 128

number: Final = int.from_bytes  # to look it up in its class each time takes as long as to call it

GOOD: Final = 0  # of a checksum, and of a frame that can't have one
UNFINISHED: Final = 1
BAD: Final = 2
MALFORMED: Final = 3
TCP_PROTO: Final = 6
UDP_PROTO: Final = 17
UDP_HEADER: Final = 8  # bytes

OWN_OPTIONS: Final = 12  # bytes of TCP options that build() may write
_DEFAULT_MSS: Final = 536  # RFC 9293 section 3.7.1
_MAC_REST: Final = bytes(5) + b"\x02algat"  # locally administered, and rubbish on purpose
_ETHERNET: Final = {
    (kind, version): bytes([kind]) + _MAC_REST + ethertype
    for kind in (0x12, 0x22, 0x32, 0x42)
    for version, ethertype in ((4, b"\x08\x00"), (6, b"\x86\xdd"))
}
_ETHERNET_SIZE: Final = 14
_IPV4: Final = struct.Struct("!BBHHHBBH")
_IPV6: Final = struct.Struct("!IHBB")
_UDP: Final = struct.Struct("!HHHH")
_TCP: Final = struct.Struct("!HHIIBBHHH")
_TIMESTAMPS: Final = struct.Struct("!III")
_NOP_NOP_TS: Final = 0x0101_080A  # RFC 7323 appendix A
_LAYOUT_TS: Final = b"\x01\x01\x08\x0a"


@final
class Header(Fixed):
    """What a built segment takes from its model: end points, acknowledgement, window, timestamps, IP niceties."""

    __match_args__: Final = (
        "src", "dst", "sport", "dport", "ack", "window", "timestamps", "tos", "ttl", "ident", "dont_fragment",
        "flags",
    )  # fmt: skip

    def __init__(
        self, src: bytes, dst: bytes, sport: int, dport: int, ack: int, window: int,
        timestamps: tuple[int, int] | None = None, tos: int = 0, ttl: int = 64, ident: int = 0,
        dont_fragment: bool = True, flags: int = 0,
    ) -> None:  # fmt: skip
        self.src: Final = src
        self.dst: Final = dst
        self.sport: Final = sport
        self.dport: Final = dport
        self.ack: Final = ack
        self.window: Final = window
        self.timestamps: Final = timestamps  # TSval, TSecr
        self.tos: Final = tos
        self.ttl: Final = ttl
        self.ident: Final = ident
        self.dont_fragment: Final = dont_fragment
        self.flags: Final = flags  # ECE and CWR of the model

    @property
    def options_size(self) -> int:
        """Bytes of TCP options that build() writes."""
        return 12 if self.timestamps else 0


def tcp_offset(frame: bytes, ip: int) -> int:
    """Where the TCP or UDP header starts: after the IPv4 header with its options, or a bare IPv6 header."""
    first = frame[ip]
    return ip + (first & 15) * 4 if first >> 4 == 4 else ip + 40


def _proto(frame: bytes, ip: int) -> int:
    return frame[ip + 9] if frame[ip] >> 4 == 4 else frame[ip + 6]


def _pseudo(frame: bytes, ip: int, size: int, proto: int) -> int:
    """Sum of the pseudo header, but for multiples of 0xFFFF. RFC 9293 section 3.1, RFC 8200 section 8.1."""
    if frame[ip] >> 4 != 4 or len(frame) < ip + 20:
        return summed(frame, ip + 8, ip + 40) + proto + size
    high = frame[ip + 12] + frame[ip + 14] + frame[ip + 16] + frame[ip + 18]
    low = frame[ip + 13] + frame[ip + 15] + frame[ip + 17] + frame[ip + 19]
    return (high << 8) + low + proto + size


def checksum_state(frame: bytes, ip: int, tcp: int, end: int) -> int:
    """GOOD, UNFINISHED (exactly the pseudo header's sum, as a sender with checksum offload leaves it) or BAD.

    A datagram without a checksum is GOOD (RFC 768).
    """
    proto, at = _proto(frame, ip), tcp + 16
    if proto == UDP_PROTO:
        at = tcp + 6
        if frame[at : at + 2] == b"\0\0":
            return GOOD
    pseudo = _pseudo(frame, ip, end - tcp, proto)
    if (summed(frame, tcp, end) + pseudo) % 0xFFFF == 0:
        return GOOD
    field = frame[at] << 8 | frame[at + 1]
    return UNFINISHED if (field - pseudo) % 0xFFFF == 0 else BAD


def examined(frame: bytes, ip: int, start: int, end: int) -> tuple[int, int | None]:
    """checksum_state() of a TCP segment whose payload is start to end, and its TSval. MALFORMED if the headers from
    `ip` on don't reach to the payload."""
    if not (start <= end <= len(frame) and ip + 40 <= start):
        return MALFORMED, None
    tcp = tcp_offset(frame, ip)
    if tcp + 20 > start or tcp + (frame[tcp + 12] >> 4) * 4 != start or frame[ip] >> 4 not in (4, 6):
        return MALFORMED, None
    stamps = timestamps(frame, tcp)
    return checksum_state(frame, ip, tcp, end), stamps[0] if stamps is not None else None


def finish_checksum(frame: bytes, ip: int, end: int) -> bytes:
    """The frame up to `end` with its TCP or UDP checksum computed afresh; a datagram may have none (RFC 768)."""
    proto = _proto(frame, ip)
    start = tcp_offset(frame, ip)
    at = start + (16 if proto == TCP_PROTO else 6)
    if proto == UDP_PROTO and frame[at : at + 2] == b"\0\0":
        return frame[:end]
    size = end - start
    total = summed(frame, start, end) - summed(frame, at, min(at + 2, end))  # there the new one goes
    value = 0xFFFF - (total + _pseudo(frame, ip, size, proto)) % 0xFFFF
    return frame[:at] + value.to_bytes(2, "big") + frame[at + 2 : end]


def readdress(kind: int, frame: bytes, ip: int, end: int) -> bytes:
    """The frame's packet behind an Ethernet header of that inject kind; link-layer padding is left off."""
    return _ETHERNET[kind, frame[ip] >> 4] + frame[ip:end]


def payload_limit(mss: tuple[int, int] | None, options: int, room: int) -> int:
    """Largest payload of a segment that the gateway cuts itself, with so many bytes of options: the smaller of both
    ends' MSS bounds it (RFC 9293 section 3.7.1, RFC 6691), and the `room` behind the headers that its way has."""
    return min(_agreed_limit(mss, options), max(8, room - options))


def _agreed_limit(mss: tuple[int, int] | None, options: int) -> int:
    return max(64, min(mss or (_DEFAULT_MSS,)) - options)


def payload_limit_of(
    mss: tuple[int, int] | None, receiver: int, room: int, frame: bytes, ip: int, start: int, size: int
) -> int:
    """The same for what came as one segment of `size` bytes, which its receiver's own MSS bounds."""
    tcp = tcp_offset(frame, ip)
    options = start - tcp - 20
    room -= tcp - ip - (20 if frame[ip] >> 4 == 4 else 40)  # IP options stay
    own = payload_limit(mss, options, room)
    return size if own < size <= min(mss[receiver] if mss else _DEFAULT_MSS, room) - options else own


def packet_end(frame: bytes, ip: int) -> int:
    """Where the IP packet ends in the frame, by its own length field."""
    if frame[ip] >> 4 == 4:
        return ip + (frame[ip + 2] << 8 | frame[ip + 3])
    return ip + 40 + (frame[ip + 4] << 8 | frame[ip + 5])


def urgent_pointer(frame: bytes, ip: int) -> int:
    """From the segment's sequence number to the byte after the urgent one. RFC 6093 section 3.1."""
    tcp = tcp_offset(frame, ip)
    return frame[tcp + 18] << 8 | frame[tcp + 19]


def timestamps(frame: bytes, tcp: int) -> tuple[int, int] | None:
    """TSval and TSecr of a TCP header, None without the option or with broken options. RFC 7323 section 3.2."""
    size = (frame[tcp + 12] >> 4) * 4
    if size == 20:
        return None
    if size == 32 and frame[tcp + 20 : tcp + 24] == _LAYOUT_TS:
        value = frame[tcp + 24] << 24 | frame[tcp + 25] << 16 | frame[tcp + 26] << 8 | frame[tcp + 27]
        return value, frame[tcp + 28] << 24 | frame[tcp + 29] << 16 | frame[tcp + 30] << 8 | frame[tcp + 31]
    at, end = tcp + 20, tcp + size
    while at < end and frame[at] != 0:
        if frame[at] == 1:
            at += 1
            continue
        if at + 1 >= end or frame[at + 1] < 2 or at + frame[at + 1] > end:
            return None
        if frame[at] == 8 and frame[at + 1] == 10:
            return number(frame[at + 2 : at + 6], "big"), number(frame[at + 6 : at + 10], "big")
        at += frame[at + 1]
    return None


def read_header(frame: bytes, ip: int) -> Header:
    """The header of a received TCP frame as a model for build()."""
    tcp = tcp_offset(frame, ip)
    sport, dport, _, ack, _, flags, window, _, _ = _TCP.unpack_from(frame, tcp)
    stamps = timestamps(frame, tcp)
    flags &= ECE | CWR
    if frame[ip] >> 4 == 6:
        word, _, _, hops = _IPV6.unpack_from(frame, ip)
        ends = frame[ip + 8 : ip + 24], frame[ip + 24 : ip + 40]
        return Header(*ends, sport, dport, ack, window, stamps, word >> 20 & 255, hops, flags=flags)
    _, tos, _, ident, fragment, ttl, _, _ = _IPV4.unpack_from(frame, ip)
    ends = frame[ip + 12 : ip + 16], frame[ip + 16 : ip + 20]
    return Header(*ends, sport, dport, ack, window, stamps, tos, ttl, ident, bool(fragment & 0x4000), flags)


def _ip_header(header: Header, size: int, proto: int = TCP_PROTO) -> bytes:
    if len(header.src) == 16:
        return _IPV6.pack(6 << 28 | header.tos << 20, size, proto, header.ttl) + header.src + header.dst
    fragment = 0x4000 if header.dont_fragment else 0
    head = _IPV4.pack(0x45, header.tos, size + 20, header.ident & 0xFFFF, fragment, header.ttl, proto, 0)
    value = 0xFFFF - number(head + header.src + header.dst, "big") % 0xFFFF
    return head[:10] + value.to_bytes(2, "big") + header.src + header.dst


def build(kind: int, header: Header, seq: int, flags: int, payload: bytes = b"", urgent: int = 0) -> bytes:
    """A complete frame of that inject kind. `urgent`: pointer from seq, sets URG unless 0."""
    options = _TIMESTAMPS.pack(_NOP_NOP_TS, *header.timestamps) if header.timestamps else b""
    offset = 5 + len(options) // 4
    if 0 < urgent <= 0xFFFF:
        flags |= URG
    else:
        urgent = 0
    flags |= header.flags
    ends = header.sport, header.dport
    tcp = _TCP.pack(*ends, seq & 0xFFFF_FFFF, header.ack, offset << 4, flags, header.window, 0, urgent)
    segment = tcp + options + payload
    size = len(segment)
    total = number(header.src + header.dst, "big") + 6 + size + summed(segment, 0, size)
    value = (0xFFFF - total % 0xFFFF).to_bytes(2, "big")
    version = 4 if len(header.src) == 4 else 6
    return _ETHERNET[kind, version] + _ip_header(header, size) + tcp[:16] + value + tcp[18:] + options + payload


def udp_end(frame: bytes, ip: int, end: int) -> int | None:
    """Where a UDP payload ends by its header's own length, None if that can't be true. `end`: of the packet."""
    start = tcp_offset(frame, ip)
    size = frame[start + 4] << 8 | frame[start + 5]
    return start + size if UDP_HEADER <= size <= end - start else None


def build_datagram(kind: int, header: Header, payload: bytes) -> bytes:
    """A complete UDP frame of that inject kind between the end points of `header`, with a checksum."""
    size = UDP_HEADER + len(payload)
    version = 4 if len(header.src) == 4 else 6
    frame = _ETHERNET[kind, version] + _ip_header(header, size, UDP_PROTO)
    frame += _UDP.pack(header.sport, header.dport, size, 0xFFFF) + payload  # any checksum but "none"
    return finish_checksum(frame, 14, len(frame))


def fragments(frame: bytes, mtu: int) -> list[bytes]:
    """A frame of build_datagram(), in IPv4 fragments if it is larger than `mtu` bytes. RFC 791 section 3.2."""
    start = _ETHERNET_SIZE + 20
    if len(frame) - _ETHERNET_SIZE <= mtu or len(frame) < start or frame[_ETHERNET_SIZE] != 0x45:
        return [frame]
    made, step = [], max(8, (mtu - 20) // 8 * 8)
    for at in range(start, len(frame), step):
        part = frame[at : at + step]
        place = (at - start) // 8 | (0x2000 if at + step < len(frame) else 0)
        head = frame[14:16] + (20 + len(part)).to_bytes(2, "big") + frame[18:20] + place.to_bytes(2, "big")
        head += frame[22:24] + b"\0\0" + frame[26:start]
        value = 0xFFFF - number(head, "big") % 0xFFFF
        made.append(frame[:_ETHERNET_SIZE] + head[:10] + value.to_bytes(2, "big") + head[12:] + part)
    return made


def with_payload(frame: bytes, ip: int, payload: bytes) -> bytes:
    """A datagram's frame with another payload: lengths and checksums follow, all else stays."""
    start = tcp_offset(frame, ip)
    size = UDP_HEADER + len(payload)
    if frame[ip] >> 4 == 6:
        ends = frame[start : start + 4]
        head = frame[: ip + 4] + size.to_bytes(2, "big") + frame[ip + 6 : start]
        made = head + ends + size.to_bytes(2, "big") + b"\xff\xff" + payload  # any checksum but "none"
        return finish_checksum(made, ip, len(made))
    head = frame[ip : ip + 2] + (start - ip + size).to_bytes(2, "big") + frame[ip + 4 : ip + 10] + b"\0\0"
    head += frame[ip + 12 : start]
    value = 0xFFFF - number(head, "big") % 0xFFFF
    head = head[:10] + value.to_bytes(2, "big") + head[12:]
    udp = frame[start : start + 4] + size.to_bytes(2, "big") + frame[start + 6 : start + 8]
    made = frame[:ip] + head + udp + payload
    return finish_checksum(made, ip, len(made))
