"""Questions about all sessions, answered from columns a batch at a time: which match, how many, the first N, sums.

The law of this file: it judges raw batches and decodes only what is shown: a million rows made one by one take ten
seconds. What was asked is a Question; whoever walks the table hands over each batch and lets others work in between.
"""

from __future__ import annotations

import heapq
import socket
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from algate.alg.gateway import records
from algate.alg.gateway.gc import Batch
from algate.alg.gateway.listing import STATE_NAMES
from algate.alg.gateway.records import PROTO_NAMES
from algate.alg.rows import GroupRow
from algate.bpf import abi
from algate.bpf.packing import entry, numbers

ICMP, TCP, UDP = 1, 6, 17
PROTO_NUMBERS = {name: number for number, name in PROTO_NAMES.items()}
STATE_NUMBERS = {name: number for number, name in STATE_NAMES.items()}
DEAD = int(abi.SessionState.DEAD)
GROUPS_MAX = 1_000_000  # sums kept at once


@dataclass(frozen=True, slots=True)
class RawPlace:
    """Addresses and a port as the kernel has them in memory: compared without turning a byte. None: any port."""

    mask: int = 0
    base: int = 0
    port: int | None = None

    @classmethod
    def of(cls, network: IPv4Network | None, port: int | None) -> RawPlace:
        """The place of a network and a port in host order."""
        mask, base = (int(network.netmask), int(network.network_address)) if network is not None else (0, 0)
        return cls(socket.htonl(mask), socket.htonl(base), None if port is None else socket.htons(port))

    def holds(self, address: int, port: int) -> bool:
        return address & self.mask == self.base and self.port in (None, port)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which sessions are meant; an empty tuple: all. `least_idle` in ticks, `least_age` in ns, 0: any."""

    protos: tuple[int, ...] = ()
    states: tuple[int, ...] = ()
    algs: tuple[int, ...] = ()
    ids: frozenset[int] | None = None  # None: any
    insides: tuple[RawPlace, ...] = ()
    outsides: tuple[RawPlace, ...] = ()
    forwards: frozenset[int] = field(default_factory=frozenset)  # rows of `ports`
    least_idle: int = 0
    least_age: int = 0


def places(batch: Batch, wanted: Wanted, limits: Mapping[int, Sequence[int]], now_ns: int) -> list[int]:
    """Places in the batch of the sessions that are alive and wanted, in the table's order."""
    over = set(batch.expired(limits))
    states = batch.states
    some = [at for at in range(len(states)) if states[at] != DEAD and at not in over]
    for column, meant in ((batch.protos, wanted.protos), (states, wanted.states), (batch.algs, wanted.algs)):
        if meant:
            some = [at for at in some if column[at] in meant]
    if wanted.ids is not None:
        ids = numbers("session", "id", batch.values)
        some = [at for at in some if ids[at] in wanted.ids]
    if wanted.insides:
        some = _in(wanted.insides, some, _inside_ips(batch), _inside_ports(batch))
    if wanted.outsides:
        some = _in(wanted.outsides, some, numbers("session_key", "remote_ip", batch.keys), _remote_ports(batch))
    if wanted.forwards:
        ports = numbers("session", "port_index", batch.values)
        some = [at for at in some if ports[at] in wanted.forwards]
    if wanted.least_idle:
        latest = batch.now - wanted.least_idle
        some = [at for at in some if batch.seen[at] <= latest]
    if wanted.least_age:
        ids = numbers("session", "id", batch.values)
        some = [at for at in some if now_ns - ids[at] >= wanted.least_age]
    return some


def _in(meant: Sequence[RawPlace], some: list[int], addresses: Sequence[int], ports: Sequence[int]) -> list[int]:
    if len(meant) == 1 and meant[0].port is None:  # one host or network: what is asked for most
        mask, base = meant[0].mask, meant[0].base
        return [at for at in some if addresses[at] & mask == base]
    return [at for at in some if any(place.holds(addresses[at], ports[at]) for place in meant)]


def _inside_ips(batch: Batch) -> list[int]:
    return numbers("session_key", "inside_ip", batch.keys)


def _inside_ports(batch: Batch) -> list[int]:
    return numbers("session_key", "inside_port", batch.keys)


def _remote_ports(batch: Batch) -> list[int]:
    """Of ICMP the identifier, which is the inside's."""
    remote = numbers("session_key", "remote_port", batch.keys)
    if ICMP in batch.protos:
        inside = _inside_ports(batch)
        return [inside[at] if proto == ICMP else remote[at] for at, proto in enumerate(batch.protos)]
    return remote


def both(name: str, batch: Batch) -> list[int]:
    """`packets` or `bytes` of each session, both directions together."""
    out, back = (records.amounts(name, batch.values, direction) for direction in (0, 1))
    return [a + b for a, b in zip(out, back, strict=True)]


class Count:
    """How many."""

    def __init__(self) -> None:
        self.number = 0

    def take(self, batch: Batch, some: Sequence[int]) -> None:
        self.number += len(some)


