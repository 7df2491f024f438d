"""How full the kernel's tables are, from counts that it keeps anyway: no walk over sessions or ports.

The law of this file: it reads counts and changes nothing. Public ports are counted by the bitmap that searches use.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from algate.alg.audit.fills import Fill, HostFill, PortFill
from algate.alg.gateway.addresses import Addresses
from algate.alg.gateway.shares import CLASSES, range_size
from algate.bpf import abi
from algate.bpf.loader import Gateway
from algate.bpf.packing import numbers

WORD = 8  # bytes of one of the bitmap
NEGATIVE = 1 << 63  # from here on a count that two CPUs raced on stands below 0


def fills(gateway: Gateway) -> dict[str, Fill]:
    """By metric; of sessions `used` is of this moment."""
    most = float(gateway.max_sessions)
    ports = sum(used(gateway, block) for block in range(abi.POOL_SESSIONS))
    flags = numbers("forward", "flags", gateway.forwards.read_all_raw()[1])
    forwards = sum(1 for one in flags if one & abi.ForwardFlag.USED)
    return {
        "algate_sessions": Fill(used(gateway, abi.POOL_SESSIONS), most),
        "algate_mappings": Fill(ports, most),
        "algate_hosts": Fill(len(gateway.hosts), gateway.hosts.info.max_entries),
        "algate_forwards": Fill(forwards, abi.MAX_FORWARDS),
    }


def used(gateway: Gateway, row: int) -> int:
    """What a row of `pools` counts."""
    count = int(gateway.pools[row].used)
    return count if count < NEGATIVE else 0


def ports(gateway: Gateway) -> Iterator[PortFill]:
    """Of each public address and protocol."""
    config = gateway.configs[0]
    first, last, most = int(config.port_first), int(config.port_last), range_size(gateway)
    _, bits = gateway.port_bits.read_all_raw()
    for place in range(config.public_count):
        for kind, proto in enumerate(CLASSES):
            block = place * len(CLASSES) + kind
            taken = bits_set(bits, block, first, last)
            address = str(abi.be32_to_ip(config.public_ip[place]))
            yield PortFill(address, proto, used(gateway, block), most - taken, most)


def bits_set(bits: bytes, block: int, first: int, last: int) -> int:
    """Ports from first to last that the bitmap of a block of rows shows as taken."""
    start = block * abi.BITMAP_BLOCK * WORD
    whole = int.from_bytes(bits[start : start + abi.BITMAP_WORDS * WORD], "little")
    return (whole >> first & (1 << last - first + 1) - 1).bit_count()


def busiest(gateway: Gateway, number: int) -> list[HostFill]:
    """The hosts that have most sessions, then ports."""
    if not number:
        return []
    known = Addresses(gateway)
    rows = (
        HostFill(known.text(key.inside_ip), one.sessions, one.ports, one.refused)
        for key, one in gateway.hosts.items()
        if key.inside_ip
    )
    return heapq.nlargest(number, rows, key=lambda one: (one.sessions, one.ports, one.refused))
