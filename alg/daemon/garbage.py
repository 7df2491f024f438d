"""When Python looks for cycles among all its objects: at quiet moments, since it stands still meanwhile.

The law of this file: the collector's settings. Nothing here frees a session: sessions hold no cycles (a test sees to
that) and go when the engine lets go of them. What cycles there are come from exceptions and their frames.
"""

from __future__ import annotations

import gc

# A collection of the young looks at YOUNG objects, every MIDDLE-th at YOUNG * MIDDLE: 2 ms at most.
YOUNG, MIDDLE, NEVER = 2000, 10, 1 << 30
QUIET_AFTER = 30.0  # s since the last full collection, before the next one at a quiet moment
AT_LAST = 600.0  # s: never quiet so long, memory goes before 20 ms of delay


class Garbage:
    """`look` each second or so. `collections`: full ones so far."""

    def __init__(self) -> None:
        self.collections = 0
        self._before = gc.get_threshold()
        self._last = 0.0
        self._seen = self._done = 0

    def settle(self, now: float) -> None:
        """The start is over: what there is now stays, and is never looked at again."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG, MIDDLE, NEVER)
        self._last = now

    def look(self, turns: int, now: float) -> None:
        """`turns`: the helper's so far. Collects if there were none since the last look, or not for long enough."""
        quiet, self._seen = turns == self._seen, turns
        since = now - self._last
        if turns != self._done and ((quiet and since >= QUIET_AFTER) or since >= AT_LAST):
            self._last, self._done = now, turns
            self.collections += 1
            gc.collect()

    def unsettle(self) -> None:
        """As it was before."""
        gc.unfreeze()
        gc.set_threshold(*self._before)
