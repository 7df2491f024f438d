"""The book of what is let in over IPv6: what a table is told, for configured and live entries."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv6Address

import pytest

from algate.alg.config.load import AllowIn
from algate.alg.errors import AlgateError
from algate.alg.gateway import admissions
from algate.alg.gateway.admissions import Admissions
from algate.alg.plugin.values import PortRange

pytestmark = pytest.mark.unit
HOST, OTHER = IPv6Address("2001:db8:1::5"), IPv6Address("2001:db8:1::6")


def entry(port: int, last: int = 0, to: IPv6Address = HOST, proto: str = "tcp") -> AllowIn:
    return AllowIn(proto, PortRange(port, last or port), to)


class FakeTable:
    def __init__(self, *left: tuple[int, AllowIn, bool]) -> None:
        self.rows = {number: (one, live) for number, one, live in left}
        self.told: list[str] = []

    def found(self) -> Iterable[tuple[int, AllowIn, bool]]:
        return [(number, one, live) for number, (one, live) in self.rows.items()]

    def put(self, number: int, one: AllowIn, live: bool) -> None:
        self.told.append(f"put {number} {one.port}{' live' if live else ''}")
        self.rows[number] = one, live

    def drop(self, number: int, one: AllowIn) -> None:
        self.told.append(f"drop {number}")
        assert self.rows.pop(number)[0] == one

    def hits(self, number: int, one: AllowIn) -> int:
        return 40 + number


def test_the_configuration_is_brought_into_force() -> None:
    table = FakeTable()
    book = Admissions(table)
    book.sync([entry(80), entry(443)])
    book.sync([entry(443), entry(22)])
    assert [one.port.first for one in book.all()] == [443, 22]
    book.sync([entry(443), entry(22)])
    assert table.told == ["put 1 80", "put 2 443", "drop 1", "put 1 22"], "nothing is written twice"


def test_live_ones_stay_until_the_configuration_has_them() -> None:
    book = Admissions(FakeTable())
    book.add(entry(9000))
    book.sync([entry(80)])
    assert [(row.port, row.origin, row.hits) for row in book.rows()] == [("9000", "live", 41), ("80", "config", 42)]
    assert book.live() == [entry(9000)]
    book.sync([entry(80), entry(8999, 9001)])
    assert [(row.port, row.origin) for row in book.rows()] == [("8999-9001", "config"), ("80", "config")]


def test_a_live_one_becomes_a_configured_one() -> None:
    table = FakeTable()
    book = Admissions(table)
    assert not book.settle(entry(9000))
    book.add(entry(9000))
    assert book.settle(entry(9000)) and not book.settle(entry(9000))
    assert table.told == ["put 1 9000 live", "put 1 9000"]


def test_what_is_deleted_is_told_by_all_of_its_name() -> None:
    book = Admissions(FakeTable())
    book.sync([entry(80), entry(80, to=OTHER), entry(80, proto="udp"), entry(80 + 1, 90)])
    assert not book.delete("tcp", PortRange(80, 81), HOST) and not book.delete("tcp", PortRange(81, 81), HOST)
    assert book.delete("tcp", PortRange(80, 80), OTHER)
    assert [str(one.to) for one in book.all() if one.port.first == 80] == [str(HOST)] * 2


def test_a_restart_reads_what_is_there() -> None:
    table = FakeTable((3, entry(9000), True), (5, entry(80), False))
    book = Admissions(table)
    book.sync([entry(80)])
    assert table.told == [] and [row.origin for row in book.rows()] == ["live", "config"]


def test_there_is_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admissions, "MOST", 2)
    book = Admissions(FakeTable())
    book.sync([entry(1), entry(2)])
    with pytest.raises(AlgateError, match="there are already 2 services let in"):
        book.add(entry(3))
