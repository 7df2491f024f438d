"""From frames to connections: what happened on one link, reassembled.

The law of this file: pure. It reads records of a capture and knows as much TCP as a judge needs; it shares no code
with the gateway that it judges.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
MODULUS = 1 << 32


class Peer(NamedTuple):
    """An end point as seen on a link; port in host order."""

    ip: str
    port: int

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"


@dataclass(frozen=True, slots=True)
class SeenSegment:
    """One packet on a link. The TCP fields are 0 for other protocols and for later fragments."""

    time: float  # s since the epoch, kernel's receive stamp
    outgoing: bool  # sent by the host that captured it
    proto: int
    src: Peer
    dst: Peer
    seq: int
    ack: int
    flags: int
    payload: bytes
    length: int  # of the IP packet


def parse_frame(frame: bytes, time: float, outgoing: bool) -> SeenSegment | None:
    """The record of an Ethernet frame; None if it isn't a complete packet of either family. Of IPv6 what stands behind
    an extension header isn't read."""
    if len(frame) >= 54 and frame[12:14] == b"\x86\xdd":
        src, dst = (str(IPv6Address(frame[at : at + 16])) for at in (22, 38))
        length = int.from_bytes(frame[18:20], "big") + 40
        return _record(time, outgoing, frame[20], src, dst, frame[54 : 14 + length], length)
    if len(frame) < 34 or frame[12:14] != b"\x08\x00":
        return None
    packet = frame[14:]
    header = (packet[0] & 0x0F) * 4
    length, _, fragment = struct.unpack_from("!HHH", packet, 2)
    length = length or len(packet)  # a GSO packet above 64 KiB has no length (BIG TCP)
    src, dst = (str(IPv4Address(packet[at : at + 4])) for at in (12, 16))
    body = b"" if fragment & 0x1FFF else packet[header:length]
    return _record(time, outgoing, packet[9], src, dst, body, length)


def _record(time: float, outgoing: bool, proto: int, src: str, dst: str, body: bytes, length: int) -> SeenSegment:
    """`body`: from the transport header on, empty where there is none."""
    if proto != 6 or len(body) < 20:
        ports = struct.unpack_from("!HH", body) if proto == 17 and len(body) >= 8 else (0, 0)
        return SeenSegment(time, outgoing, proto, Peer(src, ports[0]), Peer(dst, ports[1]), 0, 0, 0, b"", length)
    sport, dport, seq, ack, offset, flags = struct.unpack_from("!HHIIBB", body)
    payload = body[(offset >> 4) * 4 :]
    return SeenSegment(time, outgoing, 6, Peer(src, sport), Peer(dst, dport), seq, ack, flags, payload, length)


@dataclass
class LinkDirection:
    """One direction's byte stream. Offsets count from the byte after the SYN."""

    start: int  # sequence number of the SYN
    end: int | None = None  # offset of the FIN
    chunks: dict[int, bytes] = field(default_factory=dict)

    def feed(self, segment: SeenSegment) -> None:
        offset = (segment.seq - self.start - 1 + (1 if segment.flags & SYN else 0)) % MODULUS
        if segment.payload and len(segment.payload) > len(self.chunks.get(offset, b"")):
            self.chunks[offset] = segment.payload
        if segment.flags & FIN:
            self.end = offset + len(segment.payload)

    def bytes(self) -> bytes:
        """The stream up to its first gap."""
        out = b""
        for offset in sorted(self.chunks):
            if offset > len(out):
                break
            out += self.chunks[offset][len(out) - offset :]
        return out


@dataclass
class Connection:
    """A TCP connection, from its first SYN on."""

    client: Peer
    server: Peer
    opened: float
    up: LinkDirection  # client to server
    down: LinkDirection | None = None  # None until the SYN-ACK
    closed: float = 0.0  # time of the last FIN, 0.0 while one is missing
    reset: bool = False

    @property
    def established(self) -> bool:
        return self.down is not None

    @property
    def finished(self) -> bool:
        return self.reset or (self.down is not None and self.up.end is not None and self.down.end is not None)

    @property
    def size(self) -> int:
        """Payload bytes of both directions, from the FINs' sequence numbers; 0 if it didn't end properly."""
        return (self.up.end or 0) + ((self.down.end or 0) if self.down else 0)

    @property
    def seconds(self) -> float:
        return max(self.closed - self.opened, 0.0)

    def feed(self, segment: SeenSegment) -> None:
        upward = segment.src == self.client
        if not upward and segment.flags & SYN and self.down is None:
            self.down = LinkDirection(segment.seq)
        direction = self.up if upward else self.down
        if direction is not None:
            direction.feed(segment)
        if segment.flags & RST:
            self.reset = True
        if segment.flags & FIN:
            self.closed = segment.time


@dataclass
class Trace:
    """Everything on one link. `dialogue`: per connection, both sides' control lines as pairs (from client?, line)."""

    segments: list[SeenSegment]
    connections: list[Connection]

    def control(self, port: int = 21) -> list[Connection]:
        return [c for c in self.connections if c.server.port == port]

    def data(self, port: int = 21) -> list[Connection]:
        return [c for c in self.connections if c.server.port != port]

    def addresses(self) -> set[str]:
        """Every address that occurs in an IP header."""
        return {peer.ip for s in self.segments for peer in (s.src, s.dst)}


def trace(segments: Iterable[SeenSegment]) -> Trace:
    """Group segments into connections; those whose SYN wasn't seen belong to none."""
    kept = list(segments)
    order: list[Connection] = []
    current: dict[tuple[Peer, Peer], Connection] = {}
    for segment in kept:
        if segment.proto != 6:
            continue
        key = (segment.src, segment.dst)
        found = current.get(key) or current.get((segment.dst, segment.src))
        if segment.flags & (SYN | ACK) == SYN and (found is None or _is_new(found, segment)):
            found = Connection(segment.src, segment.dst, segment.time, LinkDirection(segment.seq))
            current[key] = found
            current.pop((segment.dst, segment.src), None)
            order.append(found)
        if found is not None:
            found.feed(segment)
    return Trace(kept, order)


def _is_new(found: Connection, segment: SeenSegment) -> bool:
    """A SYN between known end points is a retransmission if it has the same sequence number."""
    return found.client != segment.src or found.up.start != segment.seq
