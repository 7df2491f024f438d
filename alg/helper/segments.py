"""Bare segments and datagrams in a peer's name or the gateway's own, as frames for the TAP.

The law of this file: bytes in, bytes out; nothing is remembered.
"""

from __future__ import annotations

import struct

from algate.alg.engine.effects import INJECT_RAW_IN
from algate.alg.engine.icmp import checksum

TCP = 6
DONT_FRAGMENT = 0x4000
TTL = 64
LINK = bytes((INJECT_RAW_IN, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2)) + b"\x08\x00"


def packet(proto: int, tos: int, flags: int, source: bytes, destination: bytes, body: bytes) -> bytes:
    """A frame to an inside host."""
    outer = struct.pack("!BBHHHBBH", 0x45, tos, 20 + len(body), 0, flags, TTL, proto, 0) + source + destination
    return LINK + outer[:10] + struct.pack("!H", checksum(outer)) + outer[12:] + body


def segment(source: bytes, port: int, destination: bytes, to: int, numbers: bytes, flags: int) -> bytes:
    """A TCP segment without data; `numbers`: sequence and acknowledgement, as on the wire."""
    body = struct.pack("!HH", port, to) + numbers + struct.pack("!BBHHH", 5 << 4, flags, 0, 0, 0)
    pseudo = source + destination + struct.pack("!HH", TCP, len(body))
    body = body[:16] + struct.pack("!H", checksum(pseudo + body)) + body[18:]
    return packet(TCP, 0, DONT_FRAGMENT, source, destination, body)
