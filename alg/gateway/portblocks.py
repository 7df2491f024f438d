"""Port blocks: where they lie, which of them are computed (RFC 7422), and who holds which.

The law of this file: arithmetic on ports, and reading. A block begins at a multiple of its size and lies within
[nat] ports whole. Who gets one is the kernel's (new_block.h); this says where it may take one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from algate.alg.config.nodes import NodeShare
from algate.alg.config.sections import Nat
from algate.alg.plugin.values import PortRange
from algate.bpf import abi
from algate.bpf.loader import Gateway
from algate.bpf.packing import entry, from_native, numbers

WORD = 64  # bits
LEAST_IDLE = 2.0  # s: whoever looks once a second sees every block


class PortBlock(NamedTuple):
    """A block that a host holds. `row`: of `port_blocks`; `place`: of the public address in struct config; `used`: its
    ports in use, of all protocols; `assigned`: ns, CLOCK_MONOTONIC; `stamp`: tick of the last use."""

    row: int
    place: int
    first: int
    size: int
    inside: IPv4Address
    used: int
    assigned: int
    stamp: int

    @property
    def last(self) -> int:
        """The last port."""
        return self.first + self.size - 1


class BlockLayout(NamedTuple):
    """Where blocks lie on each public address. `size` in ports, 0: there are none; `first`: port of the first one;
    `number`: how many there are."""

    size: int
    first: int
    number: int

    def start(self, place: int) -> int:
        """The first port of a block."""
        return self.first + place * self.size


def layout(size: int, ports: PortRange) -> BlockLayout:
    """The whole blocks of a range of ports."""
    if not size:
        return BlockLayout(0, 0, 0)
    return BlockLayout(size, -(-ports.first // size) * size, ports.blocks(size))


def idle_time(nat: Nat, scarce: bool = False) -> float:
    """Seconds for which an empty block is kept: less when there are few others, but no port goes to another host within
    hold-down."""
    return max(LEAST_IDLE if scarce else nat.port_block_idle, nat.hold_down)


def row_of(place: int, port: int) -> int:
    """Row of `port_blocks` of the block that begins at a port."""
    return place * abi.BLOCK_ROWS + port // abi.BLOCK_UNIT


def counting(slot: bytes) -> int | None:
    """Row of the block that counts the port in a raw row of `ports`; None: none does."""
    one = abi.PortSlot.unpack(slot)
    counted = one.owner >> 48 & 0xFF in (abi.PortKind.MAPPING, abi.PortKind.RESERVED)
    return int(one.forward_id) - 1 if counted and one.forward_id else None


# -- computed blocks ---------------------------------------------------------------------------------------------------


def capacity(nat: Nat, addresses: int) -> int:
    """How many hosts can have a block: all that are computed, and what this gateway gives out of the others."""
    whole = layout(nat.port_block, nat.ports).number * addresses
    fixed = min(whole, sum(network.num_addresses for network in nat.port_block_hosts))
    one = nat.port_block_node
    return fixed + sum(1 for number in range(fixed, whole) if one.has(number))


def computed(nat: Nat, addresses: int, inside: IPv4Address) -> tuple[int, int] | None:
    """(place of the public address, first port) of a host's computed block; None if it has none.

    The hosts of `port_block_hosts` are numbered in the order of its networks; the first public address serves as many
    of them as it has blocks, then the second, and so on.
    """
    where, number = layout(nat.port_block, nat.ports), 0
    for network in nat.port_block_hosts if where.number else ():
        if inside in network:
            place, block = divmod(number + int(inside) - int(network.network_address), where.number)
            return (place, where.start(block)) if place < addresses else None
        number += network.num_addresses
    return None


def host_of(nat: Nat, place: int, port: int) -> IPv4Address | None:
    """The inverse of `computed`, for any port: whose computed block it is in."""
    where = layout(nat.port_block, nat.ports)
    if not where.number or not where.first <= port < where.start(where.number):
        return None
    number = place * where.number + (port - where.first) // where.size
    for network in nat.port_block_hosts:
        if number < network.num_addresses:
            return network[number]
        number -= network.num_addresses
    return None


def giver(nat: Nat, addresses: int, place: int, port: int) -> NodeShare | None:
    """Which gateway of several gives out the block that a port is in, whenever it does; None: the block is a host's by
    computation, or there are none there."""
    where = layout(nat.port_block, nat.ports)
    if not where.number or not where.first <= port < where.start(where.number) or place >= addresses:
        return None
    number = place * where.number + (port - where.first) // where.size
    if number < sum(network.num_addresses for network in nat.port_block_hosts):
        return None
    return NodeShare(number % nat.port_block_node.of + 1, nat.port_block_node.of)


def numbered(networks: Sequence[IPv4Network]) -> Iterator[tuple[IPv4Network, int]]:
    """Each network with the number of its first host."""
    number = 0
    for network in networks:
        yield network, number
        number += network.num_addresses


# -- the kernel's tables -----------------------------------------------------------------------------------------------


def usable(
    nat: Nat, addresses: int, held: Iterable[PortRange], leased: Callable[[int, int], bool] = lambda *_: True
) -> list[int]:
    """The words that say where the kernel may give a block to whoever comes: not where one is computed for a host, nor
    where a forward or a plug-in holds a port, nor where another of several gateways gives them out. `leased`: whether a
    block, by its first port and size, is in what this one leases."""
    where = layout(nat.port_block, nat.ports)
    fixed = sum(network.num_addresses for network in nat.port_block_hosts)
    starts = {where.start(block) for block in range(where.number)}
    for one in held if where.size else ():
        first = one.first // where.size * where.size
        starts -= set(range(first, one.last + 1, where.size))
    words = [0] * abi.BLOCK_USABLE
    for place in range(addresses):
        for start in starts:
            number = place * where.number + (start - where.first) // where.size
            if number >= fixed and nat.port_block_node.has(number) and leased(start, where.size):
                row = row_of(place, start)
                words[row // WORD] |= 1 << row % WORD
    return words


def write_networks(gateway: Gateway, networks: Sequence[IPv4Network]) -> None:
    """Make the table of computed blocks this one."""
    wanted, table = {}, gateway.block_networks
    for network, number in numbered(networks):
        at = network.prefixlen, abi.ip_to_be32(network.network_address)
        wanted[at] = number, int(network.hostmask)
    for key, value in list(table.items()):
        if wanted.get((key.prefix_len, key.address)) == (value.first, value.mask):
            del wanted[key.prefix_len, key.address]
        else:
            table.delete(key)
    for (length, address), (number, mask) in wanted.items():
        table.put(abi.ExemptKey(prefix_len=length, address=address), abi.BlockNetwork(first=number, mask=mask))


def write_usable(gateway: Gateway, words: Sequence[int]) -> None:
    """Tell the kernel where it may give blocks out; what is written already isn't written again."""
    now = dict(gateway.block_bits.items())
    for row, word in enumerate(words, abi.BLOCK_USABLE):
        if now[row] != word:
            gateway.block_bits.put(row, word)


def held(gateway: Gateway) -> list[PortBlock]:
    """Every block that a host holds, by address and port."""
    return [one for keys, values, _ in gateway.port_blocks.chunks() for one in blocks(keys, values)]


def blocks(keys: bytes, values: bytes) -> Iterator[PortBlock]:
    """Those of a batch of `port_blocks`."""
    for at, holder in enumerate(numbers("port_block", "holder", values)):
        inside = holder & 0xFFFFFFFF
        if inside:
            one = abi.PortBlock.unpack(entry("port_block", values, at))
            row = from_native(keys[at * 4 : at * 4 + 4])
            place, unit = divmod(row, abi.BLOCK_ROWS)
            first = unit * abi.BLOCK_UNIT
            ip = IPv4Address(abi.be32_to_ip(inside))
            yield PortBlock(row, place, first, one.size, ip, holder >> 32, one.assigned, one.stamp)
