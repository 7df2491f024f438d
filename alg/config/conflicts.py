"""What must hold between keys of the configuration that are valid by themselves.

The law of this file: pure checks of a whole Config; each yields problems with the path of the key to change.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from algate.alg.config import ha, ipv6, lease
from algate.alg.config.sections import Config, Forward, surroundings
from algate.alg.plugin.model import Address
from algate.alg.plugin.policy import failed
from algate.alg.plugin.schema import Problem
from algate.alg.plugin.values import PortRange
from algate.alg.wording import nearest, shown


class HeldFor(NamedTuple):
    """Public ports that a plug-in wants held for a server; `path`: the key that asks for them."""

    ip: Address
    proto: str
    ports: PortRange
    path: str


def conflicts(config: Config) -> list[Problem]:
    """All conflicts."""
    found = _devices(config) + _port_owners(config) + _port_blocks(config) + _log(config)
    return found + ipv6.conflicts(config) + ha.conflicts(config) + lease.conflicts(config) + forward_conflicts(config)


def _devices(config: Config) -> list[Problem]:
    """Both sides are needed, and no device is on both."""
    gateway, found = config.gateway, []
    if not gateway.lan:
        found.append(Problem("gateway.lan", 'no inside device: give --lan, or set lan = ["..."]'))
    if not gateway.wan:
        found.append(Problem("gateway.wan", 'no outside device: give --wan, or set wan = "..."'))
    elif gateway.wan in gateway.lan:
        found.append(Problem("gateway.wan", f"{shown(gateway.wan)} is in gateway.lan too: a device has one side"))
    return found


def _port_owners(config: Config) -> list[Problem]:
    """Two plug-ins can't watch one port."""
    owners: dict[tuple[str, int], str] = {}
    found = []
    for name, policy in config.alg.protocols.items():
        for port in policy.watched if policy.enabled else ():
            owner = owners.setdefault((policy.transport, port), name)
            if owner != name:
                found.append(Problem(f"alg.{name}.ports", f"{port} is already watched by alg.{owner}"))
    return found


def _port_blocks(config: Config) -> list[Problem]:
    """Blocks fit into the ports, and each host that is to have a computed one gets one."""
    nat, path = config.nat, "nat.port_block_hosts"
    several = nat.port_block_node.of > 1
    if not nat.port_block:
        given = [path] * bool(nat.port_block_hosts) + ["nat.port_block_node"] * several
        return [Problem(one, "needs blocks: set nat.port_block") for one in given]
    count = nat.ports.blocks(nat.port_block)
    if not count:
        return [Problem("nat.port_block", f"nat.ports ({nat.ports}) has no whole block of {nat.port_block} ports")]
    found = [
        Problem(path, f"{one} overlaps {other}")
        for place, one in enumerate(nat.port_block_hosts)
        for other in nat.port_block_hosts[:place]
        if one.overlaps(other)
    ]
    if several and not nat.addresses:
        found.append(Problem("nat.addresses", "which addresses do the gateways share? nat.port_block_node needs them"))
    wanted, most = sum(one.num_addresses for one in nat.port_block_hosts), count * max(1, len(nat.addresses))
    if wanted > most:
        reason = f"{wanted} hosts are more than the {most} blocks of {nat.port_block} ports that there are"
        found.append(Problem(path, f"{reason}: make nat.port_block smaller, or add to nat.addresses"))
    return found


def _log(config: Config) -> list[Problem]:
    """A file is written where its name says, whatever folder the daemon was started in."""
    log = config.log
    if log.file and not log.file.startswith("/"):
        return [Problem("log.file", f"{shown(log.file)} is not an absolute path")]
    if "ipfix" in log.sinks and not log.ipfix:
        return [Problem("log.ipfix", 'which collector? give ipfix = "192.0.2.9:4739"')]
    if "file" in log.sinks and not log.file:
        return [Problem("log.file", 'which file? give file = "/var/log/algate/translations.log"')]
    return []


