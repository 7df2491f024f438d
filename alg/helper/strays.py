"""Expectations that have outlived their time because nobody knows them: the kernel made them (bpf/include/named.h),
and the copy of their line was lost on its way here.

The law of this file: it finds rows and deletes none. What the engine knows is the engine's to end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from algate.alg.gateway import records
from algate.bpf import ticks
from algate.bpf.tables import Table

LATE = ticks.lasting(1.0)  # over its time by more than that: an engine that knows it would have ended it


def strays(expectations: Table[Any, Any], known: Callable[[int], int], now: int) -> Iterator[bytes]:
    """The packed keys of rows that have expired, of which `known` says 0; `now` is a tick. They may be deleted at
    leisure: what has expired admits nobody, and where a row is the kernel makes no other."""
    for keys, values, _ in expectations.chunks():
        for row, number, end in records.ends(keys, values):
            if ticks.distance(now, end) > LATE and not known(number):
                yield row
