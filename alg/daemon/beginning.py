"""Where a start's time goes: a word and a time for each part, from the process's first moment to `ready`.

The law of this file: it reads clocks, and tells the log of the start when that is over.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

log = logging.getLogger(__name__)


class Beginning:
    """Parts in their order. The first one, until this is made, is the imports."""

    def __init__(self) -> None:
        self._began = _process_began()
        self._parts = [("imports", _clock())]

    def done(self, part: str) -> None:
        """This part ends now, and the next begins."""
        self._parts.append((part, _clock()))

    def tell(self, taken: int, kept: bool, way: str, pause: float | None) -> None:
        """Log what became of it. `taken`: control sessions that go on, `kept`: whether programs of an earlier run do;
        `way`: how packets are taken; `pause`: s without a helper, if a running daemon gave way."""
        if taken or kept:
            log.info("took over %d control sessions%s", taken, ", and all programs" if kept else "")
        log.info("translating: %s", way)
        log.info("ready after %s", self)
        if pause is not None:
            log.info("took over from a running daemon: no helper for %.0f ms", 1e3 * pause)

    def __str__(self) -> str:
        at, words = self._began, []
        for name, end in self._parts:
            words.append(f"{name} {end - at:.2f}")
            at = end
        return f"{at - self._began:.2f} s ({', '.join(words)})"


def _clock() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _process_began() -> float:
    """On the same clock, to a hundredth of a second."""
    words = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(words[19]) / os.sysconf("SC_CLK_TCK")