def forward_conflicts(config: Config) -> list[Problem]:
    """Forwards that overlap, run past the last port, name no plug-in, or take every port; and what plug-ins object
    to."""
    plugins, found = config.alg.protocols, []
    for position, one in enumerate(config.forwards):
        path = f"forward[{one.number}]"
        if one.to.port + len(one.wan_port) - 1 > 65535:
            found.append(Problem(f"{path}.to", f"{len(one.wan_port)} ports starting at {one.to.port} run past 65535"))
        if one.alg and one.alg not in plugins:
            reason = f"{shown(one.alg)} is not a plug-in; the nearest is `{nearest(one.alg, plugins)}`"
            found.append(Problem(f"{path}.alg", reason))
        elif one.alg and not plugins[one.alg].enabled:
            found.append(Problem(f"{path}.alg", f"{one.alg} is switched off by alg.{one.alg}.enabled"))
        elif one.alg and plugins[one.alg].transport != one.proto:
            transport = plugins[one.alg].transport
            found.append(Problem(f"{path}.alg", f"{one.alg} watches {transport}, and this forward is {one.proto}"))
        for other in config.forwards[:position]:
            if one.proto == other.proto and one.wan_port.overlaps(other.wan_port):
                reason = f"{one.proto} {one.wan_port} overlaps {other.wan_port} of forward[{other.number}]"
                found.append(Problem(f"{path}.wan_port", reason))
        if one.wan_port.first <= config.nat.ports.first and one.wan_port.last >= config.nat.ports.last:
            reason = f"leaves no {one.proto} port of nat.ports ({config.nat.ports}) free"
            found.append(Problem(f"{path}.wan_port", reason))
    return found + ipv6.targets(config) + _held_conflicts(config) + _declared(config)


def _declared(config: Config) -> list[Problem]:
    """What plug-ins themselves say about their tables."""
    found = []
    for name, policy in config.alg.protocols.items():
        path = f"alg.{name}"
        try:
            told = list(policy.conflicts(surroundings(name, config.forwards, config.nat, config.firewall)))
            found += [Problem(f"{path}.{one.key}", str(one.reason)) for one in told]
        except Exception as error:  # third-party code
            found.append(failed(path, "conflicts", error))
    return found


def held_ports(config: Config, forwards: Iterable[Forward]) -> list[HeldFor]:
    """The public ports that plug-ins want held for the servers behind forwards, without duplicates."""
    return list(dict.fromkeys(held for one in forwards for held in _held(config, one)))


def _held(config: Config, forward: Forward) -> list[HeldFor]:
    policy, ip = config.alg.protocols.get(forward.alg), forward.to.ip
    if policy is None or not policy.enabled or forward.proto != policy.transport:
        return []
    return [HeldFor(ip, one.proto, one.ports, f"alg.{forward.alg}.{one.key}") for one in policy.holds(ip)]


def _held_conflicts(config: Config) -> list[Problem]:
    """A public port leads to one place: not to two servers, nor to both a forward and a port that a plug-in holds."""
    found: list[Problem] = []
    known: list[HeldFor] = []
    wanted: dict[HeldFor, None] = {}
    for forward in config.forwards:
        try:
            wanted |= dict.fromkeys(_held(config, forward))
        except Exception as error:  # third-party code
            found.append(failed(f"alg.{forward.alg}", "holds", error))
    for one in wanted:
        ports = one.ports
        for other in known:
            if other.proto == one.proto and ports.overlaps(other.ports) and (other.ip, other.ports) != (one.ip, ports):
                reason = f"{ports} for {one.ip} overlaps {other.ports} for {other.ip}"
                found.append(Problem(one.path, f"{reason}: give each server its own range with a rule"))
        known.append(one)
        if ports.first <= config.nat.ports.first and ports.last >= config.nat.ports.last:
            found.append(
                Problem(one.path, f"{ports} leaves no {one.proto} port of nat.ports ({config.nat.ports}) free")
            )
        for forward in config.forwards:
            if forward.proto == one.proto and ports.overlaps(forward.wan_port):
                reason = f"{ports} for {one.ip} overlaps wan_port {forward.wan_port} of forward[{forward.number}]"
                found.append(Problem(one.path, reason))
    return found
