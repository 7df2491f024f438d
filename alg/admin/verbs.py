"""What the control socket answers: one handler a verb.

The law of this file: it reads through the service and formats nothing for people.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from algate.alg.admin import filters
from algate.alg.admin.answering import Handler
from algate.alg.admin.messages import PIECE, Rows
from algate.alg.admin.inquiry import inquire
from algate.alg.admin.kill import kill
from algate.alg.admin.status import status
from algate.alg.config import load as configuration
from algate.alg.errors import AlgateError
from algate.alg.gateway import listing
from algate.alg.plugin.values import port_range
from algate.alg.rows import LOST, Row

if TYPE_CHECKING:
    from algate.alg.daemon.service import Service

TOP_INTERVAL_LEAST = 0.1
TOP_SESSIONS = 2000  # rows that one snapshot carries


def handlers(service: Service) -> dict[str, Handler]:
    """Verb -> handler."""

    def rows(make: Any) -> Handler:
        async def answer(args: dict[str, Any]) -> Rows:
            return Rows(filters.parse(args).pieces(make(), PIECE))

        return answer

    async def tell_status(_: dict[str, Any]) -> dict[str, Any]:
        return status(service)

    async def stats(_: dict[str, Any]) -> dict[str, float]:
        return service.metrics.stats()

    async def reload(_: dict[str, Any]) -> dict[str, Any]:
        return service.reload()

    async def down(args: dict[str, Any]) -> dict[str, Any]:
        service.stop("purge" if args.get("purge") else "detach")
        return {}

    return {
        "down": down,
        "sessions": rows(lambda: listing.session_rows(service.gateway, service.names)),
        "mappings": rows(lambda: listing.mapping_rows(service.gateway)),
        "expectations": rows(lambda: listing.expectation_rows(service.gateway, service.names)),
        "forward-list": rows(lambda: service.forwards.rows()),
        "forward-add": lambda args: forward_add(service, args),
        "forward-del": lambda args: forward_del(service, args),
        "forward-file": lambda _: forward_file(service),
        "status": tell_status,
        "stats": stats,
        "kill": lambda args: kill(service, args),
        "explain": lambda args: inquire(service, args),
        "reload": reload,
        "follow": lambda args: follow(service, args),
        "top": lambda args: top(service, args),
    }


async def forward_add(service: Service, args: dict[str, Any]) -> dict[str, Any]:
    """A live forward, checked like a configured one and against those in force. `save`: the file will have it."""
    save = args.get("save") is True
    table = {key: value for key, value in args.items() if value not in ("", []) and key != "save"}
    wanted = table.get("wan_port")
    if isinstance(wanted, str) and wanted.isdigit():
        table["wan_port"] = int(wanted)
    known = dataclasses.replace(service.config, forwards=tuple(service.forwards.all()))
    alone = configuration.with_forward(dataclasses.replace(known, forwards=()), table).forwards[0]
    if not (save and service.forwards.settle(alone)):
        made = configuration.with_forward(known, table).forwards[-1]
        service.forwards.add(made, live=not save)
        service.hold_passive_ports()
    if save:
        kept = tuple(one for one in service.config.forwards if one != alone)
        service.config = dataclasses.replace(service.config, forwards=(*kept, alone))
    row = next(one for one in service.forwards.rows() if (one.proto, one.to) == (alone.proto, str(alone.to)))
    return row.as_dict()


async def forward_del(service: Service, args: dict[str, Any]) -> dict[str, Any]:
    """End a forward; its sessions go on. One of the file comes back when that is read again."""
    proto, wanted = str(args.get("proto")), args.get("wan_port")
    try:
        ports = port_range()(int(wanted) if isinstance(wanted, str) and wanted.isdigit() else wanted)
    except ValueError as error:
        raise AlgateError(f"wan_port: {error}", 2) from None
    if not service.forwards.delete(proto, ports):
        raise AlgateError(f"no forward of {proto} port {ports}: see `algate forward list`")
    kept = tuple(one for one in service.config.forwards if (one.proto, one.wan_port) != (proto, ports))
    service.config = dataclasses.replace(service.config, forwards=kept)
    service.hold_passive_ports()
    return {"proto": proto, "wan_port": str(ports)}


async def forward_file(service: Service) -> dict[str, Any]:
    """Where forwards are kept for good: the configuration file. Whoever asks writes it; the daemon mayn't."""
    if service.config.path is None:
        raise AlgateError("`algate run` was started without --config: there is no file to save a forward in")
    return {"path": str(service.config.path.absolute())}


async def follow(service: Service, args: dict[str, Any]) -> AsyncIterator[Row]:
    """Events as they happen. A client that reads too slowly loses the oldest."""
    wanted = filters.parse(args)
    with service.events.subscribed() as follower:
        while True:
            row = await follower.get()
            if row.event == LOST or wanted.matches(row):
                yield row


async def top(service: Service, args: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """A snapshot at once and then every `interval` seconds."""
    interval = max(TOP_INTERVAL_LEAST, float(args.get("interval", 0.5)))
    wanted = filters.parse({name: value for name, value in args.items() if name != "interval"})
    while True:
        yield await snapshot(service, wanted)
        await asyncio.sleep(interval)


async def snapshot(service: Service, wanted: filters.Filter) -> dict[str, Any]:
    """Status, sessions (the first that are found), expectations, stats and the latest events of one moment."""
    sessions: list[Row] = []
    for piece in wanted.pieces(listing.session_rows(service.gateway, service.names), PIECE):
        sessions += piece
        if len(sessions) >= TOP_SESSIONS:
            break
        await asyncio.sleep(0)
    return {
        "time": time.time(),
        "status": status(service),
        "sessions": sessions[:TOP_SESSIONS],
        "expectations": list(listing.expectation_rows(service.gateway, service.names)),
        "stats": service.metrics.stats(),
        "events": list(service.events.latest),
    }
