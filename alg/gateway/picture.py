"""A gateway's tables at one moment, as plain values: what the invariants judge.

The law of this file: values only. No table is read here and nothing is judged. Addresses are packed bytes, ports ints
in host order, moments ticks, as in records.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Address
from typing import NamedTuple

from algate.alg.engine.effects import SessionKey
from algate.alg.gateway import records
from algate.alg.gateway.records import CLASS_NAMES, PROTO_NAMES, SessionValue
from algate.bpf import abi, ticks
from algate.bpf.requests import CLASS_OF


class Broken(NamedTuple):
    """Something that can't be. `rule`: which invariant; `about`: whose, the same at a second look; `detail`: a line."""

    rule: str
    about: str
    detail: str


class Slot(NamedTuple):
    """`struct port_slot`. `last_host` and `owner` as in the kernel."""

    owner: int
    sessions: int
    away: int
    stamp: int
    last_host: int
    forward_id: int
    block: int

    @property
    def kind(self) -> int:
        """Of enum port_kind."""
        return self.owner >> 48 & 0xFF

    @property
    def ip(self) -> bytes:
        """The inside end point's address."""
        return self.owner.to_bytes(8, "little")[:4]

    @property
    def port(self) -> int:
        """The inside end point's port."""
        return int.from_bytes(self.owner.to_bytes(8, "little")[4:6], "big")


class End(NamedTuple):
    """An inside end point: key of `mappings`."""

    ip: bytes
    port: int
    proto: int


class Awaited(NamedTuple):
    """An expectation; `ports`: width of a range, 0: one port; `row`: of `ports`."""

    id: int
    control: int
    control_key: bytes
    state: int
    inbound: bool
    proto: int
    to_ip: bytes
    to_port: int
    ports: int
    row: int
    expires: int


class HostCounts(NamedTuple):
    """`struct host`, what is counted in it; `held`: ports by protocol class, reserved ones too."""

    sessions: int
    ports: int
    unanswered: int
    held: tuple[int, ...]


class HeldBlock(NamedTuple):
    """A port block that somebody holds; `size` in ports, `assigned` in ns of CLOCK_MONOTONIC, `stamp` the tick of the
    last change of `used`."""

    inside: bytes
    used: int
    size: int
    assigned: int
    stamp: int


class ForwardRange(NamedTuple):
    """A forward in use; `sources`: it lists who may use it."""

    proto: int
    first: int
    last: int
    sources: bool


class Piece(NamedTuple):
    """Key of `held`, `decisions` and `replacements`; in `held`, `seq` is the number of the piece."""

    session: int
    seq: int
    size: int
    direction: int


@dataclass
class Picture:
    """`blocks`: of ports, by row; `block_lists`: their rows by host; `block_marks`: rows shown as held.

    Sessions, mappings and all counts but `ended` are read before and after all else: what is in both was there
    all the time, what is in neither never was, and only that is judged. `in_use` and `known`: rows that the helper has
    reserved, and control sessions that it has in mind; None: it couldn't be asked."""

    tick: int
    helper: bool
    addresses: tuple[bytes, ...]
    timeouts: tuple[int, ...]
    hold_down: int
    rows: int
    before: dict[bytes, SessionValue]
    after: dict[bytes, SessionValue]
    made: tuple[int, int]
    ended: int = 0
    slots: dict[int, Slot] = field(default_factory=dict)
    bits: dict[int, int] = field(default_factory=dict)
    mappings: tuple[dict[End, int], dict[End, int]] = field(default_factory=lambda: ({}, {}))
    relations: dict[int, int] = field(default_factory=dict)  # of sessions, by id
    shares: dict[tuple[int, bytes, int], int] = field(default_factory=dict)
    hosts: tuple[dict[bytes, HostCounts], dict[bytes, HostCounts]] = field(default_factory=lambda: ({}, {}))
    pools: tuple[dict[int, int], dict[int, int]] = field(default_factory=lambda: ({}, {}))
    blocks: tuple[dict[int, HeldBlock], dict[int, HeldBlock]] = field(default_factory=lambda: ({}, {}))
    block_lists: dict[bytes, tuple[int, ...]] = field(default_factory=dict)
    block_marks: set[int] = field(default_factory=set)
    peers: dict[tuple[bytes, bytes, int, int], int] = field(default_factory=dict)
    interned: dict[bytes, bytes] = field(default_factory=dict)  # handle -> that under which its host is counted
    forwards: dict[int, ForwardRange] = field(default_factory=dict)
    sources: set[int] = field(default_factory=set)
    tracks: dict[bytes, int] = field(default_factory=dict)
    adjusts: dict[bytes, int] = field(default_factory=dict)
    decisions: dict[Piece, tuple[int, int]] = field(default_factory=dict)
    replacements: set[Piece] = field(default_factory=set)
    held: set[Piece] = field(default_factory=set)
    expectations: list[Awaited] = field(default_factory=list)
    stages: set[int] = field(default_factory=set)
    in_use: set[int] | None = None
    known: set[int] | None = None

    @cached_property
    def stable(self) -> dict[bytes, SessionValue]:
        """The sessions that were there all the time, as they were last seen."""
        old = self.before
        return {key: now for key, now in self.after.items() if key in old and old[key].id == now.id}

    def host(self, ip: bytes) -> bytes:
        """Under which address or handle an inside host is counted."""
        return self.interned.get(ip, ip)

    def either(self) -> Iterator[tuple[bytes, SessionValue]]:
        """Every session seen; one that was made anew on the same key twice, as different ones."""
        yield from self.after.items()
        after = self.after
        for key, value in self.before.items():
            if key not in after or after[key].id != value.id:
                yield key, value

    @cached_property
    def refs(self) -> tuple[Counter[int], Counter[int]]:
        """Sessions by row of `ports`: at least, at most."""
        least = Counter(one.port_index for one in self.stable.values())
        return least, Counter(one.port_index for _, one in self.either())

    @cached_property
    def ids(self) -> set[int]:
        """Ids of all sessions seen."""
        return {one.id for _, one in self.either()}

    def age(self, stamp: int) -> float:
        """Seconds since a tick."""
        return ticks.elapsed(self.tick, stamp)

    def public(self, row: int) -> str:
        """A row of `ports` for people."""
        block, port = row >> 16, row & 0xFFFF
        place = block // 3
        address = str(IPv4Address(self.addresses[place])) if place < len(self.addresses) else f"address {place + 1}"
        return f"{CLASS_NAMES[block % 3]} {address}:{port}"


def row_of(place: int, proto: int, port: int) -> int:
    """Row of `ports`."""
    return ((place * 3 + CLASS_OF.get(proto, abi.ProtoClass.ICMP)) << 16) | port


def session_text(key: bytes) -> str:
    """A session's key for people."""
    return flow_text(records.unpack_key(key))


def flow_text(key: SessionKey) -> str:
    """The same, unpacked."""
    proto = PROTO_NAMES.get(key.proto, str(key.proto))
    return f"{proto} {end_text(key.inside_ip, key.inside_port)} to {end_text(key.remote_ip, key.remote_port)}"


def end_text(ip: bytes, port: int) -> str:
    """ "ip:port"."""
    return f"{IPv4Address(ip)}:{port}"
