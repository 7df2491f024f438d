"""How long a turn may wait for its acknowledgement before it goes back to the loop.

The law of this file: pure numbers. An engine that answers at once is waited for, since a turn of the loop takes longer;
one that doesn't soon isn't, and is tried again at ever longer intervals.
"""

from __future__ import annotations

BOUND = 200e-6  # s; with an engine in reach of a cable an acknowledgement takes 30 to 60 µs
FIRST, LAST = 1, 1024  # commits that aren't waited for behind one that ran into the bound, at first and at most


class Patience:
    """Of one leader. An engine that is always late costs BOUND for each LAST commits, in the long run."""

    def __init__(self) -> None:
        self._skip = 0  # commits that aren't waited for
        self._next = FIRST

    def seconds(self) -> float:
        """How long to wait for the commit that was just sent; 0: not at all."""
        if self._skip:
            self._skip -= 1
            return 0.0
        return BOUND

    def waited(self, came: bool) -> None:
        """Whether it came within that time."""
        if came:
            self._next = FIRST
        else:
            self._skip, self._next = self._next, min(2 * self._next, LAST)
