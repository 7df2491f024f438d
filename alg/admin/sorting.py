"""Long lists in order while the daemon's loop goes on: runs that are sorted in a moment, merged as they are sent.

The law of this file: no step takes longer than a run; it knows neither rows nor tables.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from algate.alg.admin.messages import PIECE, Rows

T = TypeVar("T")
RUN = 2048  # items sorted at once: 1 ms


async def in_order(
    items: Iterable[T], key: Callable[[T], Any] | None, down: bool = True, limit: int | None = None
) -> Rows:
    """The items by `key` (None: as they are), largest first if `down`; where equal, in their order. `limit`: the first
    ones alone."""
    rest, runs = iter(items), list[list[T]]()
    while some := list(islice(rest, RUN)):
        if key is not None:
            some.sort(key=key, reverse=down)
        runs.append(some[:limit])
        await asyncio.sleep(0)
    merged = heapq.merge(*runs, key=key, reverse=down) if key is not None else (one for run in runs for one in run)
    return Rows(pieces(islice(merged, limit)))


def pieces(items: Iterable[T]) -> Iterator[list[T]]:
    """The items, so many at a time as are sent at once."""
    rest = iter(items)
    while some := list(islice(rest, PIECE)):
        yield some
