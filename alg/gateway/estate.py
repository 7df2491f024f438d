"""What a gateway holds, taken from one layout's maps and given to another's: sessions, and all that belongs to them.

The law of this file: it reads maps, settles what was read, writes maps. What was read while a gateway worked may not
fit together; a session without its port is left behind, and whatever is only counted is counted anew. Nothing is
written before all of it is known to fit.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field

from algate.alg.gateway import estate6, older, records
from algate.alg.gateway.addresses import number_is_handle
from algate.alg.gateway.records import SessionValue
from algate.alg.gateway.tally import tally
from algate.bpf import abi, layout, syscall
from algate.bpf.contents import contents
from algate.bpf.description import Description, own
from algate.bpf.errors import AlgateError
from algate.bpf.packing import from_native, native
from algate.bpf.requests import CLASS_OF
from algate.bpf.tables import possible_cpus

Raw = dict[bytes, bytes]
FdOf = Callable[[str], int]
# In the order in which they are written: what a session needs comes before it.
TRAVELS = (*estate6.ROWS, "ports", "port_blocks", "mappings", "shares", "forwards", "forward_sources", "tracks",
           "adjusts", "replacements", "decisions", "held", "expectations", "relations", "sessions")  # fmt: skip
CHUNK = 4096
TCP = 6
_K = abi.PortKind
COUNTED = (_K.MAPPING, _K.RESERVED)  # kinds of ports that a port block counts
OPEN = range(abi.SessionState.ESTABLISHED, abi.SessionState.TIME_WAIT)


@dataclass
class Estate:
    """`maps`: raw entries in this version's layout. `made`: sessions made so far, for the counters; `left`: sessions
    left behind, for want of their port."""

    maps: dict[str, Raw] = field(default_factory=lambda: {name: {} for name in TRAVELS})
    secret: int = 0
    made: int = 0
    left: int = 0


# -- reading -----------------------------------------------------------------------------------------------------------


def converter(old: Description, name: str) -> Callable[[bytes], bytes]:
    """From an old struct to this version's of that name: field by field, new ones are 0."""
    new = own()
    if old.fields(name) == new.fields(name) and old.size(name) == new.size(name):
        return lambda raw: raw
    before = {one.name: one for one in old.fields(name)}
    steps = []
    for one in new.fields(name):
        if (was := before.get(one.name)) is not None:
            steps.append((was, one, _part(old, was.kind)))
    size = new.size(name)

    def convert(raw: bytes) -> bytes:
        made = bytearray(size)
        for was, now, part in steps:
            width, wanted = old.width(was.kind), new.width(now.kind)
            for place in range(min(was.count or 1, now.count or 1)):
                start = was.offset + place * width
                piece = part(raw[start : start + width])
                at = now.offset + place * wanted
                made[at : at + wanted] = _resized(piece, wanted, now.kind)
        return bytes(made)

    return convert


def _part(old: Description, kind: str) -> Callable[[bytes], bytes]:
    return converter(old, kind) if kind not in layout.SCALARS else lambda raw: raw


def _resized(raw: bytes, wanted: int, kind: str) -> bytes:
    if len(raw) == wanted or kind not in layout.SCALARS or kind.startswith("__be"):
        return raw[:wanted].ljust(wanted, b"\0")
    signed = layout.SCALARS[kind][1]
    return (int.from_bytes(raw, sys.byteorder, signed=signed) % (1 << wanted * 8)).to_bytes(wanted, sys.byteorder)


def take(old: Description, entries: Callable[[str], Iterator[tuple[bytes, bytes]]]) -> Estate:
    """What a gateway of that layout holds. `entries`: raw keys and values of a map."""
    estate = Estate()
    for name in TRAVELS:
        if name not in old.maps:
            continue
        key, value = converter(old, old.maps[name].key), converter(old, old.maps[name].value)
        sparse = old.maps[name].kind == "array"  # most rows are empty
        lift = older.lifting(old) if name == "sessions" else None
        for k, v in entries(name):
            if sparse and not any(v):
                continue
            made = value(v)
            estate.maps[name][key(k)] = lift(v, made, estate.maps["relations"]) if lift else made
    config = next((value for _, value in entries("configs")), b"")
    if config:
        estate.secret = abi.Config.unpack(converter(old, "config")(config)).secret
    return estate


