"""Sequence numbers, and the shifts that replacements of another length cause.

The law of this file: 32-bit sequence arithmetic (RFC 9293 section 3.4) and the mapping of numbers through the
corrections of one direction, by the same algorithm as `bpf/include/seqadj.h`. No bytes, no frames.

A correction says that the sender's stretch [start, end) reaches the receiver in another length. Shifts: `before` for
what lies up to start, `after` from end on. An insertion has start == end.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, final

from algate.alg.plugin.fixed import Fixed

MASK: Final = 0xFFFF_FFFF
MAX_CORRECTIONS: Final = 8  # MAX_CORRECTIONS of abi.h, per direction


def distance(a: int, b: int) -> int:
    """How far `a` lies beyond `b`, modulo 2^32: -2^31 .. 2^31-1."""
    return ((a - b + 0x8000_0000) & MASK) - 0x8000_0000


@final
class Correction(Fixed):
    """`struct correction`: sequence numbers of the sender, shifts signed."""

    __match_args__: Final = ("start", "end", "before", "after")

    def __init__(self, start: int, end: int, before: int, after: int) -> None:
        self.start: Final = start
        self.end: Final = end
        self.before: Final = before
        self.after: Final = after


def shift_seq(base: int, corrections: Iterable[Correction], seq: int) -> int:
    """The sender's sequence number as the receiver sees it. Inside a correction: as far in as the new length allows."""
    delta = base
    for c in corrections:
        if distance(seq, c.end) >= 0:
            delta = c.after
            continue
        if distance(seq, c.start) > 0:
            size = ((c.end - c.start) & MASK) + c.after - c.before
            return (min((seq - c.start) & MASK, size) + c.start + c.before) & MASK
        break
    return (seq + delta) & MASK


def unshift_ack(base: int, corrections: Iterable[Correction], ack: int) -> int:
    """The receiver's acknowledgement in the sender's numbers. Inside a correction: its start."""
    delta = base
    for c in corrections:
        if distance(ack, c.end + c.after) >= 0:
            delta = c.after
            continue
        if distance(ack, c.start + c.before) > 0:
            return c.start & MASK
        break
    return (ack - delta) & MASK


class Corrections:
    """The corrections of one direction: a base shift and the latest length changes, oldest first.

    `full`: no length change can be added until fold() makes room.
    """

    __slots__ = ("base", "full", "items")

    def __init__(self, base: int = 0, items: tuple[Correction, ...] = ()) -> None:
        self.base = base
        self.items = items
        self.full = len(items) >= MAX_CORRECTIONS

    @property
    def latest(self) -> int:
        """The shift of what comes next."""
        return self.items[-1].after if self.items else self.base

    def add(self, start: int, end: int, growth: int) -> Correction:
        """Note that [start, end) leaves `growth` bytes longer (shorter if negative). ValueError if full."""
        if self.full:
            raise ValueError("no room for another correction")
        before = self.latest
        item = Correction(start & MASK, end & MASK, before, before + growth)
        self.items += (item,)
        self.full = len(self.items) >= MAX_CORRECTIONS
        return item

    def folds(self, acked: int) -> bool:
        """Whether fold() would do anything."""
        return bool(self.items) and distance(acked, self.items[0].end) >= 0

    def fold(self, acked: int) -> bool:
        """Take what the receiver has acknowledged wholly (`acked` in the sender's numbers) into the base. True if any.

        Safe for acknowledgements that come late: mapped with the base alone they never claim more than was received.
        """
        count = 0
        for item in self.items:
            if distance(acked, item.end) < 0:
                break
            count += 1
        if count:
            self.base = self.items[count - 1].after
            self.items = self.items[count:]
            self.full = False
        return count > 0

    def shift(self, seq: int) -> int:
        """Sender's number -> receiver's."""
        return shift_seq(self.base, self.items, seq)

    def unshift(self, ack: int) -> int:
        """Receiver's acknowledgement -> sender's number."""
        return unshift_ack(self.base, self.items, ack)
