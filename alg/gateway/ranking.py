"""The sessions that come first by any column of `top`, found in one walk over raw batches, and how many match.

The law of this file: as in best.py, for a look that is taken again and again: it keeps what the next one compares with,
and where nothing is filtered it judges only those that could come first. A look at a million sessions takes less than
half a second, where the first N of a filtered listing take twice that.
"""

from __future__ import annotations

import copy
import heapq
import sys
from array import array
from collections.abc import Mapping, Sequence

from algate.alg.gateway import records, survey
from algate.alg.gateway.best import Best, Earlier
from algate.alg.gateway.gc import Batch
from algate.alg.gateway.records import PROTO_NAMES
from algate.bpf import abi
from algate.bpf.packing import entry, numbers

FAMILY_MAX = 20_000  # control sessions and data connections whose keys are kept
EXPECTED = bytes(bool(flags & abi.SessionFlag.EXPECTED) for flags in range(256))
WITHOUT_RATES = {"rate": "bytes", "rate-out": "out", "rate-in": "in"}
Limits = Mapping[int, Sequence[int]]


class Ranked(Best):
    """The first `limit` by `sort`, a name of SORTS; `reverse`: the last ones. `before`: what rates are counted from;
    without it, bytes stand for them. `names`: plug-in's number -> name.

    `number` counts those that were wanted; where all are, those that aren't dead. `seen`: what this walk saw.
    `family`: id -> packed key of control sessions and of data connections.
    """

    def __init__(
        self, sort: str, limit: int, reverse: bool, limits: Limits, now_ns: int, before: Earlier | None = None,
        names: Mapping[int, str] | None = None,
    ) -> None:  # fmt: skip
        if before is None:
            sort = WITHOUT_RATES.get(sort, sort)
        former = copy.copy(before) if before is not None else None  # it counts on from where it is
        super().__init__(SORTS[sort][0], limit, reverse != SORTS[sort][1], former, limits)
        self.seen = Earlier()
        self.family: dict[int, bytes] = {}
        self._name, self._now_ns, self._place = sort, now_ns, 0
        self._algs = _ranks({**(names or {}), 0: "~"})

    def take(self, batch: Batch, some: Sequence[int] | None) -> None:
        """Judge a batch. `some`: the places of those alive and wanted; None: all are wanted that are alive."""
        self.seen.take(batch, ())
        self._relate(batch)
        self.number += len(batch.states) - batch.states.count(survey.DEAD) if some is None else len(some)
        column = self._values(batch) if self._limit else ()
        first = self._possible(column, some)
        if some is None and first:
            alive = set(survey.places(batch, survey.Wanted(), self._limits, self._now_ns))
            first = [at for at in first if at in alive]
        for at in first:
            rank = -self._place - at
            one = (
                column[at] * self._sign,
                rank,
                entry("session_key", batch.keys, at),
                entry("session", batch.values, at),
            )
            if len(self._heap) < self._limit:
                heapq.heappush(self._heap, one)
            elif one > self._heap[0]:
                heapq.heapreplace(self._heap, one)
        self._place += len(batch.states)

    def _possible(self, column: Sequence[int], some: Sequence[int] | None) -> Sequence[int]:
        """Places of those that could still be among the first."""
        if not self._limit:
            return ()
        if len(self._heap) < self._limit:
            return range(len(column)) if some is None else some
        floor = self._heap[0][0]
        if some is not None:
            return [at for at in some if column[at] * self._sign > floor]
        if self._sign > 0:
            return [at for at, value in enumerate(column) if value > floor]
        return [at for at, value in enumerate(column) if -value > floor]

    def _relate(self, batch: Batch) -> None:
        """Note the keys of control sessions and data connections."""
        marks = batch.flags.translate(EXPECTED)
        if len(self.family) < FAMILY_MAX and (any(marks) or any(batch.algs)):
            ids = numbers("session", "id", batch.values)
            for at, (alg, mark) in enumerate(zip(batch.algs, marks, strict=True)):
                if alg or mark:
                    self.family[ids[at]] = entry("session_key", batch.keys, at)

    def _values(self, batch: Batch) -> Sequence[int]:
        match self._name:
            case "rate-out" | "rate-in":
                assert self._earlier is not None
                return self._earlier.growth(batch)[self._name == "rate-in"]
            case "out" | "in":
                return records.amounts("bytes", batch.values, self._name == "in")
            case "flow":
                algs = self._algs
                return [algs[alg] * 256 + PROTO_RANKS[proto]
                        for alg, proto in zip(batch.algs, batch.protos, strict=True)]  # fmt: skip
            case "mapped":
                ips = _swapped(numbers("session", "public_ip", batch.values))
                ports = numbers("session", "port_index", batch.values)
                return [ip << 16 | port & 0xFFFF for ip, port in zip(ips, ports, strict=True)]
        return self._column(batch)


SORTS: Mapping[str, tuple[str, bool]] = {
    "rate": ("rate", False), "rate-out": ("rate", False), "rate-in": ("rate", False),
    "bytes": ("bytes", False), "out": ("bytes", False), "in": ("bytes", False), "packets": ("packets", False),
    "age": ("age", True), "idle": ("idle", False), "expires": ("expires", False), "state": ("state", False),
    "flow": ("proto", False), "inside": ("inside", False), "outside": ("outside", False), "mapped": ("mapped", False),
    "id": ("age", False),
}  # fmt: skip
"""Column -> the order of best.py whose direction it has, and whether it is the other way round: the youngest first."""


def _ranks(names: Mapping[int, str]) -> list[int]:
    """Number -> place of its name in alphabetical order."""
    ranks = [0] * 256
    for place, number in enumerate(sorted(names, key=lambda one: names[one])):
        ranks[number] = place
    return ranks


PROTO_RANKS = _ranks({number: PROTO_NAMES.get(number, str(number)) for number in range(256)})


def _swapped(raw: Sequence[int]) -> array[int]:
    """Numbers of 4 bytes in network order as this machine has them."""
    made = array("I", raw)
    if sys.byteorder == "little":
        made.byteswap()
    return made