# -- settling ----------------------------------------------------------------------------------------------------------


def settle(estate: Estate) -> None:
    """Leave behind what has lost its other half, and give ports as many references as there are."""
    maps = estate.maps
    slots = {from_native(key): abi.PortSlot.unpack(value) for key, value in maps["ports"].items()}
    kept: dict[int, bytes] = {}
    refs, shares = Counter[int](), {}
    for key, value in list(maps["sessions"].items()):
        one = records.unpack_session(value)
        share = _share_key(key, one)
        if not (_stands(key, one, slots, maps["shares"], share) and estate6.stands(key, maps["addresses6"])):
            del maps["sessions"][key]
            estate.left += 1
            continue
        kept[one.id] = key
        refs[one.port_index] += 1
        if share in maps["shares"]:
            shares[share] = maps["shares"][share]
        maps["sessions"][key] = renewed(key, value, one, native(one.id, 8) in maps["relations"])
    maps["shares"] = shares
    _settle_controls(maps, kept)
    estate6.settle(maps)
    _settle_ports(maps, slots, refs)


def _share_key(key: bytes, one: SessionValue) -> bytes:
    flow = records.unpack_key(key)
    ip = from_native(flow.remote_ip)
    return bytes(abi.ShareKey(port_index=one.port_index, remote_ip=ip, remote_port=abi.be16(flow.remote_port)))


def _stands(key: bytes, one: SessionValue, slots: dict[int, abi.PortSlot], shares: Raw, share: bytes) -> bool:
    """Whether a session has what it needs."""
    if one.state == abi.SessionState.DEAD:
        return False
    if one.port_index == abi.EXEMPT_ROW:
        return True
    slot, flow = slots.get(one.port_index), records.unpack_key(key)
    kind = slot.owner >> 48 & 0xFF if slot is not None else _K.FREE
    end = flow.inside_ip + flow.inside_port.to_bytes(2, "big")
    if slot is not None and kind in records.OWNED:
        return bool(slot.owner.to_bytes(8, "little")[:6] == end)
    if kind == _K.SHARED:
        return share in shares and abi.Share.unpack(shares[share]).owner.to_bytes(8, "little")[:6] == end
    return kind == _K.FORWARD


def renewed(key: bytes, value: bytes, one: SessionValue, related: bool) -> bytes:
    """A session may have gone on elsewhere since its TCP numbers were read, or never had any: they are in doubt until
    both ends speak (window.h). One that is just opening, or over, has nothing to doubt. What was expected by
    nobody that is known is a session like others."""
    numbers = one.acked_out or one.acked_in or one.next_out or one.next_in
    doubted = records.unpack_key(key).proto == TCP and (one.state in OPEN or not numbers)
    related = related or not one.flags & abi.SessionFlag.EXPECTED
    if related and not doubted:
        return value
    made = abi.Session.unpack(value)
    made.state |= abi.StateBit.DOUBT if doubted else 0
    made.flags &= 0xFF if related else ~abi.SessionFlag.EXPECTED
    return bytes(made)


def _settle_controls(maps: dict[str, Raw], kept: dict[int, bytes]) -> None:
    for name, read in (("tracks", abi.Track), ("adjusts", abi.Adjust)):
        maps[name] = {key: value for key, value in maps[name].items() if kept.get(read.unpack(value).id) == key}
    for name in ("decisions", "held"):
        maps[name] = {key: value for key, value in maps[name].items() if abi.DecisionKey.unpack(key).id in kept}
    maps["relations"] = {key: value for key, value in maps["relations"].items() if from_native(key) in kept}
    maps["replacements"] = {key: value for key, value in maps["replacements"].items() if key in maps["decisions"]}
    maps["expectations"] = {
        key: value for key, value in maps["expectations"].items() if abi.Expectation.unpack(value).control_id in kept
    }


