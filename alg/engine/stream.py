"""One direction of a TCP connection as bytes in order: retransmissions, overlaps, gaps.

The law of this file: payload and positions, nothing of frames, decisions or protocols. Positions are unwrapped: they
begin as the 32-bit sequence number and count on beyond 2^32, so that they compare as plain ints.
The first byte accepted at a position stays (RFC 9293 leaves the choice open); what comes later for it is ignored.
"""

from __future__ import annotations

from typing import Final

from .corrections import MASK, distance

AHEAD_MAX: Final = 1 << 16  # bytes beyond the next expected one that are kept or believed
LATER_SEGMENTS: Final = 64  # out-of-order pieces kept


class Stream:
    """Bytes accepted and not yet taken: `pending` ends at position `next`; `later` are pieces beyond a gap."""

    __slots__ = ("fin", "later", "later_size", "next", "pending")

    def __init__(self, start: int) -> None:
        self.next = start
        self.pending = bytearray()
        self.later: list[tuple[int, bytes]] = []  # by position, disjoint
        self.later_size = 0
        self.fin: int | None = None  # position of the FIN

    @property
    def start(self) -> int:
        """Position of the first pending byte."""
        return self.next - len(self.pending)

    @property
    def ended(self) -> bool:
        """All bytes before the FIN are here."""
        return self.fin is not None and self.next >= self.fin

    def position(self, seq: int) -> int:
        """The position that a 32-bit sequence number near the next expected one means."""
        return self.next + distance(seq, self.next & MASK)

    def accept(self, position: int, data: bytes) -> int:
        """Take a segment's payload; returns how many bytes came into order. What doesn't fit must be repeated."""
        if self.fin is not None and position + len(data) > self.fin:
            data = data[: max(0, self.fin - position)]
        old = self.next - position
        if old > 0:
            data, position = data[old:], self.next
        if not data:
            return 0
        if position == self.next and not self.later:
            self.pending += data
            self.next += len(data)
            return len(data)
        self._keep(position, data)
        return self._drain()

    def finish(self, position: int) -> None:
        """Note the FIN; a second one elsewhere, or before bytes already here, is ignored."""
        if self.fin is None and position >= self.next and (not self.later or position >= self._later_end()):
            self.fin = position

    def take(self, size: int) -> bytes:
        """Remove and return the first `size` pending bytes."""
        data = bytes(self.pending[:size])
        del self.pending[:size]
        return data

    def forget(self) -> None:
        """Drop pieces beyond a gap: the sender will repeat them."""
        self.later = []
        self.later_size = 0

    def _later_end(self) -> int:
        position, data = self.later[-1]
        return position + len(data)

    def _keep(self, position: int, data: bytes) -> None:
        """Put into `later` those parts that no earlier piece covers."""
        end = position + len(data)
        parts: list[tuple[int, bytes]] = []
        at = position
        for start, piece in self.later:
            stop = start + len(piece)
            if stop <= at:
                continue
            if start >= end:
                break
            if start > at:
                parts.append((at, data[at - position : start - position]))
            at = stop
        if at < end:
            parts.append((at, data[at - position :]))
        for part in parts:
            # In-order bytes always find room: they leave at once.
            if part[0] != self.next and not self._room(len(part[1])):
                break
            self.later.append(part)
            self.later_size += len(part[1])
        self.later.sort()

    def _room(self, size: int) -> bool:
        return len(self.later) < LATER_SEGMENTS and self.later_size + size <= AHEAD_MAX

    def _drain(self) -> int:
        count = 0
        taken = 0
        for position, data in self.later:
            if position != self.next:
                break
            self.pending += data
            self.next += len(data)
            taken += len(data)
            count += 1
        if count:
            del self.later[:count]
            self.later_size -= taken
        return taken
