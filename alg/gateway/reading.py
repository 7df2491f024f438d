"""Reads a gateway's pinned tables into a picture: with or without a daemon, from any network namespace.

The law of this file: it reads and changes nothing. The order matters: sessions first and last, so that what lies in
between can be held against those that were there all the time.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

from algate.alg.gateway import portblocks, records
from algate.alg.gateway.picture import Awaited, End, ForwardRange, HeldBlock, HostCounts, Picture, Piece, Slot
from algate.alg.gateway.records import SessionValue
from algate.bpf import abi, ticks
from algate.bpf.packing import from_native, numbers
from algate.bpf.pinned import Pinned

Asked = tuple[set[int], set[int]]  # rows that the helper has reserved, and control sessions that it has in mind
_SLOT = ("owner", "sessions", "away", "stamp", "last_host", "forward_id", "block")


def helper_alive(maps: Pinned) -> bool:
    """Whether the helper's last sign of life is recent enough for the kernel."""
    beat = from_native(next(maps.items("heartbeat"))[1])
    return bool(beat) and ticks.count() - beat <= _config(maps).helper_timeout


def read(maps: Pinned, ask: Callable[[], Asked | None] = lambda: None) -> Picture:
    """One look. `ask`: what the helper says of itself, None if it can't be asked."""
    config = _config(maps)
    made = maps.counters("counters")[abi.Counter.SESSIONS_NEW]
    pools = _pools(maps)
    before, mapped, hosts, blocks = _sessions(maps), _mappings(maps), _hosts(maps), _blocks(maps)
    bits = _bits(maps)  # before the ports: a bit is set after its port was taken
    rows, slots = _slots(maps)
    count = config.public_count
    picture = Picture(
        ticks.now(), helper_alive(maps),
        tuple(abi.be32_to_ip(config.public_ip[place]).packed for place in range(count)), tuple(config.timeouts),
        config.hold_down, rows, before, {}, (made, made), slots=slots, bits=bits,
    )  # fmt: skip
    picture.relations = {from_native(key): from_native(value) for key, value in maps.items("relations")}
    picture.shares = _shares(maps)
    picture.peers = _peers(maps)
    picture.interned = {
        key: abi.be32_to_ip(abi.Interned.unpack(value).host).packed for key, value in maps.items("addresses6")
    }
    _read_forwards(maps, picture)
    _read_controls(maps, picture)
    picture.stages = {from_native(key) for key, value in maps.items("stages") if any(value)}
    asked = ask()
    if asked is not None:
        picture.in_use, picture.known = asked
    picture.hosts, picture.mappings = (hosts, _hosts(maps)), (mapped, _mappings(maps))
    picture.pools, picture.blocks = (pools, _pools(maps)), (blocks, _blocks(maps))
    _read_block_lists(maps, picture)
    counters = maps.counters("counters")
    picture.ended = counters[abi.Counter.SESSIONS_ENDED]
    picture.after = _sessions(maps)
    picture.made = (made, maps.counters("counters")[abi.Counter.SESSIONS_NEW])
    return picture


def _config(maps: Pinned) -> Any:
    return abi.Config.unpack(next(maps.items("configs"))[1])


def _sessions(maps: Pinned) -> dict[bytes, SessionValue]:
    return {key: value for keys, values, _ in maps.chunks("sessions") for key, value in records.sessions(keys, values)}


def _slots(maps: Pinned) -> tuple[int, dict[int, Slot]]:
    """How many rows there are, and those that aren't free."""
    rows, found = 0, {}
    for _, values, count in maps.chunks("ports"):
        if values.count(0) != len(values):
            columns = [numbers("port_slot", name, values) for name in _SLOT]
            for at, fields in enumerate(zip(*columns, strict=True)):
                if fields[0] or fields[1] or fields[2] or fields[3]:
                    found[rows + at] = Slot._make(fields)
        rows += count
    return rows, found


def _bits(maps: Pinned) -> dict[int, int]:
    """The words of the bitmap that aren't 0."""
    return {from_native(key): from_native(value) for key, value in maps.items("port_bits") if any(value)}


