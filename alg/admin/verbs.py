"""The short verbs: forwards, events as they happen.

The law of this file: it formats nothing for people. A verb takes only what it needs; one that changes the configuration
returns the new one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from typing import Any

from algate.alg.admin import filters
from algate.alg.answers import ReloadAnswer
from algate.alg.audit.events import Events
from algate.alg.config import load as configuration
from algate.alg.config.load import Config
from algate.alg.daemon.reloading import Reloading
from algate.alg.daemon.running import Running
from algate.alg.errors import USAGE, AlgateError
from algate.alg.gateway import reach
from algate.alg.plugin.values import PortRange, port_range
from algate.alg.rows import LOST, Row

RELOAD_LEAST, RELOAD_MOST = 1.0, 86400.0  # s until a reload is undone


def reload(reloading: Reloading, args: dict[str, Any]) -> ReloadAnswer:
    """`dry_run`, `seconds` or `confirm`, see Reloading. AlgateError (exit code 2) for a time that can't be."""
    seconds = args.get("seconds")
    known = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if seconds is not None and not (known and RELOAD_LEAST <= seconds <= RELOAD_MOST):
        raise AlgateError(f"--for: {seconds!a} is not between {RELOAD_LEAST:g} and {RELOAD_MOST:g} s", USAGE)
    chosen = [name for name in ("dry_run", "seconds", "confirm") if args.get(name)]
    if len(chosen) > 1:
        raise AlgateError("--dry-run, --for and --confirm exclude each other", USAGE)
    if args.get("confirm"):
        return reloading.confirm()
    return reloading.reload(args.get("dry_run") is True, seconds)


def forward_add(running: Running, config: Config, args: dict[str, Any]) -> tuple[Config, dict[str, Any]]:
    """Add a live forward, checked like a configured one and against those in force. `save`: the file will have it.

    Returns the configuration with it, and its row.
    """
    save = args.get("save") is True
    table = {key: value for key, value in args.items() if value not in ("", []) and key != "save"}
    wanted = table.get("wan_port")
    if isinstance(wanted, str) and wanted.isdigit():
        table["wan_port"] = int(wanted)
    known = dataclasses.replace(config, forwards=tuple(running.forwards.all()))
    alone = configuration.with_forward(dataclasses.replace(known, forwards=()), table).forwards[0]
    for _, word in reach.obstacles([alone], config.gateway.wan):
        raise AlgateError(word)
    if not (save and running.forwards.settle(alone)):
        made = configuration.with_forward(known, table).forwards[-1]
        running.forwards.add(made, live=not save)
        running.hold_passive_ports(config)
    if save:
        kept = tuple(one for one in config.forwards if one != alone)
        config = dataclasses.replace(config, forwards=(*kept, alone))
    row = next(
        one for one in running.forwards.rows() if (one.proto, one.wan_port) == (alone.proto, str(alone.wan_port))
    )
    return config, row.as_dict()


def wanted_ports(wanted: object) -> PortRange:
    """A port or a range as a command line has it. ValueError says what is wrong."""
    return port_range()(int(wanted) if isinstance(wanted, str) and wanted.isdigit() else wanted)


def forward_del(running: Running, config: Config, args: dict[str, Any]) -> tuple[Config, dict[str, Any]]:
    """End a forward; its sessions go on. A forward in the file comes back when the file is read again.

    Returns the configuration without it, and its proto and port.
    """
    proto, wanted = str(args.get("proto")), args.get("wan_port")
    try:
        ports = wanted_ports(wanted)
    except ValueError as error:
        raise AlgateError(f"wan_port: {error}", 2) from None
    if not running.forwards.delete(proto, ports):
        raise AlgateError(f"no forward of {proto} port {ports}: see `algate forward list`")
    kept = tuple(one for one in config.forwards if (one.proto, one.wan_port) != (proto, ports))
    running.hold_passive_ports(config)
    return dataclasses.replace(config, forwards=kept), {"proto": proto, "wan_port": str(ports)}


def forward_file(config: Config) -> dict[str, Any]:
    """Where forwards are kept for good: the configuration file. The asking command writes it; the daemon never does."""
    if config.path is None:
        raise AlgateError("`algate run` was started without --config: there is no file to save the forward in")
    return {"path": str(config.path.absolute())}


async def follow(events: Events, args: dict[str, Any]) -> AsyncIterator[Row]:
    """Events as they happen. A client that reads too slowly loses the oldest ones."""
    wanted = filters.parse(args)
    with events.subscribed() as follower:
        while True:
            row = await follower.get()
            if row.event == LOST or wanted.matches(row):
                yield row
