"""What must hold between the keys of [lease], and what else gateways that share addresses can't do.

The law of this file: like `conflicts`, whose part it is.
"""

from __future__ import annotations

import re
from dataclasses import fields

from algate.alg.config.ha import files
from algate.alg.config.sections import Config, Lease
from algate.alg.plugin.schema import Problem


def conflicts(config: Config) -> list[Problem]:
    """All of them."""
    lease, nat = config.lease, config.nat
    if not lease.node:
        given = [one.name for one in fields(lease) if getattr(lease, one.name) != getattr(Lease(), one.name)]
        return [Problem(f"lease.{name}", "does nothing alone: give this gateway a name, lease.node") for name in given]
    found = []
    if not re.fullmatch("[A-Za-z0-9-]{1,32}", lease.node):
        found.append(Problem("lease.node", f"{lease.node!a} is not a name of letters, digits and hyphens, up to 32"))
    if lease.engine is None:
        found.append(Problem("lease.engine", "which engine do all gateways ask? an address and a port"))
    if not nat.addresses:
        found.append(Problem("nat.addresses", "which addresses do the gateways share? lease.node needs them"))
    if not nat.port_block:
        found.append(Problem("nat.port_block", "what is leased are port blocks: lease.node needs them"))
    elif nat.ports.blocks(nat.port_block) < lease.lots:
        reason = f"{nat.ports.blocks(nat.port_block)} blocks of an address can't be leased in {lease.lots} lots"
        found.append(Problem("lease.lots", reason))
    return found + _unable(config) + files("lease", lease)


def _unable(config: Config) -> list[Problem]:
    """What belongs to one gateway, or isn't known to stop when a lease is over."""
    wanted = {
        "ha.node": bool(config.ha.node),
        "nat.port_block_hosts": bool(config.nat.port_block_hosts),
        "nat.port_block_node": config.nat.port_block_node.of > 1,
        "nat.mapping": config.nat.mapping != "endpoint-independent",
        "nat64.prefix": config.nat64.prefix is not None,
        "forward": bool(config.forwards),
    }
    reason = "can't be set together with lease.node: ports of the shared addresses are whose lease they are in"
    return [Problem(key, reason) for key, used in wanted.items() if used]
