"""First packets that were refused for want of room or permission: the ICMP error for their sender, a line for the log.

The law of this file: bytes in, bytes out, and a count that speaks once a minute.
"""

from __future__ import annotations

import logging
import struct
import time
from collections import Counter
from ipaddress import IPv4Address

from algate.alg.engine.effects import INJECT_RAW_IN

log = logging.getLogger(__name__)
UNREACHABLE, PROHIBITED = 3, 13  # RFC 1812 section 5.2.7.1; RFC 5508 REQ-8
QUOTE = 8  # bytes of the transport header, RFC 792
LOG_SECONDS = 60.0


class Refusals:
    """Counts by reason; says so in the log at the first and then at most once a minute."""

    def __init__(self) -> None:
        self._since: Counter[str] = Counter()
        self._said = 0.0

    def note(self, reason: str) -> None:
        """One more."""
        self._since[reason] += 1
        now = time.monotonic()
        if self._said and now - self._said < LOG_SECONDS:
            return
        told = ", ".join(f"{name} ({number})" for name, number in self._since.items())
        log.warning("new sessions refused: %s; `algate stats` has the totals", told)
        self._since.clear()
        self._said = now


def _checksum(data: bytes) -> int:
    """RFC 1071 over an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def unreachable(frame: bytes, ip_offset: int, sender: IPv4Address) -> bytes | None:
    """The frame for the TAP that answers a refused packet: ICMP unreachable, communication administratively prohibited.

    None if it must not be answered: an ICMP error would answer an error, or the packet is too short (RFC 1122 3.2.2).
    """
    header = (frame[ip_offset] & 15) * 4 if len(frame) > ip_offset else 0
    quote = frame[ip_offset : ip_offset + header + QUOTE]
    if header < 20 or len(quote) < header + QUOTE or (quote[9] == 1 and quote[header] not in (0, 8)):
        return None
    body = struct.pack("!BBHI", UNREACHABLE, PROHIBITED, 0, 0) + quote
    body = body[:2] + struct.pack("!H", _checksum(body)) + body[4:]
    size = 20 + len(body)
    outer = struct.pack("!BBHHHBBH4s4s", 0x45, 0xC0, size, 0, 0, 64, 1, 0, sender.packed, quote[12:16])
    outer = outer[:10] + struct.pack("!H", _checksum(outer)) + outer[12:]
    mac = bytes((INJECT_RAW_IN, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2))
    return mac + b"\x08\x00" + outer + body
