"""Connections that come before both sides have agreed: their first packets, and the peers known to do so.

The law of this file: what is held and for how long, by expectation; it opens nothing. A peer that once agreed to a
connection that it had made before isn't kept waiting the next time (see the page of this folder).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Final, NamedTuple

from .effects import OUT, Expectation, Inject

HELD_PER_EXPECTATION: Final = 4
HELD_TOTAL: Final = 1024
HELD_SECONDS: Final = 10.0  # a SYN older than this was repeated long since
KNOWN_MOST: Final = 1024
KNOWN_SECONDS: Final = 3600.0


class Actor(NamedTuple):
    """Who may connect, and the port of the control sessions' end on that side."""

    alg: int
    address: bytes
    port: int


def actor(expected: Expectation) -> Actor:
    """Whose first packet would come."""
    key = expected.control_key
    return Actor(expected.alg, expected.from_ip, key.inside_port if expected.direction == OUT else key.remote_port)


class Early:
    """Of all expectations. `known`: peers that agreed to what they had done."""

    def __init__(self) -> None:
        self._held: dict[int, list[tuple[float, Inject]]] = {}
        self._held_count = 0
        self._acting: list[tuple[float, int]] = []  # when a held first packet becomes its sender's agreement
        self.known: dict[Actor, float] = {}  # until when; the latest last

    def hold(self, expectation: int, frame: Inject, acts_after: float | None, now: float) -> bool:
        """Keep a first packet for a pending expectation, the latest few of each. False if there is no room.
        `acts_after`: that of Expect."""
        held = self._held.setdefault(expectation, [])
        while held and (held[0][0] < now - HELD_SECONDS or len(held) >= HELD_PER_EXPECTATION):
            del held[0]
            self._held_count -= 1
        if self._held_count >= HELD_TOTAL:
            return False
        if not held and acts_after is not None:
            heapq.heappush(self._acting, (now + acts_after, expectation))
        held.append((now, frame))
        self._held_count += 1
        return True

    def let_go(self, expectation: int) -> list[Inject]:
        """The packets held for it, each once."""
        held = self._held.pop(expectation, [])
        self._held_count -= len(held)
        frames = [frame for _, frame in held]
        return [frame for at, frame in enumerate(frames) if frame not in frames[:at]]

    def acted(self, now: float, most: int) -> Iterator[int]:
        """Those whose peer has agreed by connecting, and whose word hasn't come, of at most so many timers."""
        for _ in range(most):
            if not self._acting or self._acting[0][0] > now:
                return
            _, number = heapq.heappop(self._acting)
            if number in self._held:
                yield number

    def next_due(self) -> float:
        """When acted() may have something; may be early."""
        return self._acting[0][0] if self._acting else float("inf")

    def knows(self, who: Actor, now: float) -> bool:
        """Whether it agreed, not long ago, to what it had done."""
        return self.known.get(who, now) > now

    def agreed(self, who: Actor, now: float) -> None:
        """A peer agrees to what it had done."""
        self.known.pop(who, None)
        self.known[who] = now + KNOWN_SECONDS
        if len(self.known) > KNOWN_MOST:
            del self.known[next(iter(self.known))]

    def disagreed(self, who: Actor) -> None:
        """A peer refused what it had acted upon: next time its word is waited for."""
        self.known.pop(who, None)
