"""`hosts` and `ports`: what inside hosts have and do, and what is left of the public ports.

The law of this file: args in, rows out; it walks tables a batch at a time and the daemon's loop gets a turn after each.
What a column means is in gateway/hosts.py and gateway/pools.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from algate.alg.admin import filters, listings
from algate.alg.admin.listings import RATE_SECONDS, RowOrder
from algate.alg.admin.sorting import in_order
from algate.alg.daemon.running import Running
from algate.alg.errors import USAGE, AlgateError
from algate.alg.gateway import hosts as inside
from algate.alg.gateway import pools, shares, survey
from algate.alg.gateway.addresses import Addresses
from algate.alg.gateway.best import Earlier
from algate.alg.rows import HostRow, PortRow, Row
from algate.bpf import abi, ticks

R = TypeVar("R", bound=Row)
HOST_FILTERS, PORT_FILTERS = ("inside",), ("proto", "outside")


async def hosts(running: Running, args: dict[str, Any]) -> Any:
    """A row for each inside host. It takes a second: what moved meanwhile is the rate."""
    order = RowOrder.parse(args, tuple(inside.SORTS), ())
    _only(args, HOST_FILTERS, "hosts", "sums up sessions")
    if any(place.port is not None for place in filters.parse(args).inside):
        raise AlgateError("--inside: a host has no port: write it like 10.0.0.5 or 10.0.0.0/24", USAGE)
    return await _answer(await host_rows(running, args), order, inside.SORTS, "rate")


async def host_rows(running: Running, args: Mapping[str, Any]) -> Iterator[HostRow]:
    """In no order. `args`: filters."""
    chosen, config = listings.wanted(running, args), running.gateway.configs[0]
    earlier = Earlier()
    await listings.walk(running, survey.Wanted(), earlier)
    await asyncio.sleep(max(0.0, RATE_SECONDS - (_now_ns() - earlier.began) / 1e9))
    counts: dict[int, inside.HostCount] = {}
    for some in inside.host_counts(running.gateway):
        counts |= some
        await asyncio.sleep(0)
    now_ns = _now_ns()
    sums = inside.HostSums(earlier, now_ns)
    await listings.walk(running, chosen, sums)
    text = Addresses(running.gateway).text
    return inside.host_rows(counts, sums.sums, config, (now_ns - earlier.began) / 1e9, now_ns, text, chosen.insides)


async def ports(running: Running, args: dict[str, Any]) -> Any:
    """A row for each public address and protocol."""
    order = RowOrder.parse(args, tuple(pools.SORTS), ())
    _only(args, PORT_FILTERS, "ports", "lists sessions")
    chosen = filters.parse(args)
    rows = chosen.select(await port_rows(running))
    return await _answer(rows[::-1] if order.reverse and not order.sort else rows, order, pools.SORTS, "")


async def port_rows(running: Running) -> list[PortRow]:
    """In the order of addresses."""
    gateway = running.gateway
    config = gateway.configs[0]
    use = pools.PortUse(config.port_first, config.port_last, config.hold_down, ticks.now())
    for keys, values, _ in gateway.ports.chunks(listings.SLICE):
        use.take(keys, values)
        await asyncio.sleep(0)
    addresses = [str(abi.be32_to_ip(config.public_ip[place])) for place in range(config.public_count)]
    rates = running.sweeper.trend.rates(time.monotonic(), pools.in_use(gateway))
    return pools.port_rows(use, addresses, shares.range_size(gateway), rates)


async def _answer(rows: Iterable[R], order: RowOrder, sorts: Mapping[str, Callable[[R], float]], usual: str) -> Any:
    """The rows in the order asked for, or in the `usual` one ("": as they are)."""
    name = order.sort or usual
    made = await in_order(rows, sorts[name] if name else None, not order.reverse, None if order.count else order.limit)
    if order.count:
        return {"count": sum(map(len, made.pieces))}
    return made


def _only(args: Mapping[str, Any], known: tuple[str, ...], verb: str, instead: str) -> None:
    """AlgateError (usage) for a filter that these rows have nothing for."""
    for name in (*filters.NAMES, "idle", "age", "forward"):
        if name not in known and args.get(name) is not None:
            option = f"--{name.replace('_', '-')}"
            raise AlgateError(
                f"{option}: {verb} have nothing to compare it with; `algate sessions {option} ... --by host` {instead}",
                USAGE,
            )


def _now_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)