class Best:
    """The first `limit` by a key, and how many matched. `reverse`: the last instead of the first.

    The largest come first, by age and idle time the oldest and the longest idle.
    """

    def __init__(self, sort: str, limit: int, reverse: bool, before: Bytes | None = None) -> None:
        self.number = 0
        self._sort, self._limit, self._sign = sort, limit, -1 if reverse else 1
        self._before = before
        self._heap: list[tuple[int, int, bytes, bytes]] = []

    def take(self, batch: Batch, some: Sequence[int]) -> None:
        start, self.number = self.number, self.number + len(some)
        if not self._limit:
            return
        column = self._column(batch)
        heap, sign, limit = self._heap, self._sign, self._limit
        floor = heap[0][0] if len(heap) >= limit else None
        for rank, at in enumerate(some):
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
                return self._before.since(batch) if self._before is not None else both("bytes", batch)
        return both(self._sort, batch)

    def found(self) -> list[tuple[bytes, bytes]]:
        """Packed keys and values, best first."""
        return [(key, value) for _, _, key, value in sorted(self._heap, reverse=True)]


class Bytes:
    """What each session had carried at one moment, 16 bytes a session, so that a second walk gives rates."""

    def __init__(self) -> None:
        self._ids: list[array[int]] = []
        self._sums: list[array[int]] = []
        self._at = 0
        self._strays: dict[int, int] = {}

    def take(self, batch: Batch, some: Sequence[int]) -> None:
        del some  # of all: the second walk chooses
        self._ids.append(array("Q", numbers("session", "id", batch.values)))
        self._sums.append(array("Q", both("bytes", batch)))

    def since(self, batch: Batch) -> list[int]:
        """Bytes of each session since then; a session that is new had carried none.

        Walks go through the table in one order, so nearly always a batch meets the same sessions as before.
        """
        ids, sums = numbers("session", "id", batch.values), both("bytes", batch)
        if self._at < len(self._ids):
            old_ids, old = self._ids[self._at], self._sums[self._at]
            self._at += 1
            if len(old_ids) == len(ids) and old_ids.tolist() == ids:
                return [now - then for now, then in zip(sums, old, strict=True)]
            self._strays.update(zip(old_ids, old, strict=True))
        strays = self._strays
        return [now - strays.get(one, 0) for one, now in zip(ids, sums, strict=True)]


class Groups:
    """Sessions, packets and bytes by a key."""

    def __init__(self, by: str, names: Mapping[int, str], forwards: Mapping[int, str]) -> None:
        self.number = 0
        self.left_out = 0
        self._by, self._names, self._forwards = by, names, forwards
        self._sums: dict[int, list[int]] = {}

    def take(self, batch: Batch, some: Sequence[int]) -> None:
        self.number += len(some)
        column = self._column(batch)
        amounts = [records.amounts(name, batch.values, way) for name in ("packets", "bytes") for way in (0, 1)]
        packets_out, packets_in, bytes_out, bytes_in = amounts
        sums = self._sums
        for at in some:
            key = column[at]
            one = sums.get(key)
            if one is None:
                if len(sums) >= GROUPS_MAX:
                    self.left_out += 1
                    continue
                one = sums[key] = [0, 0, 0, 0, 0]
            one[0] += 1
            one[1] += packets_out[at]
            one[2] += packets_in[at]
            one[3] += bytes_out[at]
            one[4] += bytes_in[at]

    def _column(self, batch: Batch) -> Sequence[int]:
        match self._by:
            case "host":
                return _inside_ips(batch)
            case "remote":
                return numbers("session_key", "remote_ip", batch.keys)
            case "port":
                ports = numbers("session_key", "remote_port", batch.keys)
                return [proto << 16 | port for proto, port in zip(batch.protos, ports, strict=True)]
            case "alg":
                return batch.algs
            case "state":
                return batch.states
        return numbers("session", "port_index", batch.values)

    def rows(self, sort: str, reverse: bool) -> list[GroupRow]:
        """Largest first: by bytes, by packets, or (any other) by sessions."""
        by_name: dict[str, list[int]] = {}
        for key, sums in self._sums.items():
            known = by_name.setdefault(self._name(key), [0] * 5)
            for at, amount in enumerate(sums):
                known[at] += amount
        made = [GroupRow(name, *sums) for name, sums in by_name.items()]
        order: dict[str, Callable[[GroupRow], int]] = {
            "bytes": lambda row: row.bytes_out + row.bytes_in,
            "packets": lambda row: row.packets_out + row.packets_in,
        }
        made.sort(key=order.get(sort, lambda row: row.sessions), reverse=not reverse)
        return made

    def _name(self, key: int) -> str:
        match self._by:
            case "host" | "remote":
                return str(IPv4Address(socket.ntohl(key)))
            case "port":
                name = PROTO_NAMES.get(key >> 16, str(key >> 16))
                return name if key >> 16 == ICMP else f"{name}/{socket.ntohs(key & 0xFFFF)}"
            case "alg":
                return self._names.get(key, "none") if key else "none"
            case "state":
                return STATE_NAMES.get(key, str(key))
        return self._forwards.get(key, "none")


def forward_rows(cells: Iterable[tuple[str, Iterable[int]]]) -> dict[int, str]:
    """Row of `ports` -> the forward that holds it, from (name, rows) of each forward."""
    return {row: name for name, rows in cells for row in rows}
