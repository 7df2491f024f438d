"""The kernel's clock as Python uses it: ticks of 2^20 ns (about 1.05 ms) of CLOCK_MONOTONIC.

The law of this file: the only place that converts between ticks and seconds. In maps a tick has 32 bits and wraps
after 52 days, so two of them are compared by their signed distance, which is right while they are less than 26 days
apart. Moments are seconds of CLOCK_MONOTONIC, durations are seconds, both as float.
"""

from __future__ import annotations

import time

from algate.bpf import abi

SECONDS = (1 << abi.TICK_SHIFT) / 1e9  # of one tick
WRAP = 1 << 32
HALF = WRAP // 2
AHEAD = 1 << 16  # a minute: far more than the clocks of two CPUs differ
WINDOW = WRAP // 4  # 13 days: how far a tick may be behind another for `plain` to compare them


def count() -> int:
    """Ticks since boot, not wrapped. Heartbeats use it: a wrapped 0 would say that there is no helper."""
    return of(time.clock_gettime_ns(time.CLOCK_MONOTONIC))


def now() -> int:
    """The tick of this moment."""
    return count() % WRAP


def at(moment: float) -> int:
    """The tick of a moment."""
    return of(int(moment * 1e9)) % WRAP


def of(ns: int) -> int:
    """Ticks since boot for a moment in ns, such as a session's id holds."""
    return ns >> abi.TICK_SHIFT


def lasting(seconds: float) -> int:
    """A duration in ticks: at least one, at most half of the range."""
    return max(1, min(of(int(seconds * 1e9)), HALF - 1))


def distance(tick: int, since: int) -> int:
    """Ticks from `since` to `tick`; negative if `tick` is earlier."""
    return (tick - since + HALF) % WRAP - HALF


def elapsed(tick: int, since: int) -> float:
    """Seconds from `since` to a later `tick`, right for 52 days; 0 if `since` is a bit ahead, as other CPUs may be."""
    passed = (tick - since) % WRAP
    return 0.0 if passed > WRAP - AHEAD else passed * SECONDS


def whole(tick: int, near: int) -> int:
    """The ticks since boot that a tick stands for: of all possible counts, the one nearest to `near`."""
    return near + distance(tick, near % WRAP)


def moment(tick: int, near: float) -> float:
    """The moment that a tick stands for: of all possible moments, the one nearest to `near`."""
    return whole(tick, of(int(near * 1e9))) * SECONDS


def plain(tick: int) -> tuple[int, bool]:
    """A scale on which ticks up to WINDOW before `tick` compare as plain numbers: (`tick` on it, whether it is
    signed). Near the wrap the 32 bits are read as signed, elsewhere as unsigned."""
    signed = not WINDOW <= tick < 3 * WINDOW
    return (tick - WRAP if signed and tick >= HALF else tick), signed