def _settle_ports(maps: dict[str, Raw], slots: dict[int, abi.PortSlot], refs: Counter[int]) -> None:
    """Count references and mappings; what nobody stands on any longer is free."""
    waiting = {abi.Expectation.unpack(value).port_index for value in maps["expectations"].values()}
    for row, slot in slots.items():
        kind = slot.owner >> 48 & 0xFF
        static = kind == _K.FORWARD or (kind == _K.RESERVED and (bool(slot.block) or row in waiting))
        slot.sessions, slot.away = refs[row] + static, 0
        if not slot.sessions:
            slot.last_host = slot.owner & 0xFFFFFFFF if slot.owner and kind != _K.LOCAL else slot.last_host
            slot.owner = slot.block = slot.forward_id = 0
    maps["port_blocks"] = _settle_blocks(maps["port_blocks"], slots.values())
    mappings = {}
    for key, value in maps["mappings"].items():
        end, row = abi.MappingKey.unpack(key), abi.Mapping.unpack(value).port_index
        own = end.inside_ip | end.inside_port << 32
        kinds = (_K.MAPPING, *([_K.FORWARD] if number_is_handle(end.inside_ip) else []))  # forward_binds
        if row in slots and slots[row].owner & (1 << 56) - 1 in [own | int(kind) << 48 for kind in kinds]:
            mappings[key] = value
            home = int(CLASS_OF.get(end.proto, abi.ProtoClass.ICMP)) << 16 | abi.be16(end.inside_port)
            slots.setdefault(home, abi.PortSlot()).away += 1
    maps["mappings"] = mappings
    maps["ports"] = {native(row, 4): bytes(slot) for row, slot in slots.items() if any(bytes(slot))}


def _settle_blocks(blocks: Raw, slots: Iterable[abi.PortSlot]) -> Raw:
    """Count the ports in use of each block; a port that isn't of its owner's block is of none."""
    found = {from_native(key): abi.PortBlock.unpack(value) for key, value in blocks.items()}
    holders = {row: block.holder & 0xFFFFFFFF for row, block in found.items()}
    used = Counter[int]()
    for slot in slots:
        if slot.owner >> 48 & 0xFF not in COUNTED or not slot.forward_id:
            continue
        row = slot.forward_id - 1
        if holders.get(row) == slot.owner & 0xFFFFFFFF:
            used[row] += 1
        else:
            slot.forward_id = 0
    for row, block in found.items():
        block.holder = holders[row] | used[row] << 32
    return {native(row, 4): bytes(block) for row, block in found.items() if holders[row]}


# -- writing -----------------------------------------------------------------------------------------------------------


def fits(estate: Estate, fd: FdOf) -> None:
    """AlgateError if the maps have no room for it; nothing is written."""
    for name, entries in estate.maps.items():
        if not entries and name in estate6.ROWS:  # a gateway without IPv6 has no such map
            continue
        room = syscall.map_info(fd(name)).max_entries
        wanted = 1 + max(map(from_native, entries), default=-1) if contents()[name].kind == "array" else len(entries)
        if wanted > room:
            raise AlgateError(f"{name} has room for {room} entries and {wanted} are needed: raise [nat] max_sessions")


def write(estate: Estate, fd: FdOf, there: Collection[bytes] = ()) -> None:
    """Write a settled estate into empty maps. OSError if the kernel refuses. `there`: keys of sessions that are in the
    maps already, and may have gone on there since."""
    fits(estate, fd)
    for name, entries in (*estate.maps.items(), *tally(estate.maps).items()):
        if name == "sessions" and there:
            entries = {key: value for key, value in entries.items() if key not in there}
        if entries:
            put(fd(name), entries)
    live = len(estate.maps["sessions"])
    made = max(estate.made, live)
    for row, amount in ((abi.Counter.SESSIONS_NEW, made), (abi.Counter.SESSIONS_ENDED, made - live)):
        syscall.update(fd("counters"), native(row, 4), native(amount, 8).ljust(8 * possible_cpus(), b"\0"))
    config = abi.Config.unpack(syscall.lookup(fd("configs"), bytes(4), len(bytes(abi.Config()))) or b"")
    config.secret = estate.secret
    syscall.update(fd("configs"), bytes(4), bytes(config))


def put(fd: int, entries: Raw) -> None:
    """Write them in batches, where the map takes such. OSError if the kernel refuses."""
    pairs = list(entries.items())
    for start in range(0, len(pairs), CHUNK):
        some = pairs[start : start + CHUNK]
        try:
            syscall.update_batch(fd, b"".join(k for k, _ in some), b"".join(v for _, v in some), len(some))
        except OSError:  # a map without batches
            for key, value in some:
                syscall.update(fd, key, value)
