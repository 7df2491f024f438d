"""Answers to inside hosts: an ICMP error for a session that was refused for lack of room or permission, with a
line for the log; RST for a connection that the gateway no longer knows.

The law of this file: bytes in, bytes out, and a count that is logged once per minute.
"""

from __future__ import annotations

import logging
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

from algate.alg.engine.icmp import LONGEST, QUOTE, WHOLE, checksum
from algate.alg.helper.segments import TCP, packet, segment

log = logging.getLogger(__name__)
UNREACHABLE, PROHIBITED = 3, 13  # RFC 1812 section 5.2.7.1; RFC 5508 REQ-8
LOG_SECONDS = 60.0
HOSTS_MOST, HOSTS_TOLD = 256, 3  # of each reason, between two lines of the log: counted, and named
ICMP, RST, ACK = 1, 4, 16


class Refusals:
    """Counts by reason and host; logs the first, then at most one line per minute."""

    def __init__(self) -> None:
        self._since: Counter[str] = Counter()
        self._hosts: dict[str, Counter[bytes]] = {}
        self._facts: dict[tuple[str, bytes], Callable[[], str]] = {}
        self._said = 0.0

    def note(self, reason: str, host: bytes = b"", fact: Callable[[], str] = str) -> None:
        """Count one more. `fact`: what the host has of what, or ""; told of those refused most."""
        self._since[reason] += 1
        hosts = self._hosts.setdefault(reason, Counter())
        if host in hosts or len(hosts) < HOSTS_MOST:
            hosts[host] += 1
            self._facts[reason, host] = fact
        now = time.monotonic()
        if self._said and now - self._said < LOG_SECONDS:
            return
        told = ", ".join(f"{name} ({number})" for name, number in self._since.items())
        told += "".join(f"; {said}" for name in self._since for said in self._told(name))
        log.warning("new sessions refused: %s; `algate stats` has the totals", told)
        self._since.clear()
        self._hosts.clear()
        self._facts.clear()
        self._said = now

    def _told(self, reason: str) -> Iterator[str]:
        """About the hosts that were refused most, and how many more there are."""
        hosts = self._hosts[reason]
        yield from filter(None, (self._facts[reason, host]() for host, _ in hosts.most_common(HOSTS_TOLD)))
        if len(hosts) > HOSTS_TOLD:
            more = f"{'at least ' if len(hosts) == HOSTS_MOST else ''}{len(hosts) - HOSTS_TOLD}"
            yield f"{more} more hosts for {reason}: see `algate hosts --sort refused`"


def unreachable(frame: bytes, ip_offset: int, sender: IPv4Address, code: int = PROHIBITED) -> bytes | None:
    """The frame for the TAP that answers a refused packet: ICMP unreachable, communication administratively prohibited
    by default.

    None if it must not be answered: it is itself an ICMP error, or the packet is too short (RFC 1122 3.2.2).
    """
    header = (frame[ip_offset] & 15) * 4 if len(frame) >= ip_offset + 20 else 0
    size = frame[ip_offset + 2] << 8 | frame[ip_offset + 3] if header else 0
    quote = frame[ip_offset : ip_offset + (min(size, LONGEST) if size <= WHOLE else header + QUOTE)]
    if header < 20 or len(quote) < header + QUOTE or (quote[9] == 1 and quote[header] not in (0, 8)):
        return None
    body = struct.pack("!BBHI", UNREACHABLE, code, 0, 0) + quote
    body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
    return packet(ICMP, 0xC0, 0, sender.packed, quote[12:16], body)


def reset(frame: bytes, ip_offset: int, gone: Callable[[bytes, int, bytes, int], bool]) -> bytes | None:
    """The frame for the TAP that answers a segment of no session with RST, as its destination would without such a
    connection: RFC 9293 section 3.10.7.1. None if there is none to be sent. `gone`: did we end it?"""
    header = (frame[ip_offset] & 15) * 4 if len(frame) > ip_offset else 0
    ip, tcp = frame[ip_offset : ip_offset + header], frame[ip_offset + header : ip_offset + header + 20]
    if header < 20 or ip[9] != TCP or len(tcp) < 20 or tcp[13] & (RST | ACK) != ACK:
        return None
    ports = struct.unpack("!HH", tcp[:4])
    if not gone(ip[12:16], ports[0], ip[16:20], ports[1]):
        return None
    return segment(ip[16:20], ports[1], ip[12:16], ports[0], tcp[8:12] + bytes(4), RST)
