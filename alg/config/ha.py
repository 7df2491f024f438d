"""What must hold between the keys of [ha], and what of the others a pair of gateways can't do; each node's part of the
ports.

The law of this file: like `conflicts`, whose part it is. The two nodes take new public ports from halves of `nat.ports`
that have none in common, so that no port has two owners, whatever either of them knows of the other.
"""

from __future__ import annotations

from dataclasses import fields, replace

from algate.alg.config.sections import Config, Ha, Lease
from algate.alg.plugin.schema import Problem
from algate.alg.plugin.values import PortRange

LEAST = 4  # ports that can be halved


def conflicts(config: Config) -> list[Problem]:
    """All of them."""
    ha = config.ha
    if not ha.node:
        given = [one.name for one in fields(ha) if getattr(ha, one.name) != getattr(Ha(), one.name)]
        return [Problem(f"ha.{name}", 'does nothing alone: say which node this is, ha.node = "a" or "b"')
                for name in given]  # fmt: skip
    return _missing(config) + _unable(config) + files("ha", ha)


def _missing(config: Config) -> list[Problem]:
    ha = config.ha
    wanted = {
        "engine": (ha.engine, "which engine does the other node write to? give the one beside this node"),
        "peer": (ha.peer, "where is the engine beside the other node?"),
        "witness": (
            ha.witness,
            "which engine keeps the epoch? a third machine's, or the same of the two on both nodes",
        ),
    }
    found = [Problem(f"ha.{name}", why) for name, (point, why) in wanted.items() if point is None]
    if ha.peer is not None and ha.peer == ha.engine:
        found.append(Problem("ha.peer", f"{ha.peer} is this node's own engine: the log has to be at the other node"))
    if not config.nat.addresses:
        found.append(Problem("nat.addresses", "which addresses move between the nodes? ha.node needs them"))
    if len(config.nat.ports) < LEAST:
        found.append(Problem("nat.ports", f"{config.nat.ports} can't be halved between two nodes"))
    size = config.nat.port_block
    if size and not all(half.blocks(size) for half in halves(config.nat.ports)):
        found.append(Problem("nat.port_block", f"half of nat.ports ({config.nat.ports}) has no whole block of {size}"))
    return found


def _unable(config: Config) -> list[Problem]:
    """What isn't carried to the other node in this version."""
    wanted = {
        "ipv6.filter": config.ipv6.filter,
        "nat64.prefix": config.nat64.prefix is not None,
        "nat.port_block_hosts": bool(config.nat.port_block_hosts),  # computed from all ports, and each has half
        "nat.port_block_node": config.nat.port_block_node.of > 1,
        "nat.mapping": config.nat.mapping != "endpoint-independent",
    }
    reason = "can't be set together with ha.node in this version: the other node wouldn't know of it"
    return [Problem(key, reason) for key, used in wanted.items() if used]


def files(section: str, ha: Ha | Lease) -> list[Problem]:
    """What is wrong with who the engines are shown."""
    found = []
    for name in ("password_file", "tls_ca", "tls_cert", "tls_key"):
        if (path := getattr(ha, name)) and not path.startswith("/"):
            found.append(Problem(f"{section}.{name}", f"{path!a} is not an absolute path"))
    if bool(ha.tls_cert) != bool(ha.tls_key):
        found.append(Problem(f"{section}.tls_cert", "a certificate and its key go together: set both, or neither"))
    if ha.tls_cert and not ha.tls_ca:
        found.append(Problem(f"{section}.tls_ca", "whose certificates are believed? TLS needs it"))
    if ha.user and not ha.password_file:
        found.append(Problem(f"{section}.password_file", "a user needs a password"))
    return found


def halved(config: Config) -> Config:
    """The configuration with this node's half of the ports; the same without [ha]."""
    ports = config.nat.ports
    if not config.ha.node or len(ports) < LEAST:
        return config
    return replace(config, nat=replace(config.nat, ports=halves(ports)[config.ha.node == "b"]))


def halves(ports: PortRange) -> tuple[PortRange, PortRange]:
    """What each node of a pair gives out of them, "a" first."""
    middle = ports.first + len(ports) // 2 & ~1  # even: pairs of ports stay whole
    return PortRange(ports.first, middle - 1), PortRange(middle, ports.last)
