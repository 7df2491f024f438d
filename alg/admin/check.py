"""A configuration judged without a daemon: every error in it, and what on this host stands in its way.

The law of this file: it reads and changes nothing, and needs no privilege. Errors are the configuration's own, findings
are about the host: they can be fixed without touching the file.
"""

from __future__ import annotations

import socket
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path

from algate.alg.config import load as configuration
from algate.alg.config.load import Config
from algate.alg.errors import AlgateError
from algate.alg.findings import ProblemRow
from algate.alg.gateway import datapath, namespace, prefixes, reach, settings
from algate.alg.gateway.netlink import Device
from algate.alg.plugin import policy, registry
from algate.alg.plugin.schema import ConfigError


def check(path: Path | None, overrides: Mapping[str, object], host: bool) -> list[ProblemRow]:
    """Everything wrong, errors before findings; nothing if `algate run` would start. `host`: look at this host too."""
    try:
        loaded = configuration.load(path, overrides, policy.kinds(registry.discover()))
    except ConfigError as error:
        wrong = [ProblemRow("error", one.path, one.reason) for one in error.problems]
        return wrong + (_besides(error) if host else [])
    return list(_host(loaded)) if host else []


def _besides(error: ConfigError) -> list[ProblemRow]:
    """What the host says against those keys that are right, if its devices are named."""
    wrong = {one.path for one in error.problems}
    if not isinstance(error.rest, Config) or any(path.partition(".")[0] == "gateway" for path in wrong):
        return []
    return [one for one in _host(error.rest) if one.path not in wrong]


def _host(config: Config) -> Iterator[ProblemRow]:
    """Devices, prefixes and ports."""
    lans: list[Device] = []
    wan: Device | None = None
    for name in config.gateway.lan:
        found = yield from _device("gateway.lan", name)
        lans += [found] if found else []
    if config.gateway.wan:
        wan = yield from _device("gateway.wan", config.gateway.wan)
    if wan is not None:
        if not settings.public_addresses(config, wan):
            yield ProblemRow("host", "gateway.wan", f"{wan.name} has no IPv4 address: `algate run` would wait for one")
        try:
            namespace.refuse_overlap(lans, wan)
        except AlgateError as error:
            yield ProblemRow("host", "gateway.lan", str(error))
        for one, word in reach.obstacles(config.forwards, wan.name):
            yield ProblemRow("host", f"forward[{one.number}].to", word)
        for number, let_in in enumerate(config.allow_in):
            if word := reach.obstacle(let_in.to, wan.name):
                yield ProblemRow("host", f"allow_in[{number}].to", word)
    yield from _ipv6(config, wan)
    yield from _metrics_port(config)


def _ipv6(config: Config, wan: Device | None) -> Iterator[ProblemRow]:
    """What a filter or NAT64 needs of the routes and addresses of this host, and what stands against it."""
    inside = prefixes.behind(config.gateway.lan)
    names = ", ".join(config.gateway.lan)
    if config.ipv6.filter and not inside:
        yield ProblemRow("host", "ipv6.filter", f"no IPv6 route leads to an inside device ({names}): nothing to filter")
    translated = config.nat64.prefix
    if translated is None:
        return
    if not inside:
        reason = f"no IPv6 route leads to an inside device ({names}): nobody to translate for"
        yield ProblemRow("host", "nat64.prefix", reason)
    for device, prefix in inside:
        within = any(prefix != other and prefix.subnet_of(other) for _, other in inside)
        if prefix.overlaps(translated) and not within:  # an address of the link's own prefix has a route, too
            yield ProblemRow("host", "nat64.prefix", f"{translated} overlaps {prefix}, which is behind {device}")
    if wan is None:
        return
    for prefix in prefixes.linked(wan.name):
        if prefix.overlaps(translated):
            reason = f"{translated} overlaps {prefix}, the link of {wan.name}: inside hosts couldn't reach it all"
            yield ProblemRow("host", "nat64.prefix", reason)
    if not settings.public_addresses(config, wan):
        reason = f"needs a public IPv4 address: {wan.name} has none, and nat.addresses names none"
        yield ProblemRow("host", "nat64.prefix", reason)


def _device(path: str, name: str) -> Generator[ProblemRow, None, Device | None]:
    try:
        return datapath.need_device(name)
    except AlgateError as error:
        yield ProblemRow("host", path, str(error))
    return None


def _metrics_port(config: Config) -> Iterator[ProblemRow]:
    where = config.metrics.listen
    if where is None:
        return
    try:
        with socket.socket(socket.AF_INET if where.ip.version == 4 else socket.AF_INET6) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((str(where.ip), where.port))
    except OSError as error:
        yield ProblemRow(
            "host", "metrics.listen", f"{where}: {error.strerror} (a running daemon's own port is no fault)"
        )
