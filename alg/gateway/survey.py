"""Questions about all sessions, answered from columns a batch at a time: which match, how many, the first N, sums.

The law of this file: it judges raw batches and decodes only what is shown: a million rows made one by one take ten
seconds. What was asked is a Question; whoever walks the table hands over each batch and lets others work in between.
"""

from __future__ import annotations

import operator
import socket
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network

from algate.alg.gateway import records
from algate.alg.gateway.addresses import number_is_handle
from algate.alg.gateway.gc import Batch
from algate.alg.gateway.listing import STATE_NAMES
from algate.alg.gateway.records import PROTO_NAMES
from algate.alg.rows import GroupRow
from algate.bpf import abi
from algate.bpf.packing import numbers

ICMP, TCP, UDP = 1, 6, 17
PROTO_NUMBERS = {name: number for number, name in PROTO_NAMES.items()}
STATE_NUMBERS = {name: number for number, name in STATE_NAMES.items()}
DEAD = int(abi.SessionState.DEAD)
FORWARD = int(abi.SessionFlag.FORWARD)  # made by a connection from outside to a [[forward]]
GROUPS_MAX = 1_000_000  # sums kept at once
OTHERS, NONE = "others", "none"  # the keys of what is left, and of what has none


_HANDLES = IPv4Network("0.0.0.0/8")  # where the handles of IPv6 addresses are


@dataclass(frozen=True, slots=True)
class RawPlace:
    """Addresses and a port as the kernel has them in memory: compared without turning a byte. None: any port."""

    mask: int = 0
    base: int = 0
    port: int | None = None
    among: frozenset[int] | None = None  # of IPv6: the handles of these addresses
    apart: bool = False  # from handles, which an IPv4 network with the addresses from 0 on would have, too

    @classmethod
    def of(cls, network: IPv4Network | None, port: int | None) -> RawPlace:
        """The place of a network and a port in host order."""
        mask, base = (int(network.netmask), int(network.network_address)) if network is not None else (0, 0)
        apart = network is not None and network.overlaps(_HANDLES)
        return cls(socket.htonl(mask), socket.htonl(base), None if port is None else socket.htons(port), None, apart)

    def holds(self, address: int, port: int) -> bool:
        inside = address & self.mask == self.base if self.among is None else address in self.among
        inside = inside and not (self.apart and number_is_handle(address))
        return inside and self.port in (None, port)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which sessions are meant; an empty tuple: all. `least_idle` in ticks, `least_age` in ns, 0: any."""

    protos: tuple[int, ...] = ()
    states: tuple[int, ...] = ()
    algs: tuple[int, ...] = ()
    ids: frozenset[int] | None = None  # None: any
    insides: tuple[RawPlace, ...] = ()
    outsides: tuple[RawPlace, ...] = ()
    forwards: frozenset[int] | None = None  # rows of `ports`: what came by a forward of them. None: any
    addresses: frozenset[int] | None = None  # inside, outside or public, as in struct session_key. None: any
    least_idle: int = 0
    least_age: int = 0


def places(batch: Batch, wanted: Wanted, limits: Mapping[int, Sequence[int]], now_ns: int) -> list[int]:
    """Places in the batch of the sessions that are alive and wanted, in the table's order."""
    over = set(batch.expired(limits))
    states = batch.states
    some = list(range(len(states)))
    if over or DEAD in states:
        some = [at for at in some if states[at] != DEAD and at not in over]
    for column, meant in ((batch.protos, wanted.protos), (states, wanted.states), (batch.algs, wanted.algs)):
        if meant:
            some = [at for at in some if column[at] in meant]
    if wanted.ids is not None:
        ids = numbers("session", "id", batch.values)
        some = [at for at in some if ids[at] in wanted.ids]
    if wanted.insides:
        some = _in(wanted.insides, some, inside_ips(batch), inside_ports(batch))
    if wanted.outsides:
        some = _in(wanted.outsides, some, numbers("session_key", "remote_ip", batch.keys), remote_ports(batch))
    if wanted.addresses is not None:
        some = _with(wanted.addresses, some, batch)
    if wanted.forwards is not None:
        ports, flags = numbers("session", "port_index", batch.values), batch.flags
        some = [at for at in some if flags[at] & FORWARD and ports[at] in wanted.forwards]
    if wanted.least_idle:
        latest = batch.now - wanted.least_idle
        some = [at for at in some if batch.seen[at] <= latest]
    if wanted.least_age:
        ids = numbers("session", "id", batch.values)
        some = [at for at in some if now_ns - ids[at] >= wanted.least_age]
    return some


def _in(meant: Sequence[RawPlace], some: list[int], addresses: Sequence[int], ports: Sequence[int]) -> list[int]:
    if len(meant) == 1 and meant[0].port is None and meant[0].among is None and not meant[0].apart:  # asked for most
        mask, base = meant[0].mask, meant[0].base
        return [at for at in some if addresses[at] & mask == base]
    return [at for at in some if any(place.holds(addresses[at], ports[at]) for place in meant)]


