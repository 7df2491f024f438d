"""When Python looks for cycles among all its objects: at quiet moments, since everything waits for it.

The law of this file: the collector's settings. Nothing here frees a session: sessions hold no cycles (a test makes sure
of that) and go when the engine lets go of them. The few cycles there are come from exceptions and their frames.
"""

from __future__ import annotations

import gc
import sys

# Collections of the young would look twice at what each session leaves, 5 to 25 µs, and find nothing. A full one looks
# at all that the sessions have, 120,000 objects and 55 ms with 1,000 of them.
NEVER = 1 << 30
QUIET_AFTER = 30.0  # s since the last full collection, before the next one at a quiet moment
AT_LAST = 600.0  # s: without a quiet moment this long, and with GROWN: memory matters more than delay
GROWN = 500_000  # blocks of memory, about 50 MB, more than after the last one
MUCH = 200_000  # beyond that it would stop all for 60 ms and more, for sessions that go by themselves within minutes
LITTLE = 20_000  # at a quiet moment, if nothing came since the last one: exceptions of timers alone, 2 MB


class Garbage:
    """Call `look` about once per second; nothing else collects. `collections`: so far."""

    def __init__(self) -> None:
        self.collections = 0
        self._before = gc.get_threshold()
        self._last = 0.0
        self._seen = self._done = self._blocks = 0

    def settle(self, now: float) -> None:
        """The start is over: the objects of now stay, and are never looked at again."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(NEVER, NEVER, NEVER)
        self._last, self._blocks = now, sys.getallocatedblocks()

    def look(self, taken: int, now: float) -> None:
        """Collect if the helper had no sample since the last look, or AT_LAST. `taken`: its samples so far; of turns it
        has some in each second, whatever comes."""
        quiet, self._seen = taken == self._seen, taken
        since = now - self._last
        if since < QUIET_AFTER:
            return
        grown = sys.getallocatedblocks() - self._blocks
        calm = quiet and (grown < MUCH or since >= AT_LAST)
        if (calm and (taken != self._done or grown > LITTLE)) or (since >= AT_LAST and grown > GROWN):
            self.collections += 1
            gc.collect()
            self._last, self._done, self._blocks = now, taken, sys.getallocatedblocks()

    def unsettle(self) -> None:
        """Restore the collector's earlier settings."""
        gc.unfreeze()
        gc.set_threshold(*self._before)
