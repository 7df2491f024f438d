"""The first N sessions by each order, and rates from two walks."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from algate.alg.gateway.best import Best, Earlier
from algate.bpf import abi
from tests.unit.gateway.test_survey import LIMITS, batch, chosen, some_sessions


def ids(found: Best) -> list[int]:
    return [abi.Session.unpack(value).id for _, value in found.found()]


@pytest.mark.parametrize("sort", ["bytes", "packets", "age", "idle"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("limit", [0, 1, 7, 1000])
def test_the_best_are_those_of_a_whole_sort(sort: str, reverse: bool, limit: int) -> None:
    rows = some_sessions(1)
    best = Best(sort, limit, reverse)
    for start in range(0, len(rows), 64):
        made = batch(*rows[start : start + 64])
        best.take(made, chosen(made))
    keys: dict[str, Callable[[dict[str, Any]], int]] = {
        "bytes": lambda row: sum(row["bytes"]),
        "packets": lambda row: sum(row["packets"]),
        "age": lambda row: -row["id"],
        "idle": lambda row: row["idle"],
    }
    in_order = sorted(rows, key=keys[sort], reverse=not reverse)  # stable: the table's order where equal
    expected = [row["id"] for row in in_order]
    assert ids(best) == expected[:limit]
    assert best.number == len(rows)


def test_rates_are_differences_though_sessions_come_and_go() -> None:
    """The second walk meets other batches: one session is gone, one is new, the rest have moved."""
    rows: list[dict[str, Any]] = [{"id": number, "bytes": (1000 * number, 0)} for number in range(1, 9)]
    before = Earlier()
    for part in (rows[:4], rows[4:]):
        before.take(batch(*part), ())
    later = [{**row, "bytes": (row["bytes"][0] + 100 - row["id"], 0)} for row in rows if row["id"] != 2]
    later.insert(3, {"id": 99, "bytes": (60, 0)})
    best = Best("rate", 3, False, before)
    for part in (later[:4], later[4:]):
        made = batch(*part)
        best.take(made, chosen(made))
    assert ids(best) == [1, 3, 4]


def earlier(rows: list[dict[str, Any]], size: int) -> Earlier:
    made = Earlier()
    for start in range(0, len(rows), size):
        made.take(batch(*rows[start : start + size]), ())
    return made


@pytest.mark.parametrize("seed", range(8))
def test_growth_of_a_table_in_which_much_comes_and_goes(seed: int) -> None:
    """Sessions leave, singly and in stretches, new ones come between the old ones, and batches begin elsewhere."""
    random = Random(seed)
    rows: list[dict[str, Any]] = [
        {"id": number, "bytes": (random.randrange(1 << 40), random.randrange(1 << 40))} for number in range(1, 400)
    ]
    first = earlier(rows, 32)
    later: list[dict[str, Any]] = []
    grown: dict[int, tuple[int, int]] = {}
    for row in rows:
        if random.random() < 0.1:
            later.append({"id": first.began + row["id"], "bytes": (row["id"], 7)})
            grown[first.began + row["id"]] = (row["id"], 7)
        if random.random() < 0.1 or 100 <= row["id"] < 100 + 8 * seed:
            continue
        more = random.randrange(1000), random.randrange(1000)
        later.append({**row, "bytes": (row["bytes"][0] + more[0], row["bytes"][1] + more[1])})
        grown[row["id"]] = more
    for _ in range(2):
        first.rewind()
        found: dict[int, tuple[int, int]] = {}
        for start in range(0, len(later), 32):
            some = later[start : start + 32]
            out, back = first.growth(batch(*some))
            found.update(zip((row["id"] for row in some), zip(out, back, strict=True), strict=True))
        assert found == grown


def test_an_old_session_that_is_lost_sight_of_counts_for_nothing() -> None:
    """Most of the table left at once. Its bytes of hours aren't those of a second."""
    rows: list[dict[str, Any]] = [{"id": number, "bytes": (10**12, 0)} for number in range(1, 1001)]
    first = earlier(rows, 32)
    out, back = first.growth(batch({"id": 999, "bytes": (10**12 + 5, 0)}))
    assert (out, back) == ([0], [0])
    assert first.growth(batch({"id": first.began + 1, "bytes": (40, 2)})) == ([40], [2])


def test_rates_without_a_first_walk_are_means_of_a_life(monkeypatch: pytest.MonkeyPatch) -> None:
    second = 1_000_000_000
    monkeypatch.setattr("time.clock_gettime_ns", lambda _: 1000 * second)
    made = batch(
        {"id": 1 * second, "bytes": (9990, 0)}, {"id": 998 * second, "bytes": (0, 200)}, {"id": 2, "bytes": (0, 0)}
    )
    best = Best("rate", 2, False)
    best.take(made, [0, 1, 2])
    assert ids(best) == [998 * second, 1 * second]


@pytest.mark.parametrize(
    ("sort", "key"),
    [
        ("inside", lambda row: (row["inside"], row["inside_port"])),
        ("outside", lambda row: row["remote_port"]),
        ("proto", lambda row: row["proto"]),
        ("expires", lambda row: -row["idle"]),
        ("mapped", lambda row: row["port_index"]),
        ("state", lambda row: row["state"]),
    ],
)
@pytest.mark.parametrize("reverse", [False, True])
def test_rising_orders(sort: str, key: Callable[[dict[str, Any]], Any], reverse: bool) -> None:
    random = Random(3)
    rows = [
        row
        | {
            "inside_port": random.randrange(65536),
            "port_index": random.randrange(65536),
            "state": random.choice((1, 2)),
        }
        for row in some_sessions(4)
    ]
    best = Best(sort, 50, reverse, None, LIMITS)
    for start in range(0, len(rows), 64):
        made = batch(*rows[start : start + 64])
        best.take(made, chosen(made))
    expected = sorted(rows, key=key, reverse=reverse)
    by_id = {row["id"]: row for row in rows}
    assert [key(by_id[one]) for one in ids(best)] == [key(row) for row in expected[:50]]
