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


BLOCK, PORTS = 3, 100  # the row of a block of public ports, and its size


class Sessions:
    """A table with so many in it, and what sweeps it: it finds `idle` of them to delete. `ports`: of the block."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.used, self.idle = 0, 0
        self.ports = SimpleNamespace(used=0)
        self.crowding: tuple[int, ...] = ()
        monkeypatch.setattr(shares, "range_size", lambda _: PORTS)
        monkeypatch.setattr(shares, "scarce_blocks", lambda _: [BLOCK] if self.ports.used > FULL * PORTS else [])
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
        gateway: Any = SimpleNamespace(max_sessions=SIZE, six=False, pools={abi.POOL_SESSIONS: self, BLOCK: self.ports})
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
        table.used, table.idle = SIZE - 40, 15
        assert [await swept(made) for _ in range(3)] == [True, True, False], "until little is found"
        table.used += 11
        assert not await swept(made), "a quarter of what was left isn't gone yet"
        table.used += 3
        assert [await swept(made), await swept(made)] == [True, False]
        table.used = SIZE
        assert await swept(made), "the room is gone"

    asyncio.run(story())
    assert MOST <= 10, "and every ten seconds in any case"


def test_scarce_ports_are_not_looked_for_again_and_again_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon with a million sessions on 16 addresses took a quarter of a core, one sweep after the other."""

    async def story() -> None:
        table = Sessions(monkeypatch)
        made = table.sweeper()
        table.ports.used = int(FULL * PORTS)
        assert not await swept(made), "not scarce yet"
        table.ports.used = PORTS - 8
        assert [await swept(made) for _ in range(3)] == [True, False, False]
        table.ports.used += 2
        assert not await swept(made), "a quarter of what was left isn't gone yet"
        table.ports.used += 1
        assert [await swept(made), await swept(made)] == [True, False]
        table.ports.used = PORTS
        assert [await swept(made), await swept(made)] == [True, False], "of a block that is gone only a refusal tells"

    asyncio.run(story())


def test_the_few_that_always_end_are_no_reason_for_a_sweep_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a full table with traffic some sessions end at any moment."""

    async def story() -> None:
        table = Sessions(monkeypatch)
        made = table.sweeper()
        table.used, table.idle = SIZE - 40, 5
        assert [await swept(made) for _ in range(2)] == [True, False]

    asyncio.run(story())


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
