"""How load spreads over queues and gateways: a model that deploy/SCALING.md takes its numbers from.

The law of this file: arithmetic over made-up flows from a fixed seed; no kernel, no clock.
`python -m tests.bench.scaling [BENCH.JSON]` prints the tables of SCALING.md, a machine's from the bench's record.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEFAULT_KEY = bytes.fromhex(  # the key that most drivers start with, from the RSS specification
    "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa"
)
SYMMETRIC_KEY = bytes.fromhex("6d5a" * 20)
PORTS = range(1024, 65_536)  # nat.ports as shipped
POOL = len(PORTS)
SEED = 5


@dataclass(frozen=True, slots=True)
class Flow:
    """One conversation, before and after translation: addresses as numbers."""

    inside: int
    inside_port: int
    remote: int
    remote_port: int
    public: int
    public_port: int


def toeplitz(key: bytes, data: bytes) -> int:
    """The hash of receive-side scaling, 32 bits."""
    bits, width = int.from_bytes(key, "big"), len(key) * 8
    result = 0
    for number in range(len(data) * 8):
        if data[number // 8] >> (7 - number % 8) & 1:
            result ^= bits >> (width - 32 - number) & 0xFFFFFFFF
    return result


def mixed(value: int) -> int:
    """A hash without structure: every bit of the 64 hangs on every bit of `value`. A router's own is not known."""
    for factor in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB):
        value = (value ^ value >> 30) * factor % 2**64
    return value ^ value >> 31


def made_flows(count: int, hosts: int, remotes: int) -> list[Flow]:
    """Flows of `hosts` inside hosts, each to one of `remotes` outside hosts chosen by Zipf's law."""
    dice = random.Random(SEED)
    weights = [1 / (rank + 1) for rank in range(remotes)]
    chosen = dice.choices(range(remotes), weights, k=count)
    flows = []
    for number, rank in enumerate(chosen):
        inside = 0x0A000000 + dice.randrange(hosts)
        remote = 0xCB000000 + rank * 7919 % 0xFFFFFF
        port = PORTS[number % POOL]
        flows.append(Flow(inside, dice.randrange(32_768, 61_000), remote, 443, 0xC6336402 + number // POOL, port))
    return flows


def _word(*numbers: tuple[int, int]) -> bytes:
    return b"".join(value.to_bytes(size, "big") for value, size in numbers)


def queues(flow: Flow, key: bytes, count: int, fields: str) -> tuple[int, int]:
    """(queue at the LAN device, queue at the WAN device). `fields`: "tuple" for addresses and ports, "remote" for the
    remote end point alone (`ethtool -N LAN rx-flow-hash tcp4 dn`, `ethtool -N WAN rx-flow-hash tcp4 sf`)."""
    if fields == "remote":
        out = into = _word((flow.remote, 4), (flow.remote_port, 2))
    else:
        out = _word((flow.inside, 4), (flow.remote, 4), (flow.inside_port, 2), (flow.remote_port, 2))
        into = _word((flow.remote, 4), (flow.public, 4), (flow.remote_port, 2), (flow.public_port, 2))
    return toeplitz(key, out) % 128 % count, toeplitz(key, into) % 128 % count


def imbalance(places: Sequence[int], count: int) -> float:
    """Load of the fullest of `count` places over the mean."""
    return max(Counter(places).values()) * count / len(places)


def same_queue(flows: Sequence[Flow], key: bytes, count: int, fields: str) -> tuple[float, float]:
    """(share of flows with both directions on one queue, imbalance of the LAN's queues)."""
    pairs = [queues(flow, key, count, fields) for flow in flows]
    return sum(a == b for a, b in pairs) / len(pairs), imbalance([a for a, _ in pairs], count)


def block_of(node: int, nodes: int) -> range:
    """The public ports of a gateway among `nodes` that share an address: `nat.ports` of its configuration."""
    size = POOL // nodes
    return range(PORTS.start + node * size, PORTS.start + (node + 1) * size)


def node_of_host(inside: int, nodes: Sequence[int]) -> int:
    """Where the inside router sends a host: a hash of the source address alone, by rendezvous, so that a lost gateway
    moves its own hosts only (a router's "resilient" ECMP)."""
    return max(nodes, key=lambda node: mixed(inside << 32 | node))


def node_of_port(port: int, nodes: int) -> int | None:
    """Where the outside router sends a reply: by port block. None: nobody's."""
    place = (port - PORTS.start) // (POOL // nodes)
    return place if 0 <= place < nodes else None


def headroom(hosts: int, nodes: int) -> float:
    """Hosts of the fullest gateway over the mean."""
    everyone = list(range(nodes))
    return imbalance([node_of_host(0x0A000000 + host, everyone) for host in range(hosts)], nodes)


def queue_table() -> Iterator[str]:
    flows = made_flows(4000, 500, 2000)
    for name, key, fields in (
        ("4-tuple, default key", DEFAULT_KEY, "tuple"),
        ("4-tuple, symmetric key", SYMMETRIC_KEY, "tuple"),
        ("remote end point alone", SYMMETRIC_KEY, "remote"),
    ):
        for count in (4, 16):
            same, load = same_queue(flows, key, count, fields)
            yield f"| {name} | {count} | {same:.0%} | {load:.2f} |"


def node_table() -> Iterator[str]:
    for nodes in (2, 4, 8):
        few, many = headroom(500, nodes), headroom(20_000, nodes)
        yield f"| {nodes} | {POOL // nodes:,} | {few:.2f} | {many:.2f} | {1 / many:.0%} |"


def machine_table(record: dict[str, Any]) -> Iterator[str]:
    """What one core and a million sessions cost, from bench.json."""
    figures = record["figures"]
    wanted = [key for key in figures if key.startswith(("rate.", "new.", "helper.", "memory.", "sweep", "start."))]
    for key in wanted:
        for gateway, value in figures[key]["gateways"].items():
            if gateway.startswith("algate") and value["median"] is not None:
                yield f"| {figures[key]['title']} | {gateway} | {value['median']:,.0f} {figures[key]['unit']} |"


def main(arguments: list[str]) -> None:
    """Print the tables."""
    tables = [("queues", queue_table()), ("gateways", node_table())]
    if arguments:
        tables.append(("machine", machine_table(json.loads(Path(arguments[0]).read_text()))))
    for name, lines in tables:
        print(f"{name}:", *lines, sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
