"""The verbs about services of inside IPv6 hosts that the outside may open: `allow list`, `add` and `del`.

The law of this file: as verbs.py; the kernel's tables are gateway/admissions.py's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from algate.alg.admin.verbs import wanted_ports
from algate.alg.config import load as configuration
from algate.alg.config.load import Config
from algate.alg.daemon.running import Running
from algate.alg.errors import USAGE, AlgateError
from algate.alg.gateway import reach
from algate.alg.gateway.admissions import Admissions
from algate.alg.plugin.families import host6
from algate.alg.rows import AllowRow


def need(running: Running) -> Admissions:
    """AlgateError where IPv6 isn't filtered: then everything comes in anyway."""
    if running.admissions is None:
        raise AlgateError("IPv6 isn't filtered, so nothing needs to be let in: set filter = true in [ipv6]")
    return running.admissions


def rows(running: Running) -> Iterator[AllowRow]:
    """What is let in."""
    yield from need(running).rows()


def add(running: Running, config: Config, args: dict[str, Any]) -> tuple[Config, dict[str, Any]]:
    """Let a service in, checked like a configured one and against those in force. `save`: the file will have it.

    Returns the configuration with it, and its row.
    """
    admissions, save = need(running), args.get("save") is True
    table = {key: value for key, value in args.items() if value not in ("", []) and key != "save"}
    known = dataclasses.replace(config, allow_in=tuple(admissions.all()))
    alone = configuration.with_allowed(dataclasses.replace(known, allow_in=()), table).allow_in[0]
    if word := reach.obstacle(alone.to, config.gateway.wan or ""):
        raise AlgateError(word)
    if not (save and admissions.settle(alone)):
        admissions.add(configuration.with_allowed(known, table).allow_in[-1], live=not save)
    if save:
        kept = tuple(one for one in config.allow_in if one != alone)
        config = dataclasses.replace(config, allow_in=(*kept, alone))
    name = alone.proto, str(alone.port), str(alone.to)
    row = next(one for one in admissions.rows() if (one.proto, one.port, one.to) == name)
    return config, row.as_dict()


def delete(running: Running, config: Config, args: dict[str, Any]) -> tuple[Config, dict[str, Any]]:
    """Let it in no more; its sessions go on. One in the file comes back when the file is read again.

    Returns the configuration without it, and what it was called.
    """
    proto, wanted = str(args.get("proto")), args.get("port")
    try:
        ports = wanted_ports(wanted)
        to = host6(args.get("to"))
    except ValueError as error:
        raise AlgateError(str(error), USAGE) from None
    if not need(running).delete(proto, ports, to):
        raise AlgateError(f"{proto} port {ports} of {to} isn't let in: see `algate allow list`")
    kept = tuple(one for one in config.allow_in if (one.proto, one.port, one.to) != (proto, ports, to))
    return dataclasses.replace(config, allow_in=kept), {"proto": proto, "port": str(ports), "to": str(to)}
