"""What a stateful IPv6 filter may let through, read from the RFCs and not from the program: for random packets.

The law of this file: pure. It may allow a little more than the filter does (windows, ages, rates), never what the RFCs
forbid: what the filter lets through and this doesn't is a hole. Sessions are those of packets that it saw pass.
"""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import NamedTuple

from tests.compliance.packet import TCP, UDP, ones
from tests.compliance.packet6 import AH, DSTOPTS, ECHO6, ESP, FRAGMENT, HOPOPTS, ICMP6, REPLY6, ROUTING, TOO_BIG

OUT, IN = 0, 1
MOST = 8  # extension headers
NOT_READ = {59, 135, 139, 140, *range(148, 256)}  # no next header, mobility, HIP, Shim6, unassigned
IKE = (500, 4500)
End = tuple[bytes, int]


class Reading(NamedTuple):
    """A packet that could be read. `offset`: of a fragment, None of a whole packet; `upper`: from the transport header
    on, of a tail its bytes."""

    source: bytes
    destination: bytes
    proto: int
    upper: bytes
    offset: int | None = None
    more: bool = False
    ident: bytes = b""


def read(packet: bytes) -> Reading | None:
    """RFC 8200 section 4, RFC 5095; None: it can't be read, or may not pass."""
    if len(packet) < 40 or packet[0] >> 4 != 6:
        return None
    size = 40 + int.from_bytes(packet[4:6], "big")
    if size > len(packet):
        return None
    return _walk(packet[8:24], packet[24:40], packet[6], packet[40:size])


def _walk(source: bytes, destination: bytes, kind: int, body: bytes, cut: bool = False) -> Reading | None:
    """`cut`: of a quote, whose last extension header may be there in part."""
    offset, more, ident = None, False, b""
    for number in range(MOST + 1):
        if kind not in (HOPOPTS, ROUTING, FRAGMENT, DSTOPTS):
            break
        if number == MOST or len(body) < 8 or (kind == HOPOPTS and number):
            return None
        size = 8 if kind == FRAGMENT else 8 + body[1] * 8
        if (size > len(body) and not cut) or (kind == ROUTING and (body[2] == 0 or (body[3] and body[2] != 2))):
            return None
        following, head, body = body[0], body, body[size:]
        if kind == FRAGMENT:
            if ident:
                return None
            word, ident = int.from_bytes(head[2:4], "big"), head[4:8]
            more = bool(word & 1)
            if more and (not body or len(body) % 8):
                return None
            if word & 0xFFF8 or more:
                offset = word & 0xFFF8
            if offset:
                return Reading(source, destination, following, body, offset, more, ident)
        kind = following
    return None if kind in NOT_READ else Reading(source, destination, kind, body, offset, more, ident)


def ports(one: Reading) -> tuple[int, int] | None:
    """Of the flow that a whole packet or a head is of; None: of none."""
    if one.proto == TCP:
        if len(one.upper) < 20 or not 20 <= (one.upper[12] >> 4) * 4 <= len(one.upper):
            return None
    elif one.proto == UDP:
        if len(one.upper) < 8:
            return None
    elif one.proto == ICMP6:
        if len(one.upper) < 8 or one.upper[0] not in (ECHO6, REPLY6):
            return None
        ident = int.from_bytes(one.upper[4:6], "big")
        return ident, ident
    else:
        return None if one.proto == 1 else (0, 0)
    return int.from_bytes(one.upper[:2], "big"), int.from_bytes(one.upper[2:4], "big")


def is_global(address: bytes) -> bool:
    """Whether a router may forward it (RFC 4291)."""
    ip = IPv6Address(address)
    mapped = address[:10] == bytes(10) and address[10:12] in (b"\0\0", b"\xff\xff")
    return not (ip.is_multicast or ip.is_link_local or mapped)


class Filter:
    """`inside`: the prefix, as its first 8 bytes; `services`: (address, port) of TCP that are let in."""

    def __init__(self, inside: bytes, gateway: tuple[bytes, ...], services: frozenset[End]) -> None:
        self._inside, self._gateway, self._services = inside, gateway, services
        self._known: set[tuple[bytes, bytes, int, int, int]] = set()
        self._heads: set[tuple[bytes, bytes, bytes, int]] = set()

    def may(self, packet: bytes, way: int, *, lost: bool = False) -> bool:
        """Whether it may pass; if so, it has passed. `lost`: but for bytes of its datagram that were there already, so
        it may have begun a session."""
        one = read(packet)
        if one is None or not (is_global(one.source) and is_global(one.destination)):
            return False
        if (one.source[:8] == self._inside) != (way == OUT) or (way == IN and not self.meant(packet)):
            return False
        head = one.source, one.destination, one.ident, way
        if one.offset:
            return head in self._heads
        if not (self._error(one, way) if self._is_error(one) else self._flow(one, way)):
            return False
        if one.offset is not None and not lost:
            self._heads.add(head)
        return True

    def meant(self, packet: bytes) -> bool:
        """Whether it is addressed to an inside host, other than the gateway."""
        return packet[24:32] == self._inside and packet[24:40] not in self._gateway

    @staticmethod
    def _is_error(one: Reading) -> bool:
        return one.proto == ICMP6 and bool(one.upper) and 1 <= one.upper[0] <= 4

    def _flow(self, one: Reading, way: int) -> bool:
        found = ports(one)
        if found is None:
            return False
        key = self._key(one.source, one.destination, one.proto, found, way)
        if key in self._known:
            return True
        if way == IN and not self._admits(one, found, key):
            return False
        if one.proto == TCP and one.upper[13] & 0x17 != 2:
            return False  # only a SYN begins a session
        if one.proto == ICMP6 and one.upper[0] != ECHO6:
            return False
        self._known.add(key)
        return True

    @staticmethod
    def _key(
        source: bytes, destination: bytes, proto: int, found: tuple[int, int], way: int
    ) -> tuple[bytes, bytes, int, int, int]:
        return (source, destination, proto, *found) if way == OUT else (destination, source, proto, found[1], found[0])

    def _admits(self, one: Reading, found: tuple[int, int], key: tuple[bytes, bytes, int, int, int]) -> bool:
        if one.proto == TCP and (one.destination, found[1]) in self._services:
            return True
        if one.proto not in (ESP, AH) and not (one.proto == UDP and found[1] in IKE):
            return False
        spoken = [(UDP, port, port) for port in IKE] + [(ESP, 0, 0), (AH, 0, 0)]
        return any((*key[:2], *flow) in self._known for flow in spoken)

    def _error(self, one: Reading, way: int) -> bool:
        """RFC 4890 section 4.3: about a session's packet, which the receiver sent."""
        if len(one.upper) < 48 or one.offset is not None:
            return False
        sum_ = one.source + one.destination + len(one.upper).to_bytes(4, "big") + b"\0\0\0" + bytes((ICMP6,))
        quoted = one.upper[8:]
        if ones(sum_ + one.upper) or quoted[0] >> 4 != 6 or quoted[8:24] != one.destination:
            return False
        if one.upper[0] == TOO_BIG:
            return True
        inner = _walk(quoted[8:24], quoted[24:40], quoted[6], quoted[40:], cut=True)
        if inner is None or inner.offset:
            return False
        found = ports(inner._replace(upper=inner.upper.ljust(20, b"\x50"))) if len(inner.upper) >= 8 else None
        if inner.proto not in (TCP, UDP, ICMP6):
            found = (0, 0)
        return found is not None and self._key(*inner[:3], found, 1 - way) in self._known
