"""How long control segments are held: what a user feels of the helper.

The law of this file: it measures and changes nothing. What of a session still waits, the engine says; moments are
seconds of CLOCK_MONOTONIC.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Histogram(Protocol):
    """Durations of audit/metrics.py."""

    def observe(self, seconds: float) -> None: ...


class Delays:
    """`waits`: whether bytes of a direction of a session are here and haven't left."""

    def __init__(self, waits: Callable[[int, int], bool]) -> None:
        self._waits = waits
        self._held: Histogram | None = None
        self._since: dict[int, list[float]] = {}  # session -> by direction, when the first segment came that waits

    def tell(self, held: Histogram) -> None:
        """Tell this one from now on."""
        self._held = held

    def came(self, session: int, direction: int, arrived: float, now: float) -> None:
        """A segment came, and the engine has taken it. What it let go of the other direction's has waited until now."""
        if self._held is None:
            return
        since = self._since.get(session)
        waits = self._waits(session, direction)
        if since is None and not waits:  # nearly always
            self._held.observe(max(0.0, now - arrived))
            return
        since = since or [0.0, 0.0]
        since[direction] = since[direction] or arrived
        for way, first in enumerate(since):
            if first and not (waits if way == direction else self._waits(session, way)):
                self._held.observe(max(0.0, now - first))
                since[way] = 0.0
        if any(since):
            self._since[session] = since
        else:
            self._since.pop(session, None)

    def forget(self, session: int) -> None:
        """It is gone: what it held won't leave any more."""
        self._since.pop(session, None)
