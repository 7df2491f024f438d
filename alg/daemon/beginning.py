"""Where a start's time goes: a word and a time for each part, from the process's first moment to `ready`.

The law of this file: it reads clocks.
"""

from __future__ import annotations

import os
import time
from pathlib import Path


class Beginning:
    """Parts in their order. The first one, until this is made, is the imports."""

    def __init__(self) -> None:
        self._began = _process_began()
        self._parts = [("imports", _clock())]

    def done(self, part: str) -> None:
        """This part ends now, and the next begins."""
        self._parts.append((part, _clock()))

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
