"""A standby's tables: what the other node told is in them before the address comes, and later what it holds."""

from __future__ import annotations

import asyncio
from typing import cast

from algate.alg.gateway import estate, records
from algate.alg.ha.entries import Authorship, Entry, EntryKind, begin, number, port
from algate.alg.ha.inheriting import KEY
from algate.alg.ha.standby import KeptState, Standby
from algate.alg.ha.warming import Warming, WarmTables
from algate.alg.ha.written import over
from algate.bpf import abi
from algate.bpf.packing import native

WHO = Authorship("a", abi.layout_hash(), "boot", 0, 0.0)
SLOT = bytes(abi.PortSlot(owner=1, sessions=3))


class Tables:
    """The kernel's, as dictionaries. `order`: the names of what was written, in turn."""

    def __init__(self) -> None:
        self.maps: dict[str, dict[bytes, bytes]] = {"sessions": {}, "ports": {}}
        self.order: list[str] = []

    def put(self, name: str, rows: dict[bytes, bytes]) -> None:
        self.maps[name] |= rows
        self.order.append(name)

    def drop(self, key: bytes, number: int) -> None:
        raw = self.maps["sessions"].get(key)
        if raw is not None and records.unpack_session(raw).id == number:
            del self.maps["sessions"][key]

    def ids(self) -> set[int]:
        return {records.unpack_session(raw).id for raw in self.maps["sessions"].values()}


def key_of(place: int) -> bytes:
    return place.to_bytes(KEY, "little")


def entry(one: int, place: int, row: int = 7, flags: int = 0) -> Entry:
    value = abi.Session(id=one, state=abi.SessionState.ESTABLISHED, port_index=row, flags=flags)
    return Entry(EntryKind.SESSION, number(one), key_of(place) + bytes(value))


def told(*entries: Entry, standby: Standby | None = None) -> KeptState:
    made = standby or Standby()
    made.take([begin(WHO), port(7, SLOT), *entries, Entry(EntryKind.END, b"")])
    assert made.kept is not None
    return made.kept


def warming(who: Authorship = WHO) -> tuple[Warming, Tables]:
    tables = Tables()
    return Warming(cast(WarmTables, tables), who), tables


def work(one: Warming) -> None:
    asyncio.run(one.catch_up())


def test_what_is_told_is_in_the_tables_with_its_port_first() -> None:
    one, tables = warming()
    one.take(told(entry(100, 1), entry(200, 2)))
    work(one)
    assert tables.ids() == {100, 200}
    assert tables.maps["ports"] == {native(7, 4): SLOT}
    assert tables.order == ["ports", "sessions"]
    assert all(records.unpack_session(raw).last_seen for raw in tables.maps["sessions"].values())


def test_what_ends_leaves_but_not_who_has_its_key_by_now() -> None:
    one, tables = warming()
    standby = Standby()
    kept = told(entry(100, 1), entry(200, 2), standby=standby)
    one.take(kept)
    work(one)
    news = [entry(300, 1), over(100), over(200)]
    standby.take(news)
    one.take(kept, news)
    work(one)
    assert tables.ids() == {300}


def test_a_log_that_begins_anew_leaves_nothing_that_it_does_not_tell() -> None:
    one, tables = warming()
    one.take(told(entry(100, 1), entry(200, 2)))
    work(one)
    one.take(told(entry(200, 2), entry(300, 3)))
    work(one)
    assert tables.ids() == {200, 300}


def test_a_session_without_its_port_is_not_entered() -> None:
    one, tables = warming()
    one.take(told(entry(100, 1, row=8)))
    work(one)
    assert not tables.ids()


def test_a_control_session_waits_for_what_shifts_its_numbers() -> None:
    one, tables = warming()
    value = abi.Session(id=100, state=abi.SessionState.ESTABLISHED, port_index=7, alg=1)
    one.take(told(Entry(EntryKind.SESSION, number(100), key_of(1) + bytes(value))))
    work(one)
    assert not tables.ids()


def test_another_versions_tables_are_not_followed() -> None:
    one, tables = warming(WHO._replace(layout="another"))
    one.take(told(entry(100, 1)))
    work(one)
    assert not tables.ids()


def test_at_a_take_over_the_estate_decides_what_stays() -> None:
    one, tables = warming()
    expected = abi.SessionFlag.EXPECTED
    one.take(told(entry(100, 1), entry(200, 2), entry(300, 3, flags=expected)))
    work(one)
    found = estate.Estate()
    for each in (entry(100, 1), entry(300, 3)):  # what was expected by nobody is a session like others
        assert each.value is not None
        found.maps["sessions"][each.value[:KEY]] = each.value[KEY:]
    assert set(one.settle(found)) == {key_of(1)}
    assert tables.ids() == {100, 300}
    assert tables.maps["ports"][native(7, 4)] == bytes(abi.PortSlot()), "nobody stands on it"
