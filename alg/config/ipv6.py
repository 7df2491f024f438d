"""What must hold between the keys about IPv6: [ipv6], [[allow_in]], [nat64], and forwards to IPv6 hosts.

The law of this file: like `conflicts`, whose part it is.
"""

from __future__ import annotations

from ipaddress import IPv6Address

from algate.alg.config.sections import Config
from algate.alg.plugin.schema import Problem


def conflicts(config: Config) -> list[Problem]:
    """All of them, those of forwards apart."""
    return allowed(config)


def allowed(config: Config) -> list[Problem]:
    """Services are let in through a filter, each by one entry."""
    found = []
    for position, one in enumerate(config.allow_in):
        path = f"allow_in[{one.number}]"
        if not config.ipv6.filter:
            found.append(Problem(path, "lets nothing in: IPv6 isn't filtered. Set ipv6.filter"))
        if _behind(config, one.to):
            found.append(Problem(f"{path}.to", f"{one.to} is an IPv4 host behind nat64.prefix, {config.nat64.prefix}"))
        for other in config.allow_in[:position]:
            if (one.proto, one.to) == (other.proto, other.to) and one.port.overlaps(other.port):
                reason = f"{one.proto} {one.port} of {one.to} overlaps {other.port} of allow_in[{other.number}]"
                found.append(Problem(f"{path}.port", reason))
    return found


def targets(config: Config) -> list[Problem]:
    """Forwards to IPv6 hosts need NAT64, and lead to no IPv4 host that it shows."""
    found = []
    for one in config.forwards:
        path, ip = f"forward[{one.number}].to", one.to.ip
        if not isinstance(ip, IPv6Address):
            continue
        if config.nat64.prefix is None:
            found.append(
                Problem(path, f"{ip} is IPv6, which the IPv4 outside reaches by NAT64 alone: set nat64.prefix")
            )
        elif _behind(config, ip):
            found.append(Problem(path, f"{ip} is an IPv4 host behind nat64.prefix, {config.nat64.prefix}"))
    return found


def _behind(config: Config, address: IPv6Address) -> bool:
    return config.nat64.prefix is not None and address in config.nat64.prefix
