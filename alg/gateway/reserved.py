"""Which public ports are reserved for what is to come, found by way of the bitmap of taken ports.

The law of this file: it reads. The table of ports has a row for each port of each address, and reading it takes a third
of a second, during which no helper works when one starts; the bitmap has a bit.
"""

from __future__ import annotations

from collections.abc import Iterator

from algate.alg.gateway import records
from algate.alg.gateway.records import PortSlot
from algate.bpf import abi, syscall
from algate.bpf.loader import Gateway
from algate.bpf.packing import from_native, native

ONE_BY_ONE = 8192  # rows looked up singly; more are read with all others
KINDS = (abi.PortKind.RESERVED,)
BITS = 64


def reserved(gateway: Gateway) -> Iterator[PortSlot]:
    """The reserved rows of the table of ports."""
    rows = _taken(gateway)
    if len(rows) > ONE_BY_ONE:
        for keys, values, _ in gateway.ports.chunks():
            yield from records.port_slots(keys, values, KINDS)
        return
    size = gateway.ports.value.size
    for row in rows:
        key = native(row, 4)
        value = syscall.lookup(gateway.ports.fd, key, size)
        if value is not None:
            yield from records.port_slots(key, value, KINDS)


def _taken(gateway: Gateway) -> list[int]:
    """Rows whose bit is set."""
    found: list[int] = []
    for keys, values, _ in gateway.port_bits.chunks():
        for place in records.taken_places(values):
            at = from_native(keys[place * 4 : place * 4 + 4])
            block, word = divmod(at, abi.BITMAP_BLOCK)
            if word < abi.BITMAP_WORDS:
                bits = from_native(values[place * 8 : place * 8 + 8])
                found += [(block << 16) + word * BITS + bit for bit in range(BITS) if bits >> bit & 1]
    return found
