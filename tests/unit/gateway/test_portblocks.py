"""Where port blocks lie, and which host's a computed one is."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algate.alg.config.load import ConfigError, loads
from algate.alg.config.nodes import NodeShare
from algate.alg.config.sections import Nat
from algate.alg.gateway import portblocks
from algate.alg.plugin.values import BLOCK_SIZES, PortRange
from algate.bpf import abi

pytestmark = pytest.mark.unit
HEAD = '[gateway]\nlan = ["l0"]\nwan = "w0"\n[nat]\n'
SIZES = st.sampled_from(BLOCK_SIZES[1:])
RANGES = st.tuples(st.integers(1, 65535), st.integers(1, 65535)).map(lambda pair: PortRange(min(pair), max(pair)))


@settings(deadline=None)
@given(SIZES, RANGES)
def test_blocks_lie_whole_in_the_range(size: int, ports: PortRange) -> None:
    where = portblocks.layout(size, ports)
    if where.number:
        assert where.first % size == 0 and where.first >= ports.first
        assert where.start(where.number) - 1 <= ports.last < where.start(where.number + 1) - 1
        assert where.first - size < ports.first
    else:
        assert len(ports) < 2 * size


def test_no_blocks() -> None:
    assert portblocks.layout(0, PortRange(1, 65535)) == (0, 0, 0)
    assert set(portblocks.usable(Nat(), 1, [PortRange(80, 80)])) == {0}
    assert portblocks.computed(Nat(), 1, IPv4Address("10.0.0.2")) is None and portblocks.host_of(Nat(), 0, 80) is None


@settings(deadline=None)
@given(SIZES, RANGES, st.integers(1, 16), st.integers(0, 511))
def test_a_computed_block_leads_back_to_its_host(size: int, ports: PortRange, addresses: int, host: int) -> None:
    networks = IPv4Network("10.1.0.0/24"), IPv4Network("10.9.0.0/25"), IPv4Network("10.5.4.128/25")
    nat = Nat(ports=ports, port_block=size, port_block_hosts=networks)
    everybody = [one for network in networks for one in network]
    inside = everybody[host]
    found = portblocks.computed(nat, addresses, inside)
    room = portblocks.layout(size, ports).number * addresses
    assert (found is not None) == (host < room)
    if found is not None:
        place, first = found
        assert place < addresses and first % size == 0 and ports.first <= first and first + size - 1 <= ports.last
        assert {portblocks.host_of(nat, place, port) for port in (first, first + size - 1)} == {inside}
        assert portblocks.host_of(nat, place, first - 1) != inside != portblocks.host_of(nat, place, first + size)


@settings(deadline=None)
@given(SIZES, RANGES, st.integers(1, 4), st.integers(0, 64))
def test_what_is_computed_or_held_is_nobody_elses(size: int, ports: PortRange, addresses: int, few: int) -> None:
    held = [PortRange(ports.first, min(ports.last, ports.first + 3)), PortRange(ports.last, ports.last)]
    nat = Nat(ports=ports, port_block=size, port_block_hosts=tuple(IPv4Network(f"10.0.{n}.1/32") for n in range(few)))
    words = portblocks.usable(nat, addresses, held)
    rows = {at * 64 + bit for at, word in enumerate(words) for bit in range(64) if word >> bit & 1}
    fixed = {portblocks.computed(nat, addresses, network[0]) for network in nat.port_block_hosts} - {None}
    for row in rows:
        place, unit = divmod(row, abi.BLOCK_ROWS)
        first = unit * abi.BLOCK_UNIT
        block = PortRange(first, first + size - 1)
        assert (place, first) not in fixed and not any(block.overlaps(one) for one in held)
        assert portblocks.host_of(nat, place, first) is None
        assert ports.first <= block.first and block.last <= ports.last and place < addresses
    every = portblocks.layout(size, ports).number * addresses
    assert len(rows) >= every - len(fixed) - 2 * addresses


@settings(deadline=None, max_examples=60)
@given(SIZES, RANGES, st.integers(1, 4), st.integers(0, 64), st.integers(1, 5))
def test_several_gateways_give_no_block_twice(
    size: int, ports: PortRange, addresses: int, few: int, several: int
) -> None:
    """A host's computed block is the same on each, and leads back to it by each one's configuration; every other block
    is one gateway's, which `giver` names."""
    networks = tuple(IPv4Network(f"10.0.{n}.1/32") for n in range(few))
    nats = [
        Nat(ports=ports, port_block=size, port_block_hosts=networks, port_block_node=NodeShare(n + 1, several))
        for n in range(several)
    ]
    assert len({tuple(portblocks.computed(nat, addresses, one[0]) for one in networks) for nat in nats}) == 1
    given_out: dict[int, int] = {}
    for number, nat in enumerate(nats, 1):
        words = portblocks.usable(nat, addresses, [])
        for row in (at * 64 + bit for at, word in enumerate(words) for bit in range(64) if word >> bit & 1):
            assert given_out.setdefault(row, number) == number
            place, unit = divmod(row, abi.BLOCK_ROWS)
            first = unit * abi.BLOCK_UNIT
            assert {portblocks.giver(one, addresses, place, first + size - 1) for one in nats} == {(number, several)}
            assert portblocks.host_of(nat, place, first) is None
    whole = portblocks.layout(size, ports).number * addresses
    fixed = min(few, whole)
    assert len(given_out) == whole - fixed
    assert sum(portblocks.capacity(nat, addresses) - fixed for nat in nats) == whole - fixed


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("port_block = 100", "nat.port_block: 100 is none of 64, 128"),
        ("port_block = true", "is not a whole number"),
        ("port_block = 4096\nports = '1024-8000'", "has no whole block of 4096 ports"),
        ("port_block_hosts = ['10.0.0.0/24']", "needs blocks: set nat.port_block"),
        ("port_block = 64\nport_block_hosts = ['10.0.0.0/24', '10.0.0.64/26']", "10.0.0.64/26 overlaps 10.0.0.0/24"),
        ("port_block = 512\nport_block_hosts = ['10.0.0.0/24']", "256 hosts are more than the 126 blocks of 512 ports"),
        ("port_block = 512\nport_block_idle = 0", "port_block_idle"),
        ("port_block = 512\nport_block_node = '3/2'", '"2/4" is the second of 4'),
        ("port_block = 512\nport_block_node = '1/2'", "nat.addresses: which addresses do the gateways share"),
        ("port_block_node = '1/2'", "nat.port_block_node: needs blocks"),
    ],
)
def test_what_can_not_be(keys: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("(", r"\(")):
        loads(HEAD + keys)


def test_what_can_be() -> None:
    nat = loads(HEAD + "port_block = 512\naddresses = ['192.0.2.1', '192.0.2.2', '192.0.2.3']\n"
                "port_block_hosts = ['10.0.0.0/24']").nat  # fmt: skip
    assert portblocks.capacity(nat, 3) == 378 and loads(HEAD + "port_block = 0").nat.port_block == 0
