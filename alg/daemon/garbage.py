"""When Python looks for cycles among all its objects: at quiet moments, since everything waits for it.

The law of this file: the collector's settings. Nothing here frees a session: sessions hold no cycles (a test makes sure
of that) and go when the engine lets go of them. The few cycles there are come from exceptions and their frames.
"""

from __future__ import annotations

import gc
import sys

# A collection of the young looks at YOUNG objects, every MIDDLE-th at YOUNG * MIDDLE: 1 ms. A full one looks at all
# that the sessions have, 120,000 objects and 55 ms with 1,000 of them.
YOUNG, MIDDLE, NEVER = 1000, 5, 1 << 30
QUIET_AFTER = 30.0  # s since the last full collection, before the next one at a quiet moment
AT_LAST = 600.0  # s: without a quiet moment this long, and with GROWN: memory matters more than delay
GROWN = 500_000  # blocks of memory, about 50 MB, more than after the last one


class Garbage:
    """Call `look` about once per second. `collections`: full ones so far."""

    def __init__(self) -> None:
        self.collections = 0
        self._before = gc.get_threshold()
        self._last = 0.0
        self._seen = self._done = self._blocks = 0

    def settle(self, now: float) -> None:
        """The start is over: the objects of now stay, and are never looked at again."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG, MIDDLE, NEVER)
        self._last, self._blocks = now, sys.getallocatedblocks()

    def look(self, turns: int, now: float) -> None:
        """Collect if the helper had no turn since the last look, or AT_LAST. `turns`: the helper's so far."""
        quiet, self._seen = turns == self._seen, turns
        since = now - self._last
        if turns == self._done or since < QUIET_AFTER:
            return
        if quiet or (since >= AT_LAST and sys.getallocatedblocks() - self._blocks > GROWN):
            self.collections += 1
            gc.collect()
            self._last, self._done, self._blocks = now, turns, sys.getallocatedblocks()

    def unsettle(self) -> None:
        """Restore the collector's earlier settings."""
        gc.unfreeze()
        gc.set_threshold(*self._before)
