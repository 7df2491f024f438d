"""What the kernel's stamps mean in rows: durations and times beyond the wrap of a tick."""

from __future__ import annotations

import time
from typing import Any

import pytest

from algate.alg.gateway import counted, listing
from algate.bpf import abi, ticks
from tests.fake_tables import Tables

DAY = 86400


@pytest.mark.parametrize(("made", "lasted"), [(99, 1), (60, 30), (1, 98), (90, 0)])
def test_a_session_may_last_longer_than_a_tick_can_tell(
    made: int, lasted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its creation time is complete, and its last packet is near."""
    monkeypatch.setattr(time, "clock_gettime_ns", lambda clock: 100 * DAY * 1_000_000_000)
    tables: Any = Tables(monkeypatch)
    key = abi.SessionKey(proto=6)
    tables.sessions.put(
        key, abi.Session(id=made * DAY * 1_000_000_000, last_seen=ticks.at((made + lasted) * DAY), packets=(1, 2))
    )
    found = counted.counters(tables, bytes(key))
    assert found is not None and found.packets == (1, 2)
    assert found.seconds == pytest.approx(lasted * DAY, abs=1.01 * ticks.SECONDS)


def test_an_expectation_that_is_past_has_no_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    tables: Any = Tables(monkeypatch)
    now = time.clock_gettime(time.CLOCK_MONOTONIC)
    for number, expires in enumerate((now - 5, now + 5)):
        key = abi.ExpectationKey(to=number, proto=6, dir=abi.Direction.IN)
        state = abi.ExpectationState.OPEN
        tables.expectations.put(key, abi.Expectation(id=1, state=state, expires=ticks.at(expires), first=7, last=9))
    past, soon = listing.expectation_rows(tables, {})
    assert past.expires_in == 0 and soon.expires_in == pytest.approx(5, abs=0.5)
    assert (past.from_, past.public) == ("any", "0.0.0.0:7-9")
