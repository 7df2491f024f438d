"""Ticks near the wrap of 32 bits and on both sides of half of it, and a heartbeat that is never 0."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algate.bpf import abi, ticks
from algate.bpf.ticks import HALF, SECONDS, WRAP

UPTIMES = st.floats(0, 400 * 86400)


def test_the_clock_is_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pytest.approx((1 << abi.TICK_SHIFT) / 1e9) == SECONDS
    wrapped = (5 * WRAP) << abi.TICK_SHIFT
    monkeypatch.setattr(time, "clock_gettime_ns", lambda clock: wrapped if clock == time.CLOCK_MONOTONIC else 1)
    assert ticks.now() == 0
    assert ticks.count() == 5 * WRAP, "0 would say that the helper is dead"


@pytest.mark.parametrize("since", [0, 1, HALF - 1, HALF, WRAP - 1])
def test_distances_are_signed(since: int) -> None:
    for ahead in (0, 1, 5, HALF - 1):
        assert ticks.distance((since + ahead) % WRAP, since) == ahead
        assert ticks.distance((since - ahead) % WRAP, since) == -ahead


@pytest.mark.parametrize("since", [0, 1, HALF, WRAP - 1])
def test_what_has_passed_may_be_more_than_half_of_the_wrap(since: int) -> None:
    for passed in (0, 1, HALF - 1, HALF, HALF + 1, WRAP - ticks.AHEAD):
        assert ticks.elapsed((since + passed) % WRAP, since) == passed * SECONDS
    for ahead in (1, 5000, ticks.AHEAD - 1):
        assert ticks.elapsed((since - ahead) % WRAP, since) == 0


@given(UPTIMES, st.floats(-25 * 86400, 25 * 86400))
def test_a_moment_comes_back(now: float, later: float) -> None:
    """Also one that is past, also after wraps."""
    moment = max(0.0, now + later)
    assert ticks.moment(ticks.at(moment), now) == pytest.approx(moment, abs=1.001 * SECONDS)


@given(st.integers(0, 1 << 44), st.integers(1 - HALF, HALF - 1))
def test_the_whole_count_is_the_nearest(near: int, off: int) -> None:
    assert ticks.whole((near + off) % WRAP, near) == near + off


def test_durations() -> None:
    assert ticks.lasting(0) == ticks.lasting(1e-6) == 1
    assert ticks.lasting(1) == 1_000_000_000 >> abi.TICK_SHIFT
    assert ticks.lasting(1e9) == HALF - 1


@given(st.integers(0, WRAP - 1), st.integers(0, ticks.WINDOW))
def test_a_plain_numbering_orders_what_lies_before(tick: int, age: int) -> None:
    now, signed = ticks.plain(tick)
    seen = (tick - age) % WRAP
    assert now - (seen - WRAP if signed and seen >= HALF else seen) == age
