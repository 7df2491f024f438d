"""What inside hosts have of sessions and public ports, and what is scarce: the counts of `hosts` and `pools`.

The law of this file: it reads counts and changes nothing. What a host is refused is the kernel's (fair.h).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from algate.alg.gateway.addresses import Addresses
from algate.bpf import abi
from algate.bpf.loader import Gateway
from algate.bpf.packing import numbers

FULL = 0.9  # part of sessions, of a block's ports, or of a host's share, from which spare sessions are reclaimed
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


def crowding_hosts(gateway: Gateway) -> set[int]:
    """Inside hosts that have nearly their share of sessions or of ports, as in struct session_key.

    They are looked for only where so much is in use that there can be one.
    """
    config = gateway.configs[0]
    if not config.share_own:
        return set()
    limits = [("sessions", 0, _near(gateway, gateway.max_sessions, abi.POOL_SESSIONS))]
    size = range_size(gateway)
    for block in range(len(CLASSES) * config.public_count if size > abi.SHARE_RANGE else 0):
        limits.append(("held", block % len(CLASSES), _near(gateway, size, block)))
    limits = [one for one in limits if one[2]]
    found: set[int] = set()
    for keys, values, _ in gateway.hosts.chunks() if limits else ():
        hosts = numbers("mapping_key", "inside_ip", keys)
        for field, place, limit in limits:
            counts = numbers("host", field, values, place=place)
            found.update(host for host, count in zip(hosts, counts, strict=True) if limit <= count < 1 << 31)
    return found - {0}


def _near(gateway: Gateway, most: int, row: int) -> int:
    """How much one host has that has nearly its share of a pool; 0: nobody can. As share_spent(), fair.h."""
    config = gateway.configs[0]
    used = gateway.pools[row].used
    used = min(most, used) if used < 1 << 63 else 0  # a plain count of several CPUs can be below 0 for a moment
    whole = (most - used) * config.share_free / config.share_own
    if row != abi.POOL_SESSIONS and not config.port_block and _ports_serve_many(config.flags):
        whole = (most - most // 8) * config.share_free / abi.SHARE_WHOLE
    limit = max(abi.SHARE_FLOOR, int(FULL * whole))
    return limit if used >= limit else 0


def _ports_serve_many(flags: int) -> bool:
    """sharing_allowed(), share.h."""
    other = abi.ConfigFlag.FILTER_EIF | abi.ConfigFlag.FILTER_ADF
    return bool(flags & abi.ConfigFlag.MAPPING_APDM) and not flags & other


class Had(NamedTuple):
    """What a host has of what it was refused: `most` is its limit, or all there is for everybody; `key`: the setting in
    [nat] that says so. `what` is counted, "tcp ports"."""

    has: int | None
    most: int
    what: str
    key: str


def had(gateway: Gateway, reason: str, source: bytes, proto: int) -> Had | None:
    """What a host has now of what a drop reason is about; None for a reason that isn't about what hosts have."""
    row = gateway.hosts.get(abi.MappingKey(inside_ip=int.from_bytes(source, "little"))) or abi.Host()
    config, kind = gateway.configs[0], PROTO_CLASS.get(proto, abi.ProtoClass.ICMP)
    ports = row.held[kind], range_size(gateway), f"{CLASSES[kind]} ports"
    unanswered = row.unanswered, config.max_unanswered_per_host, "unanswered tcp sessions"
    known = {
        "share-sessions": Had(row.sessions, gateway.max_sessions, "sessions", "host_share"),
        "table-full": Had(row.sessions, gateway.max_sessions, "sessions", "max_sessions"),
        "share-ports": Had(*ports, "host_share"),
        "no-port": Had(*ports, "ports"),
        "host-unanswered": Had(*unanswered, "max_unanswered_per_host"),
        "host-sessions": Had(row.sessions, config.max_sessions_per_host, "sessions", "max_sessions_per_host"),
        "host-ports": Had(row.ports, config.max_ports_per_host, "ports", "max_ports_per_host"),
        "host-rate": Had(None, config.new_sessions_per_second, "new sessions a second", "new_sessions_per_second"),
    }
    return known.get(reason)


def fact(gateway: Gateway, reason: str, source: bytes, proto: int) -> str:
    """Whose new session was refused, and in numbers why."""
    addresses = Addresses(gateway)
    host = f"host {addresses.address(source)}" if len(source) in (4, 16) else ""
    counted = addresses.counted(source)
    found = had(gateway, reason, counted, proto) if counted is not None else None
    if found is None or not host:
        return host
    number = "may begin" if found.has is None else f"has {found.has} of"
    return f"{host} {number} {found.most} {found.what} ({found.key})"
