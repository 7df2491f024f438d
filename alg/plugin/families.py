"""Addresses, networks and end points that may be IPv6's, as spelled in a configuration file or an option.

The law of this file: readers, as in `values`, which has those for IPv4 alone; and one family's address in the other's.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from algate.alg.plugin.model import Address, EndPoint
from algate.alg.plugin.values import RefusedError, end_point, network
from algate.alg.wording import shown, unbracketed

Network = IPv4Network | IPv6Network

PREFIX_LENGTHS = (32, 40, 48, 56, 64, 96)  # RFC 6052 section 2.2
WELL_KNOWN = IPv6Network("64:ff9b::/96")  # RFC 6052 section 2.1
LOCAL = IPv6Network("64:ff9b:1::/48")  # RFC 8215
_NO_HOSTS = tuple(map(IPv6Network, ("::/8", "fe80::/10", "ff00::/8")))  # RFC 4291 section 2.4


def host6(value: object) -> IPv6Address:
    """A host's IPv6 address, as it may stand in a packet that is forwarded; in brackets or not."""
    try:
        address = IPv6Address(unbracketed(value)) if isinstance(value, str) else None
    except ValueError:
        address = None
    if address is None or address.scope_id is not None:
        raise RefusedError(f'{shown(value)} is not an IPv6 address: write it like "2001:db8:1::5"')
    if any(address in one for one in _NO_HOSTS):
        raise RefusedError(f"{address} can't be reached from outside")
    return address


def network6(value: object) -> IPv6Network:
    """An IPv6 prefix in CIDR notation; a bare address stands for itself."""
    try:
        loose = IPv6Network(value, strict=False) if isinstance(value, str) and "%" not in value else None
    except ValueError:
        loose = None
    if loose is None:
        raise RefusedError(f'{shown(value)} is not an IPv6 network: write it like "2001:db8::/32"')
    try:
        return IPv6Network(value)
    except ValueError:
        raise RefusedError(f'{shown(value)} has bits set behind its prefix: the network is "{loose}"') from None


def any_network(value: object) -> Network:
    """A prefix of either family."""
    return network6(value) if isinstance(value, str) and ":" in value else network(value)


def any_end_point(value: object) -> EndPoint:
    """An address and port of either family, "10.0.0.5:21" or "[2001:db8:1::5]:21"."""
    if not isinstance(value, str) or value.count(":") < 2:
        return end_point(value)
    host, _, port = value.rpartition(":")
    if not host.startswith("[") or not re.fullmatch("[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise RefusedError(f'{shown(value)} is not an address with a port: write it like "[2001:db8:1::5]:21"')
    return EndPoint(host6(host), int(port))


def translation_prefix(value: object) -> IPv6Network | None:
    """The prefix behind which NAT64 shows IPv4 hosts (RFC 6052); "" is none."""
    if value == "":
        return None
    prefix = network6(value)
    if prefix.prefixlen not in PREFIX_LENGTHS:
        lengths = ", ".join(f"/{one}" for one in PREFIX_LENGTHS)
        raise RefusedError(f"{prefix}: a prefix for IPv4 addresses is one of {lengths} long (RFC 6052)")
    if prefix.network_address.packed[8]:
        raise RefusedError(f"{prefix}: the bits 64 to 71 of such a prefix are zero (RFC 6052)")
    if prefix != WELL_KNOWN and prefix.overlaps(WELL_KNOWN):
        raise RefusedError(f"{prefix} overlaps the well-known prefix, which is {WELL_KNOWN}")
    local = prefix.prefixlen >= LOCAL.prefixlen and prefix.overlaps(LOCAL)
    if prefix != WELL_KNOWN and not local and any(prefix.overlaps(one) for one in _NO_HOSTS):
        raise RefusedError(f"{prefix} isn't a prefix of unicast addresses")
    return prefix


def embedded(prefix: IPv6Network | None, address: Address) -> IPv6Address | None:
    """The IPv6 address by which an IPv4 host is known behind a prefix (RFC 6052 section 2.2). None without a prefix, or
    of what is no IPv4 address."""
    if prefix is None or not isinstance(address, IPv4Address):
        return None
    size = prefix.prefixlen // 8
    whole = prefix.network_address.packed[:size] + address.packed
    if size < 12:
        whole = whole[:8] + b"\0" + whole[8:]  # the bits 64 to 71
    return IPv6Address(whole.ljust(16, b"\0"))


def behind(prefix: IPv6Network | None, address: Address) -> IPv4Address | None:
    """The IPv4 host that is known by this address behind a prefix; None if none is."""
    if prefix is None or not isinstance(address, IPv6Address) or address not in prefix:
        return None
    tail = address.packed[prefix.prefixlen // 8 :]
    if prefix.prefixlen < 96:
        at = 8 - prefix.prefixlen // 8
        tail = tail[:at] + tail[at + 1 :]
    found = IPv4Address(tail[:4])
    return found if embedded(prefix, found) == address else None
