"""Sessions for the control socket as they are in memory: the asker makes lines of them, and the daemon goes on.

The law of this file: the daemon's end of columns.py; it says where each field is and copies bytes. It decodes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from algate.alg.admin.messages import Packed, PackedPart
from algate.alg.daemon.running import Running
from algate.alg.gateway import listing
from algate.alg.gateway.addresses import Addresses
from algate.alg.gateway.gc import Batch, idle_limits
from algate.alg.gateway.records import PROTO_NAMES
from algate.bpf import abi, ticks
from algate.bpf.packing import entry, numbers, spot

EXPECTED = int(abi.SessionFlag.EXPECTED)
PART = 2048  # sessions sent at a time
IN_KEY = ("inside_ip", "inside_port", "remote_ip", "remote_port", "proto")
IN_VALUE = ("id", "state", "public_ip", "port_index", "last_seen", "alg")
BY_WAY = ("packets", "bytes")


def head(running: Running) -> dict[str, Any]:
    """What columns.py must know."""
    fields: dict[str, tuple[int, int, str]] = {name: (0, *spot("session_key", name)) for name in IN_KEY}
    fields |= {name: (1, *spot("session", name)) for name in IN_VALUE}
    for name in BY_WAY:
        fields |= {f"{name}_{way}": (1, *spot("session", name, at)) for at, way in enumerate(("out", "in"))}
    fields["state"] = (1, spot("session", "state")[0], "B")  # the low byte: above it are bits
    return {
        "key": abi.HEADER.structs["session_key"].size, "value": abi.HEADER.structs["session"].size, "fields": fields,
        "protos": PROTO_NAMES, "states": listing.STATE_NAMES, "algs": dict(running.names), "tick": ticks.SECONDS,
        "limits": idle_limits(running.gateway),
    }  # fmt: skip


def answer(running: Running, parts: Iterable[tuple[Batch, Sequence[int]]]) -> Packed:
    """Of each batch the sessions at these places."""
    parents, known = listing.parents(running.gateway), Addresses(running.gateway)
    return Packed(head(running), (part(batch, some, parents, known) for batch, some in parts))


def part(
    batch: Batch, some: Sequence[int], parents: Mapping[int, int], addresses: Addresses
) -> PackedPart | None:  # fmt: skip
    """What is sent of one batch; None: nothing."""
    if not some:
        return None
    keys, values = batch.keys, batch.values
    if len(some) < len(batch.states):
        keys = b"".join([entry("session_key", keys, at) for at in some])
        values = b"".join([entry("session", values, at) for at in some])
    return _part(keys, values, len(some), batch.tick, parents, addresses)


def found(running: Running, pairs: Sequence[tuple[bytes, bytes]]) -> Packed:
    """Packed keys and values, in their order."""
    return Packed(head(running), _parts(pairs, listing.parents(running.gateway), Addresses(running.gateway)))


def _parts(
    pairs: Sequence[tuple[bytes, bytes]], parents: Mapping[int, int], addresses: Addresses
) -> Iterator[PackedPart]:  # fmt: skip
    for start in range(0, len(pairs), PART):
        some = pairs[start : start + PART]
        keys, values = b"".join([key for key, _ in some]), b"".join([value for _, value in some])
        yield _part(keys, values, len(some), ticks.now(), parents, addresses)


def _part(
    keys: bytes, values: bytes, number: int, tick: int, parents: Mapping[int, int], addresses: Addresses
) -> PackedPart:  # fmt: skip
    known = {one: parents[one] for one in numbers("session", "id", values) if one in parents} if parents else {}
    ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    about = {"sessions": number, "tick": tick, "ns": ns, "parents": known}
    ends = [*numbers("session_key", "inside_ip", keys), *numbers("session_key", "remote_ip", keys)]
    about |= {"addresses": shown} if (shown := addresses.shown(ends)) else {}
    return PackedPart(about, keys + values)
