"""A gateway's rounds at the engine: what is done in which order, what is told, and the log of who had what."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest

from algate.alg.ha.leases import KEY, LeaseTable, LeaseTerms, Lessee
from algate.alg.ha.leasing import LOG, LeasePeriod, Leasing, boot, periods, shown
from algate.alg.ha.memory import MemoryKeys, MemoryLog, MemoryStore
from algate.alg.ha.store import StoreError

pytestmark = pytest.mark.unit
TERMS = LeaseTerms(4, 60.0, 120.0, "203.0.113.1 1024-65535 512")


class Ports:
    """Notes what it is told. `used`: lots with ports in use; `stuck`: some can't be ended."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.used: set[int] = set()
        self.stuck = False

    def empty(self, lots: Collection[int]) -> set[int]:
        return set(lots) - self.used

    async def clear(self, lots: Collection[int]) -> bool:
        self.told.append(("clear", set(lots)))
        return not self.stuck

    def open(self, lots: Collection[int]) -> None:
        self.told.append(("open", set(lots)))

    def last(self, new_until: float, gone_at: float) -> None:
        assert boot() < new_until < boot() + TERMS.seconds < gone_at < boot() + TERMS.seconds + TERMS.hold
        self.told.append("last")


def gateway(store: MemoryStore, name: str, ports: Ports, terms: LeaseTerms = TERMS) -> Leasing:
    return Leasing(Lessee(name, terms), MemoryKeys(store), lambda: MemoryLog(store, LOG), ports)


def test_the_first_has_all_and_gives_half_to_the_second_what_is_empty_before_the_rest() -> None:
    async def play() -> None:
        store, ours, theirs = MemoryStore(), Ports(), Ports()
        one, other = gateway(store, "one.1", ours), gateway(store, "other.1", theirs)
        assert await one.round() and ours.told == [("open", {0, 1, 2, 3}), "last"]
        assert await other.round() and theirs.told == [("open", set()), "last"]
        ours.used = {0, 2, 3}
        for _ in range(3):
            assert await one.round() and await other.round()
        assert one.lessee.lots == {0, 2} and one.lessee.draining == {3} and other.lessee.lots == {1}
        ours.used = {0, 2}
        assert await one.round() and await other.round()
        assert one.lessee.draining == set() and other.lessee.lots == {1, 3}
        told = [(row.lot, shown(row.node), row.until is None) for row in await other.history()]
        assert told == [
            (1, "one", False),
            (3, "one", False),
            (0, "one", True),
            (1, "other", True),
            (2, "one", True),
            (3, "other", True),
        ]

    asyncio.run(play())


def test_what_another_may_have_ends_before_the_lease_is_written_anew() -> None:
    async def play() -> None:
        store, ports = MemoryStore(), Ports()
        one = gateway(store, "one.1", ports)
        assert await one.round()
        table = LeaseTable.read(store.keys[KEY], TERMS)
        taken = {lot: held._replace(owner="other.1") if lot > 1 else held for lot, held in table.held.items()}
        store.keys[KEY] = bytes(table._replace(held=taken, turn=9, version=2, beats={"one.1": 1, "other.1": 9}))
        ports.told.clear()
        ports.stuck = True
        with pytest.raises(StoreError, match="still in use here"):
            await one.round()
        assert ports.told == [("clear", {2, 3})]  # and nothing is longer than it was
        ports.stuck = False
        assert await one.round()
        assert ports.told[1:] == [("clear", {2, 3}), ("open", {0, 1}), "last"]

    asyncio.run(play())


def test_the_log_lacks_nothing_though_its_writer_died() -> None:
    async def play() -> None:
        store = MemoryStore()
        one, other = gateway(store, "one.1", Ports()), gateway(store, "other.1", Ports())
        assert await one.round()
        store.logs.clear()
        store.ends.clear()  # it died before it wrote
        one = gateway(store, "one.1", Ports())
        for _ in range(4):
            await other.round()
            await one.round()
        assert [record.position.epoch for record in store.logs[LOG]] == [1, 2, 3]

    asyncio.run(play())


def test_gateways_that_share_something_else_lease_nothing() -> None:
    async def play() -> None:
        store = MemoryStore()
        assert await gateway(store, "one.1", Ports()).round()
        with pytest.raises(StoreError, match="must be the same"):
            await gateway(store, "other.1", Ports(), TERMS._replace(hold=1.0)).round()
        store.keys[KEY] = b"what"
        with pytest.raises(StoreError, match="something else"):
            await gateway(store, "other.1", Ports()).round()

    asyncio.run(play())


def test_periods() -> None:
    told = [(1.0, {0: "a"}), (2.0, {0: "a", 1: "b"}), (3.0, {1: "b"}), (3.0, {1: "b"})]
    assert periods(told) == [LeasePeriod(0, "a", 1.0, 3.0), LeasePeriod(1, "b", 2.0, None)]
