"""`whose`: the inside end points behind a public one, now, from the kernel's tables; and where the log is that knows
more.

The law of this file: the live tables. The log is read by the command that asks, not in the daemon's loop.
"""

from __future__ import annotations

import asyncio
import time
from ipaddress import IPv4Address
from typing import Any, Protocol

from algate.alg.config.load import Config
from algate.alg.config.sections import LogSection
from algate.alg.daemon.running import Running
from algate.alg.errors import USAGE, AlgateError
from algate.alg.gateway import portblocks
from algate.alg.gateway.addresses import Addresses
from algate.alg.gateway.records import PROTO_NAMES
from algate.alg.plugin.model import EndPoint
from algate.alg.plugin.values import RefusedError, public_end_point
from algate.alg.rows import HolderRow, LeaseRow
from algate.bpf import abi, ticks
from algate.bpf.requests import CLASS_OF, port_row

COMPUTED = "computed"  # a source: the port is in a block that [nat] port_block_hosts gives that host
LEASED = "lease"  # a source: that gateway had the port, and knows more
LOOK = 512  # shares looked at without a pause
_K = abi.PortKind


def log_of(section: LogSection) -> dict[str, Any]:
    """Where the configuration has it written; `syslog` None: to the local daemon, if to one at all."""
    return {
        "level": section.level, "sinks": list(section.chosen), "file": section.file or None,
        "syslog": str(section.syslog) if section.syslog else None,
    }  # fmt: skip


class Lessees(Protocol):
    """Whoever knows which gateway had a port when."""

    async def lessees(self, port: int) -> list[LeaseRow]:
        """In the order of their times."""


async def whose(
    running: Running, config: Config, args: dict[str, Any], leases: Lessees | None = None
) -> dict[str, Any]:
    """`holders` of the public end point "ip:port" at this moment, and the `log`. AlgateError (exit code 2) for what is
    no such end point."""
    try:
        public = public_end_point(args.get("public"))
    except RefusedError as error:
        raise AlgateError(str(error), USAGE) from None
    addresses = list(running.devices.addresses)
    found: list[HolderRow] = []
    if public.ip in addresses:
        place = addresses.index(IPv4Address(str(public.ip)))
        for proto in CLASS_OF:
            found += await _at(running, str(public), proto, port_row(place, proto, public.port))
        computed = portblocks.host_of(config.nat, place, public.port)
        if computed is not None:
            found.append(HolderRow(str(public), "any", str(computed), None, None, None, COMPUTED))
    found += await _lessees(public, addresses, leases)
    return {
        "public": str(public), "ours": public.ip in addresses, "time": time.time(),
        "holders": [one.as_dict() for one in found], "log": log_of(config.log),
    }  # fmt: skip


async def _lessees(public: EndPoint, addresses: list[IPv4Address], leases: Lessees | None) -> list[HolderRow]:
    """The gateways that had it, of those that share the addresses; nothing while the engine can't be asked."""
    try:
        rows = await leases.lessees(public.port) if leases is not None and public.ip in addresses else []
    except AlgateError:
        return []
    return [HolderRow(str(public), "any", f"gateway {one.node}", None, one.since, one.until, LEASED) for one in rows]


async def _at(running: Running, public: str, proto: int, row: int) -> list[HolderRow]:
    """Who has a row of `ports`."""
    slot = running.gateway.ports[row]
    kind = slot.owner >> 48 & 0xFF
    if kind in (_K.FREE, _K.LOCAL):
        return [_row(public, proto, "the gateway itself", None, slot.stamp)] if kind == _K.LOCAL else []
    if kind != _K.SHARED:
        return [_row(public, proto, _inside(running, slot.owner), None, slot.stamp)]
    found = []
    for number, (key, share) in enumerate(running.gateway.shares.items()):
        if number % LOOK == 0:
            await asyncio.sleep(0)
        if key.port_index == row:
            outside = f"{abi.be32_to_ip(key.remote_ip)}:{abi.be16(key.remote_port)}"
            found.append(_row(public, proto, _inside(running, share.owner), outside, share.stamp))
    return found


def _inside(running: Running, owner: int) -> str:
    raw = abi.be32_to_ip(owner & 0xFFFFFFFF).packed
    return f"{Addresses(running.gateway).host(raw)}:{abi.be16(owner >> 32 & 0xFFFF)}"


def _row(public: str, proto: int, inside: str, outside: str | None, stamp: int) -> HolderRow:
    since = time.time() - ticks.elapsed(ticks.now(), stamp)
    return HolderRow(public, PROTO_NAMES[proto], inside, outside, since, None, "live")
