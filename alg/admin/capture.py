"""The verb `capture`, the daemon's part: which session it is, and what is decided on it while somebody watches.

The law of this file: it tells; packets are the asker's to record (cli/capture/), with sockets of its own. A session is
treated the same whether or not it is watched.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from ipaddress import ip_address
from typing import Any

from algate.alg.daemon.running import Running
from algate.alg.engine.account import PUNTS
from algate.alg.engine.corrections import shift_seq
from algate.alg.engine.effects import ADJUST_BEGINS, ADJUST_LINES, IN, OUT
from algate.alg.errors import USAGE, AlgateError
from algate.alg.gateway import listing, namespace, records
from algate.alg.gateway.addresses import Addresses
from algate.alg.helper import takeover
from algate.alg.plugin.model import EndPoint
from algate.alg.rows import SessionRow, parse_id
from algate.bpf import abi, syscall


async def capture(running: Running, args: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """First where the session's packets pass, then a record for each judgement, at last that it is over."""
    number = _number(args)
    row, client, seen = _session(running, number)
    watching = running.helper.witness.watch(number)
    try:
        yield _place(running, row, client) | {"seen": seen, "begins": _begins(running, number, client)}
        while (record := await watching.get()) is not None:
            yield record
        yield {"over": True}
    finally:
        running.helper.witness.leave(watching)


def _number(args: dict[str, Any]) -> int:
    said = str(args.get("id", ""))
    try:
        return parse_id(said)
    except ValueError:
        raise AlgateError(f"{said[:60]!a} is not a session id: see `algate sessions`", USAGE) from None


def _session(running: Running, number: int) -> tuple[SessionRow, str, str]:
    """Its row, the side that began it, and the outside end as the inside knows it."""
    key = running.helper.key(number)
    gateway = running.gateway
    raw = syscall.lookup(gateway.sessions.fd, key, gateway.sessions.value.size) if key is not None else None
    value = records.unpack_session(raw) if raw is not None else None
    if key is None or value is None or value.id != number:
        raise AlgateError(f"{number:016x} is no control session that the helper watches: see `algate sessions`")
    client = "outside" if value.flags & abi.SessionFlag.FORWARD else "inside"
    row = listing.SessionRows(gateway, running.names).row(key, value)
    return row, client, _seen(running, key, value)


def _seen(running: Running, key: bytes, value: records.SessionValue) -> str:
    """The outside end as the inside knows it: under NAT64 behind the prefix."""
    told = records.session_info(records.unpack_key(key), value)
    info = Addresses(running.gateway).told(told, running.helper.config.nat64.prefix)
    return str(EndPoint(ip_address(info.seen_ip), info.key.remote_port))


def _begins(running: Running, number: int, client: str) -> list[int] | None:
    """Where a line of the client's begins, if that is known: its next number, as it writes that and as the gateway
    passes it on. Known it is while nothing came since the helper said that all lines are whole, or decided."""
    kept = takeover.Kept(running.gateway, running.helper.executor.keys)
    track, record = kept.track(number), kept.adjust(number)
    if track is None or record is None:
        return None
    way = OUT if client == "inside" else IN
    whole = record.flags & ADJUST_LINES and (track.lines ^ record.lines) & PUNTS == 0
    decided = track.isn[way] + 1 if record.flags & ADJUST_BEGINS else record.decided[way]
    if not whole and (track.next[way] - decided) % (1 << 32):
        return None
    return [track.next[way], shift_seq(record.base[way], record.corrections[way], track.next[way])]


def _place(running: Running, row: SessionRow, client: str) -> dict[str, Any]:
    """`netns`, `pid`: where the devices are."""
    devices = running.devices
    return {
        "id": row.id, "proto": row.proto, "alg": row.alg, "inside": row.inside, "outside": row.outside,
        "mapped": row.mapped or row.inside, "client": client,
        "lan": [one.name for one in devices.lans], "wan": devices.wan.name,
        "netns": namespace.current(), "pid": os.getpid(),
    }  # fmt: skip
