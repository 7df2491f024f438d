"""Whether the helper is so far behind its ring that those who fill it have to wait.

The law of this file: it knows how many bytes wait, and tells somebody when that becomes too much and when it no longer
is.

A session whose lines are all copied waits for nobody, so clients can fill the ring faster than it is read. What
the full ring doesn't take is lost, and its sender repeats it after a fifth of a second at best. So where much waits,
replies that name a connection are held until they are read, as all were before named.h: whoever brings about the
backlog waits for its end.
"""

from __future__ import annotations

from collections.abc import Callable

HIGH = 2 << 20  # bytes: of some 800 sessions, a fifth of a second of the helper's; a CPU's ring has twice as much
LOW = HIGH // 2


class Backlog:
    """`much`: whether much waits; `tell` is called when that changes."""

    def __init__(self, tell: Callable[[bool], None]) -> None:
        self.much = False
        self._tell = tell

    def look(self, unread: int) -> None:
        """So many bytes wait now."""
        much = unread > (LOW if self.much else HIGH)
        if much is not self.much:
            self.much = much
            self._tell(much)
