"""What must hold of port blocks: one host each, no overlap, a count and a list that say what there is.

The law of this file: pure, as invariants.py, of which it is a part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

from algate.alg.gateway.picture import Broken, HeldBlock, Picture, Slot
from algate.bpf import abi, ticks

COUNTED = (abi.PortKind.MAPPING, abi.PortKind.RESERVED)


def _overlaps(p: Picture) -> Iterator[Broken]:
    """No two blocks share a port."""
    end = 0
    for row, one in sorted(p.blocks[1].items()):
        if row < end:
            yield Broken(
                "block-overlap", _name(p, row, one), f"port block {_name(p, row, one)} overlaps the one before it"
            )
        end = max(end, row + one.size // abi.BLOCK_UNIT)


def _counts(p: Picture) -> Iterator[Broken]:
    """A block counts its ports in use; judged while that doesn't change."""
    before, after = p.blocks
    used = Counter(slot.forward_id - 1 for slot in p.slots.values() if slot.kind in COUNTED and slot.forward_id)
    for row, one in after.items():
        if before.get(row) == one and one.used != used[row]:
            name = _name(p, row, one)
            yield Broken("block-count", name, f"port block {name} counts {one.used} ports in use, and {used[row]} are")


def _ports(p: Picture) -> Iterator[Broken]:
    """A port in a block is its holder's: what is counted there, and what was taken since the block was given out."""
    units = {
        row + unit: (row, one)
        for row, one in p.blocks[1].items()
        if p.blocks[0].get(row, one).inside == one.inside
        for unit in range(one.size // abi.BLOCK_UNIT)
    }
    for row, slot in p.slots.items():
        if slot.kind not in COUNTED or slot.block:
            continue
        place, port = (row >> 16) // 3, row & 0xFFFF
        found = units.get(place * abi.BLOCK_ROWS + port // abi.BLOCK_UNIT)
        if found is None:
            if slot.forward_id and slot.forward_id - 1 not in p.blocks[0]:
                yield Broken("block-port", p.public(row), f"port {p.public(row)} is counted in a block that nobody has")
            continue
        holder = found[1]
        if slot.ip != holder.inside and (slot.forward_id or _since(p, slot, holder)):
            text = f"port {p.public(row)} of {IPv4Address(slot.ip)} is in a port block of {IPv4Address(holder.inside)}"
            yield Broken("block-port", p.public(row), text)


def _since(p: Picture, slot: Slot, block: HeldBlock) -> bool:
    """Whether a port was taken when the block was given out already."""
    return ticks.distance(slot.stamp, ticks.of(block.assigned) % ticks.WRAP) > 1


def _lists(p: Picture) -> Iterator[Broken]:
    """A host's list has its blocks, and the map of blocks shows them as held."""
    listed = {(ip, row) for ip, rows in p.block_lists.items() for row in rows}
    for row, one in p.blocks[1].items():
        name = _name(p, row, one)
        if (one.inside, row) not in listed:
            yield Broken("block-list", name, f"port block {name} isn't among those of {IPv4Address(one.inside)}")
        if row not in p.block_marks:
            yield Broken("block-mark", name, f"port block {name} is shown as free: {IPv4Address(one.inside)} has it")
    held = p.blocks[1]
    for ip, row in listed:
        if row not in held or held[row].inside != ip:
            about = f"{IPv4Address(ip)} {row}"
            yield Broken("block-list", about, f"{IPv4Address(ip)} lists the port block of row {row}, and hasn't it")
    for row in p.block_marks - held.keys():
        yield Broken("block-mark", f"row {row}", f"the port block of row {row} is shown as held: nobody has it")


def _name(p: Picture, row: int, one: HeldBlock) -> str:
    place, unit = divmod(row, abi.BLOCK_ROWS)
    address = str(IPv4Address(p.addresses[place])) if place < len(p.addresses) else f"address {place + 1}"
    first = unit * abi.BLOCK_UNIT
    return f"{address}:{first}-{first + one.size - 1}"


RULES: tuple[Callable[[Picture], Iterator[Broken]], ...] = (_overlaps, _counts, _ports, _lists)