def _with(meant: Collection[int], some: list[int], batch: Batch) -> list[int]:
    ends = (
        inside_ips(batch),
        numbers("session_key", "remote_ip", batch.keys),
        numbers("session", "public_ip", batch.values),
    )
    return [at for at in some if ends[0][at] in meant or ends[1][at] in meant or ends[2][at] in meant]


def inside_ips(batch: Batch) -> list[int]:
    return numbers("session_key", "inside_ip", batch.keys)


def inside_ports(batch: Batch) -> list[int]:
    return numbers("session_key", "inside_port", batch.keys)


def remote_ports(batch: Batch) -> list[int]:
    """Of ICMP the identifier, which is the inside's."""
    remote = numbers("session_key", "remote_port", batch.keys)
    if ICMP in batch.protos:
        inside = inside_ports(batch)
        return [inside[at] if proto == ICMP else remote[at] for at, proto in enumerate(batch.protos)]
    return remote


def both(name: str, batch: Batch) -> list[int]:
    """`packets` or `bytes` of each session, both directions together."""
    return list(map(operator.add, *(records.amounts(name, batch.values, direction) for direction in (0, 1))))


class Count:
    """How many."""

    def __init__(self) -> None:
        self.number = 0

    def take(self, batch: Batch, some: Sequence[int]) -> None:
        self.number += len(some)


class Groups:
    """Sessions, packets and bytes by a key. `forwards`: row of `ports` -> the forward that holds it; `text`: of an
    address as the number that it is in memory."""

    def __init__(
        self, by: str, names: Mapping[int, str], forwards: Mapping[int, str], text: Callable[[int], str]
    ) -> None:  # fmt: skip
        self.number = 0
        self._others = [0] * 5  # of keys that there was no room for
        self._by, self._names, self._text = by, names, text
        self._forwards = [NONE, *dict.fromkeys(forwards.values())]
        numbered = {name: at for at, name in enumerate(self._forwards)}
        self._led = {row: numbered[name] for row, name in forwards.items()}
        self._sums: dict[int, list[int]] = {}

    def take(self, batch: Batch, some: Sequence[int]) -> None:
        """A batch, and the places in it of what is wanted."""
        self.number += len(some)
        column = self._column(batch)
        amounts = [records.amounts(name, batch.values, way) for name in ("packets", "bytes") for way in (0, 1)]
        packets_out, packets_in, bytes_out, bytes_in = amounts
        sums = self._sums
        for at in some:
            key = column[at]
            one = sums.get(key)
            if one is None:
                one = self._others
                if len(sums) < GROUPS_MAX:
                    one = sums[key] = [0, 0, 0, 0, 0]
            one[0] += 1
            one[1] += packets_out[at]
            one[2] += packets_in[at]
            one[3] += bytes_out[at]
            one[4] += bytes_in[at]

    def _column(self, batch: Batch) -> Sequence[int]:
        match self._by:
            case "host":
                return inside_ips(batch)
            case "remote":
                return numbers("session_key", "remote_ip", batch.keys)
            case "port":
                ports = numbers("session_key", "remote_port", batch.keys)
                return [proto << 16 | port for proto, port in zip(batch.protos, ports, strict=True)]
            case "alg":
                return batch.algs
            case "state":
                return batch.states
        rows, led = numbers("session", "port_index", batch.values), self._led
        return [led.get(row, 0) if flag & FORWARD else 0 for row, flag in zip(rows, batch.flags, strict=True)]

    def rows(self) -> Iterator[GroupRow]:
        """One for each key, and one for all those that there was no room for; in no order."""
        for key, sums in self._sums.items():
            yield GroupRow(self._name(key), *sums)
        if self._others[0]:
            yield GroupRow(OTHERS, *self._others)

    def _name(self, key: int) -> str:
        match self._by:
            case "host" | "remote":
                return self._text(key)
            case "port":
                name = PROTO_NAMES.get(key >> 16, str(key >> 16))
                return name if key >> 16 == ICMP else f"{name}/{socket.ntohs(key & 0xFFFF)}"
            case "alg":
                return self._names.get(key, str(key)) if key else NONE
            case "state":
                return STATE_NAMES.get(key, str(key))
        return self._forwards[key]


def group_order(sort: str) -> Callable[[GroupRow], int]:
    """What groups are sorted by: bytes, packets, or (any other) the number of sessions."""
    order: dict[str, Callable[[GroupRow], int]] = {
        "bytes": lambda row: row.bytes_out + row.bytes_in,
        "packets": lambda row: row.packets_out + row.packets_in,
    }
    return order.get(sort, lambda row: row.sessions)


def forward_rows(cells: Iterable[tuple[str, Iterable[int]]]) -> dict[int, str]:
    """Row of `ports` -> the forward that holds it, from (name, rows) of each forward."""
    return {row: name for name, rows in cells for row in rows}
