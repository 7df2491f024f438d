"""When `top` may look at a whole table again, and what the last looks saw.

The law of this file: a clock and what was kept; it looks at nothing itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import time
from collections.abc import Iterator

from algate.alg.gateway.best import Earlier

SHARE = 0.06  # of a core, for looks at whole tables
FRESH, STALE = 0.3, 300.0  # s between which an earlier look is good for rates
STEADY = 2.0  # s from which one burst doesn't turn the order over
FIRST = 1.0  # s until the second look, which brings the first rates
LINGER = 5.0  # s for which what was seen is kept for the next screen


class Pace:
    """When something dear may be done again. `took`: seconds of work; `every`: seconds from one to the next."""

    def __init__(self) -> None:
        self.took = self.every = 0.0
        self._due = 0.0

    def due(self) -> bool:
        """Whether it is time."""
        return time.monotonic() >= self._due

    def spent(self, seconds: float, least: float) -> None:
        """It took that long just now; again after `least` seconds at the earliest."""
        self.took, self.every = seconds, max(least, seconds / SHARE)
        self._due = time.monotonic() + self.every

    def soon(self) -> None:
        """Again before it is due: the operator waits for the first rates."""
        self._due = min(self._due, time.monotonic() + FIRST)


class Memory:
    """What the last looks saw, so that the next one gives rates at once, whoever takes it. Kept while anybody looks."""

    def __init__(self) -> None:
        self._kept: list[Earlier] = []
        self._users = 0

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Somebody looks."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                asyncio.get_running_loop().call_later(LINGER, self._forget)

    def earlier(self) -> Earlier | None:
        """The youngest that is old enough for a steady rate, else the oldest that is old enough for any."""
        known = [one for one in self._kept if FRESH <= _age(one) <= STALE]
        found = [one for one in known if _age(one) >= STEADY][-1:] or known[:1]
        return copy.copy(found[0]) if found else None  # whoever compares with it moves on in it

    def keep(self, seen: Earlier) -> None:
        """In place of an older one."""
        if not self._kept or _age(self._kept[-1]) >= STEADY:
            self._kept = [*self._kept[-1:], seen]

    def _forget(self) -> None:
        if not self._users:
            self._kept = []


def _age(one: Earlier) -> float:
    return (time.clock_gettime_ns(time.CLOCK_MONOTONIC) - one.began) / 1e9
