"""What inside hosts have of sessions and public ports, and what is scarce: the counts of `hosts` and `pools`.

The law of this file: it reads counts and changes nothing. What a host is refused is the kernel's (fair.h).
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

from algate.bpf import abi
from algate.bpf.loader import Gateway

FULL = 0.9  # part of sessions, or of a block's ports, from which unanswered sessions are reclaimed
CLASSES = tuple(one.name.lower() for one in abi.ProtoClass)  # by place in host.held, and in the blocks of an address
PROTO_CLASS = {6: abi.ProtoClass.TCP, 17: abi.ProtoClass.UDP, 1: abi.ProtoClass.ICMP}


def range_size(gateway: Gateway) -> int:
    """Ports of one protocol and address."""
    config = gateway.configs[0]
    return int(config.port_last) - int(config.port_first) + 1


def scarce_blocks(gateway: Gateway) -> Iterator[int]:
    """Blocks of `ports` of which inside hosts have nearly all."""
    most = FULL * range_size(gateway)
    for block in range(len(CLASSES) * gateway.configs[0].public_count):
        if most < gateway.pools[block].used < 1 << 63:
            yield block


def fact(gateway: Gateway, reason: str, source: bytes, proto: int) -> str:
    """Why a host's new session was refused, in numbers: "" for a reason that isn't about what it has."""
    row = gateway.hosts.get(abi.MappingKey(inside_ip=int.from_bytes(source, "little")))
    if row is None:
        return ""
    config, kind = gateway.configs[0], PROTO_CLASS.get(proto, abi.ProtoClass.ICMP)
    has = {
        "share-sessions": (row.sessions, gateway.max_sessions, "sessions"),
        "share-ports": (row.held[kind], range_size(gateway), f"{CLASSES[kind]} ports"),
        "host-unanswered": (row.unanswered, config.max_unanswered_per_host, "unanswered tcp sessions"),
        "host-sessions": (row.sessions, config.max_sessions_per_host, "sessions"),
        "host-ports": (row.ports, config.max_ports_per_host, "ports"),
    }.get(reason)
    if has is None:
        return ""
    number, most, what = has
    return f"host {IPv4Address(source)} has {number} of {most} {what}"
