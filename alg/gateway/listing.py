"""The kernel's tables as rows: sessions, mappings, expectations.

The law of this file: it reads tables and makes rows; it changes nothing and prints nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from struct import Struct

from algate.alg.audit.transfers import Counters
from algate.alg.rows import ExpectationRow, MappingRow, SessionRow, format_id
from algate.bpf import abi, syscall
from algate.bpf.loader import Gateway

TICK = (1 << abi.TICK_SHIFT) / 1e9
WRAP = 1 << 32
_KEY, _SESSION = Struct(abi.SessionKey.FORMAT), Struct(abi.Session.FORMAT)
PROTO_NAMES = {6: "tcp", 17: "udp", 1: "icmp"}
CLASS_NAMES = ("tcp", "udp", "icmp")
STATE_NAMES = {int(state): state.name.lower().replace("_", "-") for state in abi.SessionState}
EXPECT_NAMES = {int(state): state.name.lower() for state in abi.ExpectationState}
_S = abi.SessionState
RUNNING = (_S.NEW, _S.ESTABLISHED, _S.FIN_IN, _S.FIN_OUT, _S.UNREPLIED, _S.ACTIVE)
OCCUPIED = (abi.PortKind.MAPPING, abi.PortKind.HOME, abi.PortKind.FORWARD)


def now_tick() -> int:
    """The kernel's coarse clock in ticks."""
    return (time.clock_gettime_ns(time.CLOCK_MONOTONIC) >> abi.TICK_SHIFT) % WRAP


def elapsed(now: int, tick: int) -> float:
    """Seconds since a tick, never negative (another CPU's clock may be ahead)."""
    difference = (now - tick) % WRAP
    return 0.0 if difference > WRAP // 2 else difference * TICK


@lru_cache(maxsize=65536)
def _ip(be32: int) -> str:
    return str(abi.be32_to_ip(be32))


def _end(ip: int, port: int) -> str:
    return f"{_ip(ip)}:{abi.be16(port)}"


def timeout_kind(proto: int, state: int) -> int:
    """Index into config.timeouts, the same choice as state_timeout in session.h."""
    states, kinds = abi.SessionState, abi.TimeoutKind
    if proto == 17:
        return int(kinds.UDP)
    if proto != 6:
        return int(kinds.ICMP)
    if state == states.NEW:
        return int(kinds.TCP_OPENING)
    if state in (states.ESTABLISHED, states.FIN_IN, states.FIN_OUT):
        return int(kinds.TCP_ESTABLISHED)
    return int(kinds.TCP_RESET if state == states.RESET else kinds.TCP_CLOSING)


def session_rows(gateway: Gateway, names: Mapping[int, str]) -> Iterator[SessionRow]:
    """Every session that isn't over, while the table is walked. `names`: plug-in number -> name."""
    return (row for _, row in keyed_sessions(gateway, names))


def keyed_sessions(gateway: Gateway, names: Mapping[int, str]) -> Iterator[tuple[bytes, SessionRow]]:
    """The same with their packed keys."""
    timeouts = list(gateway.configs[0].timeouts)
    limits = {
        (proto, state): timeouts[timeout_kind(proto, state)] * TICK for proto in range(256) for state in STATE_NAMES
    }
    for keys, values, _ in gateway.sessions.chunks():
        now, now_ns = now_tick(), time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        pairs = zip(_KEY.iter_unpack(keys), _SESSION.iter_unpack(values), strict=True)
        for place, ((inside, remote, inside_port, remote_port, proto, *_), value) in enumerate(pairs):
            number, related, packets_out, packets_in, bytes_out, bytes_in, word, alg, _, seen, row, public = value
            state = word & 0xFF
            left = limits[proto, state] - elapsed(now, seen)
            if state == abi.SessionState.DEAD or left <= 0:
                continue
            yield keys[place * _KEY.size : (place + 1) * _KEY.size], SessionRow(
                format_id(number), PROTO_NAMES.get(proto) or str(proto), STATE_NAMES[state], _end(inside, inside_port),
                _end(remote, inside_port if proto == 1 else remote_port),
                f"{_ip(public)}:{row & 0xFFFF}" if public else None,
                packets_out, packets_in, bytes_out, bytes_in, max(0.0, (now_ns - number) / 1e9), left,
                names.get(alg), format_id(related) if related else None,
            )  # fmt: skip


def counters(gateway: Gateway, key: bytes) -> Counters | None:
    """What the kernel counted of one session so far, by its packed key."""
    raw = syscall.lookup(gateway.sessions.fd, key, gateway.sessions.value.size)
    if raw is None:
        return None
    value = abi.Session.unpack(raw)
    state = value.state & 0xFF
    made = (value.id >> abi.TICK_SHIFT) % WRAP
    ended = "" if state in RUNNING else "reset" if state == abi.SessionState.RESET else "closed"
    octets = (value.bytes[0], value.bytes[1])
    return Counters(value.id, (value.packets[0], value.packets[1]), octets, elapsed(value.last_seen, made), ended)


def mapping_rows(gateway: Gateway) -> Iterator[MappingRow]:
    """Every mapping and forward's port, by the rows of `ports` that have an owner."""
    now = now_tick()
    config = gateway.configs[0]
    addresses = [_ip(config.public_ip[place]) for place in range(config.public_count)]
    for keys, values, count in gateway.ports.chunks():
        if not any(values):
            continue
        for place in range(count):
            raw = values[place * 32 : place * 32 + 32]
            if raw[6] not in OCCUPIED:
                continue
            slot = abi.PortSlot.unpack(raw)
            row = int.from_bytes(keys[place * 4 : place * 4 + 4], "little")
            block, port = row >> 16, row & 0xFFFF
            address = block // 3
            if address >= len(addresses):
                continue
            static = raw[6] == abi.PortKind.FORWARD
            sessions = slot.sessions - (1 if static else 0)
            inside = f"{_ip(slot.owner & 0xFFFFFFFF)}:{abi.be16(slot.owner >> 32 & 0xFFFF)}"
            yield MappingRow(
                CLASS_NAMES[block % 3], inside, f"{addresses[address]}:{port}", sessions,
                elapsed(now, slot.stamp), None, static,
            )  # fmt: skip


def expectation_rows(gateway: Gateway, names: Mapping[int, str]) -> Iterator[ExpectationRow]:
    """Every expectation the kernel has, used ones until the helper removes them."""
    now = now_tick()
    for key, value in gateway.expectations.items():
        inbound = key.dir == abi.Direction.IN
        left = ((value.expires - now) % WRAP) * TICK
        first, more = abi.be16(value.first), f"-{value.last}" if value.last > value.first else ""
        yield ExpectationRow(
            format_id(value.id), EXPECT_NAMES.get(value.state & 0xFF, "?"), PROTO_NAMES.get(key.proto, "?"),
            _ip(key.from_) if key.from_ else "any",
            _end(key.to, key.to_port) + more if inbound else None,
            (_end(value.inside_ip, value.inside_port) if inbound else _end(key.to, key.to_port or first)) + more,
            left if left < WRAP // 2 * TICK else 0.0, format_id(value.control_id), names.get(value.alg),
        )  # fmt: skip
