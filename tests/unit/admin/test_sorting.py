"""Long lists in order, run by run."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from algate.alg.admin import sorting
from algate.alg.admin.messages import PIECE


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("limit", [None, 0, 1, 100, 5000])
def test_as_one_sort(down: bool, limit: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorting, "RUN", 64)
    items = [(Random(at).randrange(50), at) for at in range(3000)]
    made = asyncio.run(sorting.in_order(items, lambda one: one[0], down, limit))
    pieces = list(made.pieces)
    assert [one for piece in pieces for one in piece] == sorted(items, key=lambda one: one[0], reverse=down)[:limit]
    assert max(map(len, pieces), default=0) <= PIECE
    plain = asyncio.run(sorting.in_order(iter(items), None, limit=limit))
    assert [one for piece in plain.pieces for one in piece] == items[:limit]


def test_others_get_a_turn_after_each_run() -> None:
    async def both() -> int:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        other = asyncio.ensure_future(count())
        await sorting.in_order(range(20 * sorting.RUN), lambda one: -one)
        other.cancel()
        return turns

    assert asyncio.run(both()) >= 20
