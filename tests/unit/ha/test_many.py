"""Sessions that travel together: each is what it would be in an entry of its own."""

from __future__ import annotations

import os

import pytest

from algate.alg.ha import many
from algate.alg.ha.bulk import YOUNG, BulkWalk, pieces
from algate.alg.ha.entries import PAGE, Authorship, Entry, EntryKind, begin, number, pack, port, unpack
from algate.alg.ha.standby import Standby
from algate.bpf import abi

KEYS = [os.urandom(many.KEY) for _ in range(2000)]
VALUES = [bytes(abi.Session(id=256 * place + 256, port_index=place % 7)) for place in range(2000)]
SLOT = bytes(abi.PortSlot(owner=5, sessions=1))


@pytest.mark.parametrize("count", [1, 2, 2000])
def test_each_key_has_its_value_and_comes_apart_again(count: int) -> None:
    raw = many.woven(b"".join(KEYS[:count]), b"".join(VALUES[:count]))
    assert many.apart(raw) == [key + value for key, value in zip(KEYS[:count], VALUES[:count], strict=True)]
    assert many.ids(raw) == [256 * place + 256 for place in range(count)]
    found = list(many.sessions(raw))
    assert b"".join(one.value or b"" for one in found) == raw
    assert all(len(pack([one])) <= PAGE for one in found)


def test_rows_of_ports_come_apart_again() -> None:
    rows = [(place * 65536, bytes(abi.PortSlot(owner=place))) for place in range(5000)]
    found = list(many.ports(rows))
    assert [one for each in found for one in many.slots(each.value or b"")] == rows
    assert all(len(pack([one])) <= PAGE for one in found)


def walk(bulk: BulkWalk, now: int, told: list[Entry]) -> None:
    steps = bulk.walk(now, told.append)
    next(steps)
    for chunk in bulk.read():
        for piece in pieces(chunk, 300):
            steps.send(piece)
    assert next(steps, "over") == "over"


def walked(values: list[bytes], now: int) -> set[int]:
    """The ids that a standby has after a walk over a table in two chunks."""
    keys = KEYS[: len(values)]
    half = len(values) // 2
    parts = [(b"".join(keys[a:b]), b"".join(values[a:b]), b - a) for a, b in ((0, half), (half, len(values)))]
    told: list[Entry] = []
    walk(BulkWalk(lambda: parts, lambda row: SLOT if row else None, lambda key: 0), now, told)
    standby = Standby()
    standby.take([begin(Authorship("a", "", "", 0, 0.0)), *unpack(pack(told)), Entry(EntryKind.END, b"")])
    assert standby.kept is not None
    assert standby.kept.ports == dict.fromkeys(range(1, 7), SLOT)
    assert all(raw[:-1][: many.KEY] in keys for raw in standby.kept.sessions.values())
    return set(standby.kept.sessions)


def test_a_walk_tells_all_that_are_old_and_all_that_are_watched() -> None:
    everything = {256 * place + 256 for place in range(2000)}
    late = 256 * 2000 + 256 + YOUNG
    assert walked(VALUES, late) == everything
    assert walked(VALUES, 256 * 1000 + YOUNG) == {one for one in everything if one < 256 * 1000}
    some = [bytes(abi.Session(id=256 * place + 256, port_index=place % 7, alg=place % 2)) for place in range(2000)]
    assert walked(some, 0) == {256 * place + 256 for place in range(1, 2000, 2)}, "of any age"


def test_a_watched_session_is_told_with_its_track() -> None:
    value = bytes(abi.Session(id=512, port_index=3, alg=1))
    told: list[Entry] = []
    bulk = BulkWalk(lambda: [(KEYS[0], value, 1)], lambda row: SLOT, lambda key: 512,
                    track=lambda key: b"track of " + key)  # fmt: skip
    for _ in range(2):
        walk(bulk, 0, told)
    assert told == [
        port(3, SLOT), Entry(EntryKind.SESSION, number(512), KEYS[0] + value),
        Entry(EntryKind.TRACK, number(512), b"track of " + KEYS[0]),
    ]  # fmt: skip
