"""ICMP errors about a held packet, as frames for the TAP device.

The law of this file: bytes in, bytes out. The quote is the packet as its sender sent it; an error is of its family.
"""

from __future__ import annotations

import struct
from typing import Final

UNREACHABLE: Final = 3
HOST_UNREACHABLE: Final = 1
FRAG_NEEDED: Final = 4
PROHIBITED: Final = 13
NO_ROOM: Final = 256  # in ICMPv6 alone: RFC 6146 section 3.5.1.1
QUOTE: Final = 8  # bytes of the transport header at least, RFC 792
LONGEST: Final = 576 - 28  # bytes quoted at most, RFC 1812 section 4.3.2.3
LONGEST6: Final = 1280 - 48  # RFC 4443 section 2.4 (c)
WHOLE: Final = 1536  # a larger packet is several that were not cut yet: its transport checksum is none's
_HEADER: Final = struct.Struct("!BBHHHBBH4s4s")
_HEADER6: Final = struct.Struct("!IHBB16s16s")
_MAC_REST: Final = bytes((0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2))
ICMP6: Final = 58
_ECHOES: Final = (128, 129)
# What the errors above are in ICMPv6: type and code. Linux repeats at once only for "no route" (RFC 6069).
_SIX: Final = {HOST_UNREACHABLE: (1, 0), FRAG_NEEDED: (2, 0), PROHIBITED: (1, 1), NO_ROOM: (1, 3)}


def checksum(data: bytes) -> int:
    """RFC 1071, over an even or odd number of bytes."""
    data += b"\0" * (len(data) & 1)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def unreachable(kind: int, frame: bytes, ip: int, sender: bytes, code: int, mtu: int = 0) -> bytes | None:
    """The frame of that inject kind that tells the sender of `frame`, from the address `sender`, what became of it.

    `mtu`: the next hop's, with FRAG_NEEDED (RFC 1191 section 4). None if it must not be answered: an ICMP error would
    answer an error, or the packet is too short (RFC 1122 section 3.2.2).
    """
    if len(frame) > ip and frame[ip] >> 4 == 6:
        return _unreachable6(kind, frame, ip, sender, code, mtu)
    header = (frame[ip] & 15) * 4 if len(frame) > ip else 0
    if header < 20 or len(frame) < ip + header + QUOTE or frame[ip] >> 4 != 4:
        return None
    if frame[ip + 9] == 1 and frame[ip + header] not in (0, 8):
        return None
    size = frame[ip + 2] << 8 | frame[ip + 3]
    quote = frame[ip : ip + (min(size, LONGEST) if size <= WHOLE else header + QUOTE)]
    body = struct.pack("!BBHHH", UNREACHABLE, code, 0, 0, mtu) + quote
    body = body[:2] + checksum(body).to_bytes(2, "big") + body[4:]
    outer = _HEADER.pack(0x45, 0xC0, 20 + len(body), 0, 0, 64, 1, 0, sender, frame[ip + 12 : ip + 16])
    outer = outer[:10] + checksum(outer).to_bytes(2, "big") + outer[12:]
    return bytes([kind]) + _MAC_REST + b"\x08\x00" + outer + body


def _unreachable6(kind: int, frame: bytes, ip: int, sender: bytes, code: int, mtu: int) -> bytes | None:
    """The same of an IPv6 packet (RFC 4443): "packet too big" of FRAG_NEEDED, "no route" of HOST_UNREACHABLE,
    "address unreachable" of NO_ROOM."""
    if len(frame) < ip + 40 + QUOTE or len(sender) != 16:
        return None
    if frame[ip + 6] == ICMP6 and frame[ip + 40] not in _ECHOES:
        return None
    size = 40 + (frame[ip + 4] << 8 | frame[ip + 5])
    quote = frame[ip : ip + (min(size, LONGEST6) if size <= WHOLE else 40 + QUOTE)]
    meant, more = _SIX[code]
    body = struct.pack("!BBHI", meant, more, 0, mtu) + quote
    source = frame[ip + 8 : ip + 24]
    value = checksum(sender + source + struct.pack("!II", len(body), ICMP6) + body)
    body = body[:2] + value.to_bytes(2, "big") + body[4:]
    return bytes([kind]) + _MAC_REST + b"\x86\xdd" + _HEADER6.pack(6 << 28, len(body), ICMP6, 64, sender, source) + body
