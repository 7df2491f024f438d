"""The kernel's clock as Python reckons with it: ticks of 2^20 ns (about 1.05 ms) of CLOCK_MONOTONIC.

The law of this file: the only place where ticks and seconds become each other. In maps a tick has 32 bits and wraps
after 52 days, so two of them are compared by their signed distance, which is right while they lie less than 26 days
apart. Moments are seconds of CLOCK_MONOTONIC, durations are seconds, both as float.
"""

from __future__ import annotations

import time

from algate.bpf import abi

SECONDS = (1 << abi.TICK_SHIFT) / 1e9  # of one tick
WRAP = 1 << 32
HALF = WRAP // 2
AHEAD = 1 << 16  # a minute: far more than two CPUs' clocks differ
WINDOW = WRAP // 4  # 13 days: how far a tick may lie behind another and be compared with it by `plain`


def count() -> int:
    """Ticks since boot, not wrapped. A heartbeat is told so: 0 would say that there is no helper."""
    return of(time.clock_gettime_ns(time.CLOCK_MONOTONIC))


def now() -> int:
    """The tick of this moment."""
    return count() % WRAP


def at(moment: float) -> int:
    """The tick of a moment."""
    return of(int(moment * 1e9)) % WRAP


def of(ns: int) -> int:
    """The count since boot of a moment in ns, which an id of a session tells."""
    return ns >> abi.TICK_SHIFT


def lasting(seconds: float) -> int:
    """A duration in ticks: at least one, at most half of the wrap."""
    return max(1, min(of(int(seconds * 1e9)), HALF - 1))


def distance(tick: int, since: int) -> int:
    """Ticks from `since` to `tick`; negative if `tick` lies before it."""
    return (tick - since + HALF) % WRAP - HALF


def elapsed(tick: int, since: int) -> float:
    """Seconds from `since` to a later `tick`, right for 52 days; 0 if `since` is ahead, as other CPUs are."""
    passed = (tick - since) % WRAP
    return 0.0 if passed > WRAP - AHEAD else passed * SECONDS


def whole(tick: int, near: int) -> int:
    """The count since boot that a tick stands for, of all that it could be the one nearest to the count `near`."""
    return near + distance(tick, near % WRAP)


def moment(tick: int, near: float) -> float:
    """The moment that a tick stands for, of all that it could be the one nearest to the moment `near`."""
    return whole(tick, of(int(near * 1e9))) * SECONDS


def plain(tick: int) -> tuple[int, bool]:
    """A numbering in which ticks up to WINDOW before `tick` compare as plain numbers: (`tick` in it, whether it is
    signed). Near the wrap 32 bits are read as signed, elsewhere as they are."""
    signed = not WINDOW <= tick < 3 * WINDOW
    return (tick - WRAP if signed and tick >= HALF else tick), signed
