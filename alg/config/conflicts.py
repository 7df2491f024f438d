"""What must hold between keys of the configuration that are right by themselves.

The law of this file: pure checks of a whole Config, each giving problems with the path of the key to change.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from algate.alg.plugin.model import Address
from algate.alg.plugin.policy import FtpPolicy
from algate.alg.plugin.schema import Problem, nearest
from algate.alg.plugin.values import PortRange, shown

if TYPE_CHECKING:
    from algate.alg.config.load import Config, Forward


def conflicts(config: Config, plugins: Collection[str]) -> list[Problem]:
    """All conflicts; `plugins` are the names of the installed ones."""
    return _devices(config) + _command_lists(config) + _port_owners(config) + forward_conflicts(config, plugins)


def _devices(config: Config) -> list[Problem]:
    """Both sides are needed, and no device is on both."""
    gateway, found = config.gateway, []
    if not gateway.lan:
        found.append(Problem("gateway.lan", 'no inside device: give --lan, or lan = ["..."]'))
    if not gateway.wan:
        found.append(Problem("gateway.wan", 'no outside device: give --wan, or wan = "..."'))
    elif gateway.wan in gateway.lan:
        found.append(Problem("gateway.wan", f"{shown(gateway.wan)} is in gateway.lan too: a device has one side"))
    return found


def _command_lists(config: Config) -> list[Problem]:
    """A command is either denied or allowed, also where a rule changes one of the lists alone."""
    found = []
    for name, policy in config.alg.protocols.items():
        if not isinstance(policy, FtpPolicy):
            continue
        told = f"alg.{name}"
        both = set(policy.deny) & set(policy.allow)
        if both:
            found.append(Problem(f"{told}.deny", f"{', '.join(sorted(both))} is in {told}.allow too"))
        for number, rule in enumerate(policy.rules):
            changed = dict(rule.changes)
            given = [key for key in ("deny", "allow") if key in changed]
            lists = {key: set(changed.get(key, getattr(policy, key))) for key in ("deny", "allow")}
            if given and lists["deny"] & lists["allow"] and not (len(given) == 1 and both):
                home = {key: f"{told}.rule[{number}]" if key in given else told for key in lists}
                words = ", ".join(sorted(lists["deny"] & lists["allow"]))
                other = "deny" if given == ["allow"] else "allow"
                found.append(Problem(f"{told}.rule[{number}].{given[0]}", f"{words} is in {home[other]}.{other} too"))
    return found


def _port_owners(config: Config) -> list[Problem]:
    """Two plug-ins can't watch one port (case FTP-82)."""
    owners: dict[tuple[str, int], str] = {}
    found = []
    for name, policy in config.alg.protocols.items():
        for port in policy.watched if policy.enabled else ():
            owner = owners.setdefault((policy.transport, port), name)
            if owner != name:
                found.append(Problem(f"alg.{name}.ports", f"{port} is watched by alg.{owner} already"))
    return found


def forward_conflicts(config: Config, plugins: Collection[str]) -> list[Problem]:
    """Forwards that overlap, run past the last port, name no plug-in, or take every port."""
    found = []
    for position, one in enumerate(config.forwards):
        path = f"forward[{one.number}]"
        if one.to.port + len(one.wan_port) - 1 > 65535:
            found.append(Problem(f"{path}.to", f"{len(one.wan_port)} ports from {one.to.port} on run past 65535"))
        if one.alg and one.alg not in plugins:
            reason = f"{shown(one.alg)} is no plug-in; the nearest is `{nearest(one.alg, plugins)}`"
            found.append(Problem(f"{path}.alg", reason))
        elif one.alg and not config.alg.protocols[one.alg].enabled:
            found.append(Problem(f"{path}.alg", f"{one.alg} is switched off by alg.{one.alg}.enabled"))
        elif one.alg and config.alg.protocols[one.alg].transport != one.proto:
            transport = config.alg.protocols[one.alg].transport
            found.append(Problem(f"{path}.alg", f"{one.alg} watches {transport}, and this forward is {one.proto}"))
        for other in config.forwards[:position]:
            if one.proto == other.proto and one.wan_port.overlaps(other.wan_port):
                reason = f"{one.proto} {one.wan_port} overlaps {other.wan_port} of forward[{other.number}]"
                found.append(Problem(f"{path}.wan_port", reason))
        found += [Problem(*told) for told in _passive_conflicts(config, position)]
        if one.wan_port.first <= config.nat.ports.first and one.wan_port.last >= config.nat.ports.last:
            reason = f"leaves no {one.proto} port of nat.ports ({config.nat.ports}) free"
            found.append(Problem(f"{path}.wan_port", reason))
    return found


def passive_ranges(config: Config, forwards: Iterable[Forward]) -> list[tuple[Address, PortRange]]:
    """The servers behind forwards and the public ports that FTPS data to them may need, each once."""
    found: dict[tuple[Address, PortRange], None] = {}
    for one in forwards:
        policy = config.alg.protocols.get(one.alg)
        if isinstance(policy, FtpPolicy) and policy.enabled and one.proto == "tcp":
            found |= dict.fromkeys((one.to.ip, ports) for ports in sorted(policy.passive_ranges(one.to.ip)))
    return list(found)


def _passive_conflicts(config: Config, position: int) -> list[tuple[str, str]]:
    """A public port leads to one place: not to two servers, nor to a forward and to FTPS data."""
    one = config.forwards[position]
    earlier = passive_ranges(config, config.forwards[:position])
    found = []
    mine = passive_ranges(config, [one])
    for place, (ip, ports) in enumerate(mine):
        path = f"alg.{one.alg}.tls_passive_ports"
        others = [known for known in (*earlier, *mine[:place]) if known != (ip, ports) and ports.overlaps(known[1])]
        for other, range_ in others:
            reason = f"{ports} for {ip} overlaps {range_} for {other}: give each server one range of its own by a rule"
            found.append((path, reason))
        if ports.first <= config.nat.ports.first and ports.last >= config.nat.ports.last:
            found.append((path, f"{ports} leaves no tcp port of nat.ports ({config.nat.ports}) free"))
        for forward in config.forwards:
            if forward.proto == "tcp" and ports.overlaps(forward.wan_port):
                found.append(
                    (path, f"{ports} for {ip} overlaps wan_port {forward.wan_port} of forward[{forward.number}]")
                )
    return found
