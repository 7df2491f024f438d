"""How often one and the same thing is put back: at once, and ever more rarely if somebody takes it again and again.

The law of this file: times in, yes or no out. It repairs nothing.
"""

from __future__ import annotations

from collections import deque

FREE = 4  # times within WINDOW that are mended at once
WINDOW = 300.0  # s
LEAST, MOST = 1.0, 60.0  # s from one attempt to the next, after that; each is twice the former


class Contest:
    """One thing that is ours. `times`: how often it was put back within WINDOW."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()
        self._pause = 0.0
        self._next = 0.0

    @property
    def times(self) -> int:
        return len(self._times)

    def may(self, now: float) -> bool:
        """Whether it may be put back at this moment; if so, that counts."""
        while self._times and self._times[0] < now - WINDOW:
            self._times.popleft()
        if now < self._next:
            return False
        self._times.append(now)
        self._pause = min(max(self._pause * 2, LEAST), MOST) if len(self._times) >= FREE else 0.0
        self._next = now + self._pause
        return True

    def left(self, now: float) -> float:
        """Seconds until the next attempt."""
        return max(0.0, self._next - now)
