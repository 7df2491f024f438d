"""What can be counted from sessions and ports: hosts, peers, pools, the bitmap; and the lists of port blocks.

The law of this file: pure; raw entries in, raw entries out, the same counts that the kernel keeps (hosts.h, ports.h).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from algate.alg.gateway import estate6, records
from algate.alg.gateway.addresses import is_handle
from algate.bpf import abi
from algate.bpf.packing import from_native, native

Raw = dict[bytes, bytes]
_K = abi.PortKind


def tally(maps: Mapping[str, Raw]) -> dict[str, Raw]:
    """These tables for these sessions, ports and shares."""
    held = _held(maps)
    pools = Counter(row >> 16 for row, _ in _owned(maps, (*records.OWNED, _K.SHARED)))
    pools[abi.POOL_SESSIONS] = len(maps["sessions"])
    if maps["addresses6"]:
        pools[abi.POOL_HANDLES] = len(maps["addresses6"])
    blocks = {from_native(key): abi.PortBlock.unpack(value).holder for key, value in maps["port_blocks"].items()}
    return {
        "askers": {native(row, 4): native(count, 8) for row, count in _askers(maps["addresses6"]).items()},
        "block_lists": _lists(blocks),
        "block_bits": {native(at, 4): native(word, 8) for at, word in _words(blocks).items()},
        "handles": estate6.handles(maps["addresses6"]),
        "hosts": _hosts(maps, held),
        "peers": {key: native(count, 8) for key, count in _peers(maps).items()},
        "pools": {native(row, 4): bytes(abi.Pool(used=used)) for row, used in pools.items()},
        "port_bits": {native(at, 4): native(word, 8) for at, word in _bits(maps).items()},
    }


def _askers(rows: Raw) -> Counter[int]:
    """For whom handles count, by rows of `askers`."""
    return Counter(row for raw in rows.values() for row in abi.Interned.unpack(raw).askers if row)


def _owned(maps: Mapping[str, Raw], kinds: tuple[abi.PortKind, ...]) -> list[tuple[int, int]]:
    """(row, owner) of each port of these kinds."""
    owners = ((from_native(key), abi.PortSlot.unpack(value).owner) for key, value in maps["ports"].items())
    return [(row, owner) for row, owner in owners if owner >> 48 & 0xFF in kinds]


def _held(maps: Mapping[str, Raw]) -> Counter[tuple[bytes, int, bool]]:
    """Ports by host, protocol class, and whether they count for max_ports_per_host."""
    found, rows = Counter[tuple[bytes, int, bool]](), maps["addresses6"]
    for row, owner in _owned(maps, records.OWNED):
        found[estate6.counted_as(_ip(owner), rows), (row >> 16) % 3, owner >> 48 & 0xFF != _K.RESERVED] += 1
    for key, value in maps["shares"].items():
        row = abi.ShareKey.unpack(key).port_index
        found[estate6.counted_as(_ip(abi.Share.unpack(value).owner), rows), (row >> 16) % 3, True] += 1
    return found


def _hosts(maps: Mapping[str, Raw], held: Counter[tuple[bytes, int, bool]]) -> Raw:
    sessions, unanswered = Counter[bytes](), Counter[bytes]()
    for key, value in maps["sessions"].items():
        ip = estate6.counted_as(records.unpack_key(key).inside_ip, maps["addresses6"])
        sessions[ip] += 1
        unanswered[ip] += bool(records.unpack_session(value).word & abi.StateBit.UNANSWERED)
    made = {}
    for ip in {*sessions, *(ip for ip, *_ in held)}:
        by_class = [held[ip, kind, True] + held[ip, kind, False] for kind in abi.ProtoClass]
        counted = sum(held[ip, kind, True] for kind in abi.ProtoClass)
        host = abi.Host(sessions=sessions[ip], ports=counted, unanswered=unanswered[ip], held=(*by_class,))
        made[bytes(abi.MappingKey(inside_ip=from_native(ip)))] = bytes(host)
    return made


def _peers(maps: Mapping[str, Raw]) -> Counter[bytes]:
    found = Counter[bytes]()
    for key, value in maps["sessions"].items():
        if records.unpack_session(value).flags & abi.SessionFlag.PEER:
            flow = records.unpack_key(key)
            inside, remote = (from_native(ip) for ip in (flow.inside_ip, flow.remote_ip))
            port = abi.be16(flow.inside_port)
            for peer in (remote, 0) if is_handle(flow.remote_ip) else (remote,):  # peers6.h counts whether there is one
                found[bytes(abi.PeerKey(inside_ip=inside, remote_ip=peer, inside_port=port, proto=flow.proto))] += 1
    return found


def _bits(maps: Mapping[str, Raw]) -> dict[int, int]:
    """Words of the bitmap, and those that say which are full."""
    bits: dict[int, int] = {}
    for row, _ in _owned(maps, tuple(kind for kind in _K if kind not in (_K.FREE, _K.LOCAL))):
        at = (row >> 16) * abi.BITMAP_BLOCK + ((row & 0xFFFF) >> 6)
        bits[at] = bits.get(at, 0) | 1 << (row & 63)
    for at, word in list(bits.items()):
        if word == (1 << 64) - 1:
            block, place = divmod(at, abi.BITMAP_BLOCK)
            summary = block * abi.BITMAP_BLOCK + abi.BITMAP_WORDS + (place >> 6)
            bits[summary] = bits.get(summary, 0) | 1 << (place & 63)
    return bits


def _lists(blocks: Mapping[int, int]) -> Raw:
    """Each host's port blocks, from their holders by row."""
    found: dict[int, list[int]] = {}
    for row, holder in blocks.items():
        found.setdefault(holder & 0xFFFFFFFF, []).append(row + 1)
    return {
        bytes(abi.MappingKey(inside_ip=ip)): bytes(abi.BlockList(rows=(*rows[: abi.BLOCKS_PER_HOST],)))
        for ip, rows in found.items()
    }


def _words(blocks: Mapping[int, int]) -> Counter[int]:
    """Words that say which port blocks are held."""
    found = Counter[int]()
    for row in blocks:
        found[row >> 6] += 1 << (row & 63)
    return found


def _ip(owner: int) -> bytes:
    return owner.to_bytes(8, "little")[:4]
