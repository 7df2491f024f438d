"""What deploy/SCALING.md derives holds in the model: both directions meet, blocks are disjoint, load is even enough."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import scaling

pytestmark = pytest.mark.bench
PAGE = Path(__file__).parents[2] / "deploy/SCALING.md"
FLOWS = scaling.made_flows(1500, 200, 1000)


def test_toeplitz_gives_the_specification_s_values() -> None:
    """The first two IPv4 vectors of the RSS specification, with ports."""
    first = bytes([66, 9, 149, 187, 161, 142, 100, 80]) + (2794).to_bytes(2, "big") + (1766).to_bytes(2, "big")
    second = bytes([199, 92, 111, 2, 65, 69, 140, 83]) + (14230).to_bytes(2, "big") + (4739).to_bytes(2, "big")
    assert scaling.toeplitz(scaling.DEFAULT_KEY, first) == 0x51CCC178
    assert scaling.toeplitz(scaling.DEFAULT_KEY, second) == 0xC626B0EA


@pytest.mark.parametrize("key", [scaling.DEFAULT_KEY, scaling.SYMMETRIC_KEY])
def test_a_hash_over_what_nat_changes_brings_directions_together_by_chance_only(key: bytes) -> None:
    same, _ = scaling.same_queue(FLOWS, key, 4, "tuple")
    assert same == pytest.approx(1 / 4, abs=0.08)


def test_the_remote_end_point_brings_them_together_always() -> None:
    same, load = scaling.same_queue(FLOWS, scaling.SYMMETRIC_KEY, 4, "remote")
    assert same == 1
    assert load > scaling.same_queue(FLOWS, scaling.DEFAULT_KEY, 4, "tuple")[1], "a popular host fills its queue"


@pytest.mark.parametrize("nodes", [1, 2, 3, 4, 8])
def test_replies_reach_the_gateway_that_translated(nodes: int) -> None:
    everyone = list(range(nodes))
    taken: dict[int, int] = {}
    for flow in FLOWS:
        node = scaling.node_of_host(flow.inside, everyone)
        block = scaling.block_of(node, nodes)
        port = block[taken.setdefault(node, 0) % len(block)]
        taken[node] += 1
        assert scaling.node_of_port(port, nodes) == node


@pytest.mark.parametrize("nodes", [2, 3, 8])
def test_blocks_are_disjoint_and_use_nearly_the_whole_pool(nodes: int) -> None:
    ports = [port for node in range(nodes) for port in scaling.block_of(node, nodes)]
    assert len(ports) == len(set(ports))
    assert scaling.POOL - len(ports) < nodes
    assert {scaling.node_of_port(port, nodes) for port in ports} == set(range(nodes))


def test_a_lost_gateway_moves_its_own_hosts_only() -> None:
    before = {host: scaling.node_of_host(host, [0, 1, 2, 3]) for host in range(0x0A000000, 0x0A000000 + 1000)}
    for host, node in before.items():
        assert node == 2 or scaling.node_of_host(host, [0, 1, 3]) == node


def test_many_hosts_spread_evenly() -> None:
    assert scaling.headroom(5000, 4) < 1.1 < scaling.headroom(40, 8)


def test_the_page_has_the_model_s_tables() -> None:
    text = PAGE.read_text()
    for line in (*scaling.queue_table(), *scaling.node_table()):
        assert line in text, f"{PAGE.name} lacks what `python -m tests.bench.scaling` prints: {line}"
