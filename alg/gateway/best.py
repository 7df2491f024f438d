"""The first N sessions by some order, and how fast each one is, answered from columns a batch at a time.

The law of this file: as in survey.py, whose walks it takes part in: nothing is decoded but what is kept. Two walks make
a rate, and no state outlives the question.
"""

from __future__ import annotations

import heapq
import socket
import time
from array import array
from collections.abc import Iterable, Mapping, Sequence

from algate.alg.gateway import records, survey
from algate.alg.gateway.gc import Batch
from algate.bpf.packing import entry, numbers

WINDOW = 4  # times a batch's length: how far the second walk looks for a session that isn't where it was
RISING = ("inside", "outside", "mapped", "state", "proto", "expires")  # orders in which the smallest comes first


class Earlier:
    """What each session had carried at one moment, 24 bytes a session, so that a second walk gives rates."""

    def __init__(self) -> None:
        self.began = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        self._ids: array[int] = array("Q")
        self._sums: tuple[array[int], array[int]] = array("Q"), array("Q")
        self._at = 0

    def __len__(self) -> int:
        return len(self._ids)

    def rewind(self) -> None:
        """Another walk begins that is compared with this one."""
        self._at = 0

    def take(self, batch: Batch, some: Sequence[int]) -> None:
        """A batch of the first walk."""
        del some  # of all: the second walk chooses
        self._ids.fromlist(numbers("session", "id", batch.values))
        for way, kept in enumerate(self._sums):
            kept.fromlist(records.amounts("bytes", batch.values, way))

    def growth(self, batch: Batch) -> tuple[list[int], list[int]]:
        """Bytes of each session since then, by direction: all that a new one has carried.

        Batches must come in the walk's order. An old session that isn't found, since too many left, counts for nothing.
        """
        ids = numbers("session", "id", batch.values)
        now = [records.amounts("bytes", batch.values, way) for way in (0, 1)]
        at, number = self._at, len(ids)
        if self._ids[at : at + number] == array("Q", ids):  # nearly always, while none come or go
            self._at += number
            out, back = (
                [max(0, one - then) for one, then in zip(sums, kept[at : at + number], strict=True)]
                for sums, kept in zip(now, self._sums, strict=True)
            )
            return out, back
        places = self._former(ids)
        out, back = (
            [max(0, one - kept[place]) if place >= 0 else one if born >= self.began else 0
             for one, place, born in zip(sums, places, ids, strict=True)]
            for sums, kept in zip(now, self._sums, strict=True)
        )  # fmt: skip
        return out, back

    def _former(self, ids: Sequence[int]) -> list[int]:
        """Where these sessions were in the first walk, -1: nowhere near. Both walks keep the table's order, so what
        comes and goes shifts the rest a little."""
        start = max(0, self._at - len(ids))
        known = {one: start + at for at, one in enumerate(self._ids[start : start + WINDOW * len(ids)])}
        places = [known.get(one, -1) for one in ids]
        self._at = max(self._at, max(places, default=-1) + 1)
        return places


class Best:
    """The first `limit` by a key, and how many matched. `reverse`: the last instead of the first.

    The largest come first, by age and idle time the oldest and the longest idle; by RISING orders the smallest.
    `limits` as in `survey.places`, for the order `expires` alone.
    """

    def __init__(
        self, sort: str, limit: int, reverse: bool, earlier: Earlier | None = None,
        limits: Mapping[int, Sequence[int]] | None = None,
    ) -> None:  # fmt: skip
        self.number = 0
        self._sort, self._limit = sort, limit
        self._sign = -1 if reverse != (sort in RISING) else 1
        self._earlier, self._limits = earlier, limits or {}
        self._heap: list[tuple[int, int, bytes, bytes]] = []

    def take(self, batch: Batch, some: Sequence[int]) -> None:
        """A batch, and the places in it of what is wanted."""
        start, self.number = self.number, self.number + len(some)
        column = self._column(batch) if self._limit and (some or self._earlier is not None) else ()
        if not self._limit:
            return
        heap, sign, limit = self._heap, self._sign, self._limit
        floor = heap[0][0] if len(heap) >= limit else None
        ranked: Iterable[tuple[int, int]] = enumerate(some)
        if floor is not None:  # few of a million come this far
            ranked = [(rank, at) for rank, at in ranked if column[at] * sign > floor]
        for rank, at in ranked:
            value = column[at] * sign
            if floor is not None and value <= floor:
                continue
            one = (value, -start - rank, entry("session_key", batch.keys, at), entry("session", batch.values, at))
            if len(heap) < limit:
                heapq.heappush(heap, one)
            else:
                heapq.heapreplace(heap, one)
            if len(heap) >= limit:
                floor = heap[0][0]

    def _column(self, batch: Batch) -> Sequence[int]:
        match self._sort:
            case "age":
                return [-one for one in numbers("session", "id", batch.values)]
            case "idle":
                return [batch.now - one for one in batch.seen]
            case "rate":
                return self._rates(batch)
            case "state":
                return batch.states
            case "proto":
                return batch.protos
            case "expires":
                return self._expiries(batch)
            case "inside":
                return _ends(survey.inside_ips(batch), survey.inside_ports(batch))
            case "outside":
                return _ends(numbers("session_key", "remote_ip", batch.keys), survey.remote_ports(batch))
            case "mapped":
                return numbers("session", "port_index", batch.values)
        return survey.both(self._sort, batch)

    def _rates(self, batch: Batch) -> Sequence[int]:
        """Bytes between the two walks; without a first one, bytes a second since it began."""
        if self._earlier is not None:
            return [out + back for out, back in zip(*self._earlier.growth(batch), strict=True)]
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        ids, sums = numbers("session", "id", batch.values), survey.both("bytes", batch)
        return [one * 1_000_000_000 // max(now - born, 1) for one, born in zip(sums, ids, strict=True)]

    def _expiries(self, batch: Batch) -> Sequence[int]:
        """Ticks that are left, by and large."""
        other = next(iter(self._limits.values()), ())
        lasting = {proto: [*ages, *[0] * (256 - len(ages))] for proto, ages in self._limits.items()}
        rest, now = [*other, *[0] * (256 - len(other))], batch.now
        return [
            lasting.get(proto, rest)[state] - (now - seen)
            for proto, state, seen in zip(batch.protos, batch.states, batch.seen, strict=True)
        ]

    def found(self) -> list[tuple[bytes, bytes]]:
        """Packed keys and values, best first."""
        return [(key, value) for _, _, key, value in sorted(self._heap, reverse=True)]


def _ends(addresses: Sequence[int], ports: Sequence[int]) -> list[int]:
    """End points as numbers that sort as people read them."""
    return [
        socket.ntohl(ip) << 16 | socket.ntohs(port) for ip, port in zip(addresses, ports, strict=True)
    ]  # fmt: skip
