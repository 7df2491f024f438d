"""The kernel's tables as rows: sessions, mappings, expectations.

The law of this file: it reads tables and makes rows; it changes nothing and prints nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, ip_address

from algate.alg.gateway import records
from algate.alg.gateway.addresses import Addresses
from algate.alg.gateway.counted import timeout_kind
from algate.alg.gateway.records import CLASS_NAMES, PROTO_NAMES
from algate.alg.rows import ExpectationRow, MappingRow, SessionRow, format_id
from algate.bpf import abi, ticks
from algate.bpf.loader import Gateway

STATE_NAMES = {int(state): state.name.lower().replace("_", "-") for state in abi.SessionState}
EXPECT_NAMES = {int(state): state.name.lower() for state in abi.ExpectationState}
UDP = 17  # whose timeout other protocols have
OCCUPIED = (abi.PortKind.MAPPING, abi.PortKind.HOME, abi.PortKind.FORWARD)


@lru_cache(maxsize=65536)
def _ip(packed: bytes) -> str:
    return str(IPv4Address(packed))


def _end(addresses: Addresses, ip: bytes, port: int) -> str:
    return f"{_ip(ip) if ip[0] else addresses.host(ip)}:{port}"


class SessionRows:
    """Makes rows of packed sessions at one moment. `names`: plug-in number -> name."""

    def __init__(self, gateway: Gateway, names: Mapping[int, str]) -> None:
        self._names = names
        self._addresses = Addresses(gateway)
        self._parents = parents(gateway)
        timeouts = list(gateway.configs[0].timeouts)
        self._limits = {
            (proto, state): timeouts[timeout_kind(proto, state)] * ticks.SECONDS
            for proto in PROTO_NAMES
            for state in STATE_NAMES
        }
        self.look()

    def look(self) -> None:
        """Judge by this moment from now on."""
        self._now, self._now_ns = ticks.now(), time.clock_gettime_ns(time.CLOCK_MONOTONIC)

    def row(self, packed: bytes, value: records.SessionValue) -> SessionRow:
        """Of one session; it may be over."""
        key, state = records.unpack_key(packed), value.state
        return SessionRow(
            format_id(value.id), PROTO_NAMES.get(key.proto) or str(key.proto), STATE_NAMES[state],
            _end(self._addresses, key.inside_ip, key.inside_port),
            _end(self._addresses, key.remote_ip, key.inside_port if key.proto == 1 else key.remote_port),
            f"{_ip(value.public_ip)}:{value.port_index & 0xFFFF}" if any(value.public_ip) else None,
            *value.packets, *value.octets,
            max(0.0, (self._now_ns - value.id) / 1e9),
            self._limits[key.proto if key.proto in PROTO_NAMES else UDP, state]
            - ticks.elapsed(self._now, value.last_seen),
            self._names.get(value.alg), format_id(self._parents[value.id]) if value.id in self._parents else None,
        )  # fmt: skip


def parents(gateway: Gateway) -> dict[int, int]:
    """Id of each session that was expected -> id of the control session that expected it."""
    found: dict[int, int] = {}
    for keys, values, _ in gateway.relations.chunks():
        found.update(zip(memoryview(keys).cast("Q"), memoryview(values).cast("Q"), strict=True))
    return found


def mapping_rows(gateway: Gateway) -> Iterator[MappingRow]:
    """Every mapping and every forward's port, from the rows of `ports` that have an owner; a shared port once for each
    destination."""
    now, known = ticks.now(), Addresses(gateway)
    config = gateway.configs[0]
    addresses = [str(abi.be32_to_ip(config.public_ip[place])) for place in range(config.public_count)]
    for keys, values, _ in gateway.ports.chunks():
        for slot in records.port_slots(keys, values, OCCUPIED):
            block, port = slot.row >> 16, slot.row & 0xFFFF
            address = block // 3
            if address >= len(addresses):
                continue
            static = slot.kind == abi.PortKind.FORWARD
            yield MappingRow(
                CLASS_NAMES[block % 3], _end(known, slot.inside_ip, slot.inside_port), f"{addresses[address]}:{port}",
                slot.sessions - (1 if static else 0), ticks.elapsed(now, slot.stamp), None, static,
            )  # fmt: skip
    for key, share in gateway.shares.items():
        block, port = key.port_index >> 16, key.port_index & 0xFFFF
        if block // 3 < len(addresses):
            yield MappingRow(
                CLASS_NAMES[block % 3],
                _end(known, abi.be32_to_ip(share.owner & 0xFFFFFFFF).packed, abi.be16(share.owner >> 32 & 0xFFFF)),
                f"{addresses[block // 3]}:{port}", 1, ticks.elapsed(now, share.stamp), None, False,
            )  # fmt: skip


def expectation_rows(gateway: Gateway, names: Mapping[int, str]) -> Iterator[ExpectationRow]:
    """Every expectation in the kernel; used ones stay until the helper removes them."""
    now, addresses = time.clock_gettime(time.CLOCK_MONOTONIC), Addresses(gateway)
    for key, value in gateway.expectations.items():
        one = addresses.expected(records.unpack_expectation(bytes(key), bytes(value), now))
        more = f"-{one.to.port + one.ports - 1}" if one.ports > 1 else ""
        yield ExpectationRow(
            format_id(one.id), EXPECT_NAMES.get(one.state, "?"), PROTO_NAMES.get(one.proto, "?"),
            str(ip_address(one.from_ip)) if one.from_ip else "any", f"{one.to}{more}" if one.inside else None,
            f"{one.inside or one.to}{more}", max(0.0, one.expires - now), format_id(one.session), names.get(one.alg),
        )  # fmt: skip