def _mappings(maps: Pinned) -> dict[End, int]:
    found = {}
    for key, value in maps.items("mappings"):
        one = abi.MappingKey.unpack(key)
        end = End(abi.be32_to_ip(one.inside_ip).packed, abi.be16(one.inside_port), one.proto)
        found[end] = abi.Mapping.unpack(value).port_index
    return found


def _shares(maps: Pinned) -> dict[tuple[int, bytes, int], int]:
    found = {}
    for key, value in maps.items("shares"):
        one = abi.ShareKey.unpack(key)
        remote = abi.be32_to_ip(one.remote_ip).packed
        found[one.port_index, remote, abi.be16(one.remote_port)] = abi.Share.unpack(value).owner
    return found


def _hosts(maps: Pinned) -> dict[bytes, HostCounts]:
    found = {}
    for key, value in maps.items("hosts"):
        host = abi.Host.unpack(value)
        counts = HostCounts(host.sessions, host.ports, host.unanswered, tuple(host.held))
        found[abi.be32_to_ip(abi.MappingKey.unpack(key).inside_ip).packed] = counts
    return found


def _pools(maps: Pinned) -> dict[int, int]:
    return {from_native(key): abi.Pool.unpack(value).used for key, value in maps.items("pools")}


def _blocks(maps: Pinned) -> dict[int, HeldBlock]:
    found = (one for keys, values, _ in maps.chunks("port_blocks") for one in portblocks.blocks(keys, values))
    return {one.row: HeldBlock(one.inside.packed, one.used, one.size, one.assigned, one.stamp) for one in found}


def _read_block_lists(maps: Pinned, picture: Picture) -> None:
    for key, value in maps.items("block_lists"):
        rows = tuple(row - 1 for row in abi.BlockList.unpack(value).rows if row)
        picture.block_lists[abi.be32_to_ip(abi.MappingKey.unpack(key).inside_ip).packed] = rows
    for key, value in maps.items("block_bits"):
        at, word = from_native(key), from_native(value)
        if word and at < abi.BLOCK_USABLE:
            picture.block_marks |= {at * 64 + bit for bit in range(64) if word >> bit & 1}


def _peers(maps: Pinned) -> dict[tuple[bytes, bytes, int, int], int]:
    found = {}
    for key, value in maps.items("peers"):
        one = abi.PeerKey.unpack(key)
        ends = abi.be32_to_ip(one.inside_ip).packed, abi.be32_to_ip(one.remote_ip).packed
        found[*ends, abi.be16(one.inside_port), one.proto] = from_native(value)
    return found


def _read_forwards(maps: Pinned, picture: Picture) -> None:
    flag = abi.ForwardFlag
    for key, value in maps.items("forwards"):
        if any(value):
            one = abi.Forward.unpack(value)
            if one.flags & flag.USED:
                sources = bool(one.flags & flag.SOURCES)
                picture.forwards[from_native(key)] = ForwardRange(one.proto, one.wan_first, one.wan_last, sources)
    picture.sources = {abi.ForwardSourceKey.unpack(key).forward_id for key, _ in maps.items("forward_sources")}


def _read_controls(maps: Pinned, picture: Picture) -> None:
    """What belongs to control sessions."""
    picture.tracks = {key: abi.Track.unpack(value).id for key, value in maps.items("tracks")}
    picture.adjusts = {key: abi.Adjust.unpack(value).id for key, value in maps.items("adjusts")}
    for key, value in maps.items("decisions"):
        one = abi.Decision.unpack(value)
        picture.decisions[Piece._make(records.unpack_decision_key(key))] = (one.verdict, one.new_size)
    picture.replacements = {Piece._make(records.unpack_decision_key(key)) for key, _ in maps.items("replacements")}
    picture.held = {Piece._make(records.unpack_decision_key(key)) for key, _ in maps.items("held")}
    for key, value in maps.items("expectations"):
        picture.expectations.append(_expected(abi.ExpectationKey.unpack(key), abi.Expectation.unpack(value)))


def _expected(key: abi.ExpectationKey, value: abi.Expectation) -> Awaited:
    to = IPv4Address(abi.be32_to_ip(key.to)).packed
    return Awaited(
        value.id, value.control_id, bytes(value.control_key), value.state, key.dir == abi.Direction.IN, key.proto, to,
        abi.be16(key.to_port), value.last - value.first + 1 if value.last else 0, value.port_index, value.expires,
    )  # fmt: skip
