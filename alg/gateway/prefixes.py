"""IPv6 on this host as far as a gateway depends on it: prefixes behind devices by the host's routes, and switches.

The law of this file: it reads /proc and changes nothing. /proc/thread-self/net follows the network namespace of the
thread that opens it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path

SWITCHES = Path("/proc/sys/net/ipv6/conf")
ROUTES = Path("/proc/thread-self/net/ipv6_route")
ADDRESSES = Path("/proc/thread-self/net/if_inet6")
_UP, _GATEWAY = 0x0001, 0x0002  # RTF_UP, RTF_GATEWAY
_OWN = 0x80100000  # RTF_LOCAL, RTF_ANYCAST: an address of the host's own, the second the one of all its link's routers
_APART = tuple(map(IPv6Network, ("fe80::/10", "ff00::/8")))


def behind(devices: Collection[str], routes: str | None = None) -> list[tuple[str, IPv6Network]]:
    """(device, prefix) of each route that leads to one of these devices; links' own prefixes and default routes apart.
    `routes`: the text of ROUTES; None: it is read."""
    found = []
    for device, prefix, _ in _led(routes):
        if device in devices and (device, prefix) not in found:
            found.append((device, prefix))
    return found


def linked(device: str, routes: str | None = None) -> list[IPv6Network]:
    """The prefixes of a device's own link, without those behind a router there. `routes` as for `behind`."""
    found = (prefix for one, prefix, flags in _led(routes) if one == device and not flags & _GATEWAY)
    return list(dict.fromkeys(found))  # the kernel has a route for its own address and one for each advertisement


def _led(routes: str | None) -> Iterator[tuple[str, IPv6Network, int]]:
    """Device, prefix and flags of each route to hosts that aren't the host itself."""
    if routes is None:
        try:
            routes = ROUTES.read_text()
        except OSError:
            return
    for words in map(str.split, routes.splitlines()):
        flags, device, length = int(words[8], 16), words[9], int(words[1], 16)
        prefix = IPv6Network((bytes.fromhex(words[0]), length))
        if length and flags & _UP and not flags & _OWN and not any(prefix.subnet_of(one) for one in _APART):
            yield device, prefix, flags


def switch(device: str, key: str, folder: Path | None = None) -> str | None:
    """A switch of a device, "forwarding" or "accept_ra"; None: there is none, or no IPv6."""
    try:
        return ((folder or SWITCHES) / device / key).read_text().strip()
    except OSError:
        return None


def own_address(devices: Collection[str], addresses: str | None = None) -> IPv6Address | None:
    """An address of the gateway's own on one of these devices, a global one if there is any; None: there is none.
    `addresses`: the text of ADDRESSES."""
    if addresses is None:
        try:
            addresses = ADDRESSES.read_text()
        except OSError:
            return None
    rows = [words for words in map(str.split, addresses.splitlines()) if words[5] in devices]
    found = min(rows, key=lambda words: int(words[3], 16), default=None)  # its scope: 0 is global, 20 the link's
    return None if found is None else IPv6Address(bytes.fromhex(found[0]))
