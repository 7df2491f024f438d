"""Fragments that came before their head: held until the kernel knows what the head became, bounded in number and time.

The law of this file: a queue and its limits. The kernel's table `fragments` says whether a head has come.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from algate.alg.engine.effects import INJECT_IN, INJECT_OUT, OUT
from algate.alg.engine.frames import readdress
from algate.alg.gateway import records

HELD_MAX = 512
SIX_HEADER, FRAGMENT = 40, 44  # bytes; number of the fragment header (RFC 8200 section 4.5)
HELD_SECONDS = 2.0  # a head that hasn't come by then was lost; reassembly would wait longer (RFC 1122 3.3.2)


class Tail(NamedTuple):
    """A held fragment: the frame for the TAP, its packet's key in `fragments`, and when it came."""

    frame: bytes
    key: bytes
    since: float


def fragment_key(frame: bytes, ip_offset: int, direction: int, ends: bytes = b"") -> bytes | None:
    """struct fragment_key of a fragment, or struct piece_key of one over IPv6, whose `ends` are handles; None if the
    frame is too short."""
    header = frame[ip_offset : ip_offset + 20]
    if len(header) < 20:
        return None
    if header[0] >> 4 == 6:
        return _piece_key(frame, ip_offset, direction, ends)
    return records.pack_fragment_key(header, direction)


def _piece_key(frame: bytes, ip_offset: int, direction: int, ends: bytes) -> bytes | None:
    following, at = frame[ip_offset + 6], ip_offset + SIX_HEADER
    while following != FRAGMENT and at + 8 <= len(frame):
        following, at = frame[at], at + (frame[at + 1] + 1) * 8
    number = frame[at + 4 : at + 8]
    return ends + number + direction.to_bytes(4, sys.byteorder) if len(number) == 4 else None


class Tails:
    """`known` says whether the kernel has an entry of that key, `inject` takes a frame for the TAP."""

    def __init__(self, known: Callable[[bytes], bool], inject: Callable[[bytes], bool]) -> None:
        self._known = known
        self._inject = inject
        self._held: deque[Tail] = deque()
        self.expired = 0

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, frame: bytes, ip_offset: int, direction: int, now: float, ends: bytes = b"") -> None:
        """Keep a fragment; if there are too many, the oldest goes. `ends`: of IPv6, both handles."""
        key = fragment_key(frame, ip_offset, direction, ends)
        if key is None:
            return
        if len(self._held) >= HELD_MAX:
            self._held.popleft()
            self.expired += 1
        kind = INJECT_OUT if direction == OUT else INJECT_IN
        self._held.append(Tail(readdress(kind, frame, ip_offset, len(frame)), key, now))

    def release(self, now: float) -> None:
        """Give back every fragment whose head has come, in the order in which they came; forget the old ones."""
        waiting: deque[Tail] = deque()
        seen: dict[bytes, bool] = {}
        for tail in self._held:
            if tail.key not in seen:
                seen[tail.key] = self._known(tail.key)
            if seen[tail.key]:
                self._inject(tail.frame)
            elif now - tail.since < HELD_SECONDS:
                waiting.append(tail)
            else:
                self.expired += 1
        self._held = waiting
