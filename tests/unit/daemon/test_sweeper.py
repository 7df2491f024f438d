"""When a table that is nearly full is swept ahead of time, and when not again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from algate.alg.daemon import sweeper
from algate.alg.daemon.sweeper import MOST, Sweeper
from algate.alg.gateway import pools, shares
from algate.alg.gateway.shares import FULL
from algate.bpf import abi

pytestmark = pytest.mark.unit
SIZE = 1000


class Sessions:
    """A table with so many in it, and what sweeps it: it finds `idle` of them to delete."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.used, self.idle = 0, 0
        self.crowding: tuple[int, ...] = ()
        monkeypatch.setattr(shares, "scarce_blocks", lambda _: ())
        monkeypatch.setattr(shares, "crowding_hosts", lambda _: self.crowding)
        monkeypatch.setattr(pools, "in_use", lambda _: {})
        monkeypatch.setattr(sweeper, "Sweep", lambda *_: self)
        monkeypatch.setattr(pools.Trend, "note", lambda *_: None)
        self.by_state: dict[int, int] = {}
        self.keys: list[bytes] = []
        self.control_ids: dict[int, bytes] = {}
        self.deleted = self.reclaimed = 0

    def run(self) -> Any:
        self.deleted, self.idle = self.idle, 0
        self.used -= self.deleted
        yield

    def age_ports(self) -> Any:
        yield

    def sweeper(self) -> Sweeper:
        gateway: Any = SimpleNamespace(max_sessions=SIZE, six=False, pools={abi.POOL_SESSIONS: self})
        refused = SimpleNamespace(hosts=tuple, settle=lambda _: None)
        helper: Any = SimpleNamespace(refused=refused, forget=lambda _: None)
        control: Any = None
        return Sweeper(gateway, control, helper)


async def swept(made: Sweeper) -> bool:
    """Whether it would sweep now; if so it does."""
    wanted = made._nearly_full()
    if wanted:
        await made._sweep()
    return wanted


def test_a_nearly_full_table_is_not_swept_again_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        table = Sessions(monkeypatch)
        made = table.sweeper()
        table.used = int(FULL * SIZE)
        assert not await swept(made), "it isn't nearly full yet"
        table.used, table.idle = SIZE - 40, 5
        assert [await swept(made) for _ in range(3)] == [True, True, False], "until nothing is found"
        table.used += 11
        assert not await swept(made), "a quarter of what was left isn't gone yet"
        table.used += 2
        assert [await swept(made), await swept(made)] == [True, False]
        table.used = SIZE
        assert await swept(made), "the room is gone"

    asyncio.run(story())
    assert MOST <= 10, "and every ten seconds in any case"


@pytest.mark.parametrize(("took", "calm"), [(0.001, 2.0), (0.9, 9.0)])
def test_a_host_that_has_its_share_is_no_reason_for_a_sweep_after_the_other(
    monkeypatch: pytest.MonkeyPatch, took: float, calm: float
) -> None:
    """One that found nothing costs a tenth of a core at most."""

    async def costs(steps: Iterable[None]) -> float:
        list(steps)
        return took

    async def story() -> None:
        clock = [1000.0]
        monkeypatch.setattr(sweeper, "paced", costs)
        monkeypatch.setattr(time, "monotonic", lambda: clock[0])
        table = Sessions(monkeypatch)
        made = table.sweeper()
        table.crowding = (1,)
        assert await swept(made)
        clock[0] += calm - 0.01
        assert not await swept(made)
        clock[0] += 0.02
        assert await swept(made)

    asyncio.run(story())
