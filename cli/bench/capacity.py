"""The highest rate at which nothing is lost, found by trying.

The law of this file: a search over rates; what is sent and how it is judged comes from the caller.
"""

from __future__ import annotations

from collections.abc import Callable

STEPS = 5  # each halves the span, down to 2 or 3 %
SPAN = 2.0  # the first guess is off by at most this factor
TRIES = 3  # tries per rate, the majority decides: a machine that pauses loses frames at any rate
LEAST, MOST = 10_000, 6_000_000  # frames/s
Probe = Callable[[int], bool]
"""Whether everything got through at that rate."""


def highest(probe: Probe, guess: float, steps: int = STEPS) -> int | None:
    """The highest rate (per second) at which `probe` succeeds, near `guess`; None if even a low one fails.

    The bounds move if the guess was bad.
    """
    low, high = max(LEAST, guess / SPAN), min(MOST, guess * SPAN)
    best = None
    while best is None:
        if _passes(probe, low):
            best = low
        elif low <= LEAST:
            return None
        else:
            low, high = max(LEAST, low / SPAN), low
    for _ in range(steps):
        middle = (best * high) ** 0.5
        if _passes(probe, middle):
            best = middle
        else:
            high = middle
    return int(best)


def _passes(probe: Probe, rate: float) -> bool:
    passed = failed = 0
    while max(passed, failed) <= TRIES // 2:
        if probe(int(rate)):
            passed += 1
        else:
            failed += 1
    return passed > failed
