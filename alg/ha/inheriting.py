"""What a standby holds, as the estate of a gateway that starts: the other node's rows by this host's clock.

The law of this file: pure but for the clock. Moments and ids are shifted by what lies between the two clocks, so an id
stays what it is to this kernel, the moment of creation. Mappings follow from sessions and their ports.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Callable, Iterable

from algate.alg.gateway import estate, records
from algate.alg.gateway.estate_file import IDS, TICKS
from algate.bpf import abi, layout, ticks
from algate.bpf.contents import contents
from algate.bpf.description import Description, own
from algate.bpf.packing import native

from .entries import BLOCKS, Authorship
from .standby import KeptState

KEY = abi.HEADER.structs["session_key"].size
SETTLED = 10_000_000_000  # ns after which a session is in the others' log, if it lives
CPU = 0xFF  # the low byte of an id
Shift = Callable[[str, bytes], bytes]


def boot() -> str:
    """This boot of this host."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


def authorship(node: str) -> Authorship:
    """Who writes here and now."""
    return Authorship(node, abi.layout_hash(), boot(), time.clock_gettime_ns(time.CLOCK_MONOTONIC), time.time())


def between(theirs: Authorship, ours: Authorship) -> int:
    """ns from a moment by their clock to the same one by ours, whole by the low byte of an id."""
    if theirs.boot and theirs.boot == ours.boot:
        return 0
    shift = (ours.clock - int(ours.time * 1e9)) - (theirs.clock - int(theirs.time * 1e9))
    return shift & ~CPU


def shifting(by: int) -> Shift:
    """Of a struct's ids and moments, by so many ns. Zeros stay: they mean that there is none."""
    described = own()
    places: dict[str, list[tuple[int, int, bool]]] = {}

    def shift(name: str, raw: bytes) -> bytes:
        if not by:
            return raw
        if name not in places:
            places[name] = list(_places(described, name, 0))
        made = bytearray(raw)
        for at, width, tick in places[name]:
            number = int.from_bytes(raw[at : at + width], sys.byteorder)
            if number:
                wanted = number + (by >> abi.TICK_SHIFT if tick else by)
                made[at : at + width] = (wanted % (1 << 8 * width)).to_bytes(width, sys.byteorder)
        return bytes(made)

    return shift


def _places(described: Description, name: str, start: int) -> Iterable[tuple[int, int, bool]]:
    """Offset and size of each id and tick in a struct, and whether it is a tick."""
    for one in described.fields(name):
        width = described.width(one.kind)
        for place in range(one.count or 1):
            at = start + one.offset + place * width
            if (name, one.name) in TICKS or (name, one.name) in IDS:
                yield at, width, (name, one.name) in TICKS
            elif one.kind not in layout.SCALARS:
                yield from _places(described, one.kind, at)


def inherit(control: KeptState, bulk: KeptState | None, now: Authorship) -> estate.Estate:
    """The estate of what both logs tell, settled. It has a secret of its own, since no decision travels."""
    made = estate.Estate(secret=secrets.randbits(63) | 1)
    if bulk is not None:
        _enter(made, bulk, shifting(between(bulk.beginning, now)))
        _let_go(control, bulk, now)
    _enter(made, control, shifting(between(control.beginning, now)))
    for key, value in made.maps["sessions"].items():
        one = abi.Session.unpack(value)
        one.last_seen = ticks.now()  # it wasn't told with every packet
        made.maps["sessions"][key] = bytes(one)
        _map(made.maps, key, one.port_index)
    estate.settle(made)
    made.made = len(made.maps["sessions"])
    return made


def _let_go(control: KeptState, bulk: KeptState, now: Authorship) -> None:
    """Data connections are told of as they begin, and then like all others: of old ones that the others' log doesn't
    have, nothing is left."""
    theirs = now.clock - between(control.beginning, now)
    for one in [one for one in control.parents if one not in bulk.sessions and theirs - one > SETTLED]:
        control.parents.pop(one)
        control.sessions.pop(one, None)


def _enter(made: estate.Estate, kept: KeptState, shift: Shift) -> None:
    maps, keys = made.maps, {}
    for number, raw in kept.sessions.items():
        keys[number] = key = raw[:KEY]
        value, there = shift("session", raw[KEY:]), maps["sessions"].get(key)
        if there is None or abi.Session.unpack(there).id <= abi.Session.unpack(value).id:
            maps["sessions"][key] = value
    for row, slot in kept.ports.items():
        fresh, former = shift("port_slot", slot), maps["ports"].get(native(row, 4))
        # Both logs tell of ports, and one of them may have done so when it was another host's.
        if former is None or ticks.distance(_stamp(fresh), _stamp(former)) >= 0:
            maps["ports"][native(row, 4)] = fresh
    for (name, key), value in kept.rows.items():
        if name in maps:
            described = contents()[name]
            fresh, there = shift(described.value, value), maps[name].get(key)
            if name != BLOCKS or there is None or _assigned(there) <= _assigned(fresh):
                maps[name][shift(described.key, key)] = fresh
    for name, table, struct in (("tracks", kept.tracks, "track"), ("adjusts", kept.adjusts, "adjust")):
        maps[name].update({keys[one]: shift(struct, raw) for one, raw in table.items() if one in keys})
    for child, parent in kept.parents.items():
        maps["relations"][shift("u64", native(child, 8))] = shift("u64", native(parent, 8))
    size = own().size(contents()["expectations"].key)
    for _, raw in kept.expectations.values():
        key_name, value_name = contents()["expectations"].key, contents()["expectations"].value
        maps["expectations"][shift(key_name, raw[:size])] = shift(value_name, raw[size:])
    for (session, direction), data in kept.held.items():
        for number, at in enumerate(range(0, len(data), records.PIECE)):
            piece = data[at : at + records.PIECE]
            key = records.pack_decision_key(session, number, len(piece), direction)
            maps["held"][shift("decision_key", key)] = records.pack_piece(piece)


def _stamp(slot: bytes) -> int:
    return int(abi.PortSlot.unpack(slot).stamp)


def _assigned(block: bytes) -> int:
    return int(abi.PortBlock.unpack(block).assigned)


def _map(maps: dict[str, estate.Raw], key: bytes, row: int) -> None:
    """The mapping that a session goes through, if its port is one's."""
    raw = maps["ports"].get(native(row, 4))
    slot = abi.PortSlot.unpack(raw) if raw is not None else None
    if slot is not None and slot.owner >> 48 & 0xFF == abi.PortKind.MAPPING:
        flow = records.unpack_key(key)
        end = abi.MappingKey(
            inside_ip=int.from_bytes(flow.inside_ip, sys.byteorder), inside_port=abi.be16(flow.inside_port),
            proto=flow.proto,
        )  # fmt: skip
        maps["mappings"][bytes(end)] = bytes(abi.Mapping(port_index=row))
