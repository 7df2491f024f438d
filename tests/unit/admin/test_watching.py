"""What `top` is told: the best of those wanted, true totals, families, and how seldom the table is walked."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from algate.alg.admin import listings, watching
from algate.alg.admin.watching import Watching
from algate.alg.errors import AlgateError
from algate.bpf import abi
from tests.many_sessions import ManySessions

EXPECTED = int(abi.SessionFlag.EXPECTED)


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> ManySessions:
    return ManySessions(monkeypatch)


def look(many: ManySessions, **args: Any) -> dict[str, Any]:
    return asyncio.run(Watching(many.running, args).look())


def ports(seen: dict[str, Any]) -> list[int]:
    return [int(row.inside.rpartition(":")[2]) for row in seen["sessions"]]


def test_the_best_of_all_and_how_many_there_are(many: ManySessions) -> None:
    """Not the first ones found: the busiest is the last of 5000."""
    for number in range(1, 5001):
        many.add(number, bytes=(number, 0))
    seen = look(many, limit=3, sort="bytes")
    assert ports(seen) == [5000, 4999, 4998]
    assert (seen["shown"], seen["matched"], seen["total"]) == (3, 5000, 5000)
    seen = look(many, limit=2, sort="bytes", reverse=True, inside="10.0.0.1:40")
    assert (ports(seen), seen["shown"], seen["matched"], seen["total"]) == ([40], 1, 1, 5000)


def test_a_control_session_brings_its_data_and_a_data_session_its_control(many: ManySessions) -> None:
    many.add(1, remote_port=21, alg=1, bytes=(10, 0))
    for number in (2, 3):
        many.add(number, flags=EXPECTED, bytes=(number, 0))
        many.parents[many.id(number)] = many.id(1)
    many.add(4, alg=1)
    many.add(5, bytes=(1000, 0))
    for args, best, more in (
        ({"alg": "ftp", "limit": 1}, [1], {2, 3}),
        ({"inside": ":2"}, [2], {1, 3}),
        ({"limit": 1}, [5], set()),
    ):
        seen = look(many, sort="bytes", **args)
        assert ports(seen)[: len(best)] == best and set(ports(seen)[len(best) :]) == more, args
        assert seen["shown"] == len(best)


def test_rows_are_read_anew_and_the_table_is_walked_seldom(many: ManySessions, monkeypatch: pytest.MonkeyPatch) -> None:
    """A walk that takes long is paid for by a long rest; meanwhile what is shown lives and dies."""
    for number in range(1, 9):
        many.add(number, bytes=(number, 0))
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    slow = listings.walk

    async def walk(*given: Any) -> None:
        clock[0] += 0.5
        await slow(*given)

    async def looks() -> None:
        view = Watching(many.running, {"limit": 4, "sort": "bytes"})
        monkeypatch.setattr(listings, "walk", walk)
        assert ports(await view.look()) == [8, 7, 6, 5] and many.walks == 1
        many.rows[next(key for key in many.rows if abi.SessionKey.unpack(key).inside_port == abi.be16(7))].bytes[0] = 99
        del many.rows[next(key for key in many.rows if abi.SessionKey.unpack(key).inside_port == abi.be16(6))]
        for _ in range(4):
            clock[0] += 1.0
            seen = await view.look()
            for _ in range(9):  # a walk that was begun would run now
                await asyncio.sleep(0)
        assert many.walks == 1 and ports(seen) == [8, 7, 5] and seen["shown"] == 3
        assert [row.bytes_out for row in seen["sessions"]] == [8, 99, 5]
        assert seen["walked"] == 4.0 and seen["total"] == 8
        clock[0] += 1.0
        for _ in range(50):
            await view.look()
            await asyncio.sleep(0)
        assert many.walks == 2
        assert ports(await view.look()) == [7, 8, 5, 4]

    asyncio.run(looks())


def test_by_rate_what_moves_comes_first(many: ManySessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "FRESH", 0.0)
    monkeypatch.setattr(watching, "REST", 0.0)
    for number in range(1, 9):
        many.add(number, bytes=(10_000 - number, 0), age=50.0)

    async def looks() -> list[int]:
        view = Watching(many.running, {"limit": 2})
        assert ports(await view.look()) == [1, 2], "at first by the mean of their lives"
        many.rows[next(key for key in many.rows if abi.SessionKey.unpack(key).inside_port == abi.be16(5))].bytes[1] += 7
        for _ in range(20):
            await asyncio.sleep(0.001)
            seen = await view.look()
        return ports(seen)

    assert asyncio.run(looks())[0] == 5


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"sort": "speed"}, "--sort: 'speed' is not one of"),
        ({"limit": "x"}, "--limit"),
        ({"alg": "nope"}, "no plug-in 'nope'"),
    ],
)
def test_wrong_wishes(many: ManySessions, args: dict[str, Any], said: str) -> None:
    with pytest.raises(AlgateError, match=said):
        Watching(many.running, args)
