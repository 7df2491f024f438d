"""IPv6 on this host as far as a gateway depends on it: prefixes behind devices by the host's routes, and switches.

The law of this file: it reads /proc and changes nothing. /proc/thread-self/net follows the network namespace of the
thread that opens it.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path

SWITCHES = Path("/proc/sys/net/ipv6/conf")
ROUTES = Path("/proc/thread-self/net/ipv6_route")
ADDRESSES = Path("/proc/thread-self/net/if_inet6")
_UP, _LOCAL = 0x0001, 0x80000000  # RTF_UP, RTF_LOCAL: the second is one of the host's own addresses
_APART = tuple(map(IPv6Network, ("fe80::/10", "ff00::/8")))


def behind(devices: Collection[str], routes: str | None = None) -> list[tuple[str, IPv6Network]]:
    """(device, prefix) of each route that leads to one of these devices; links' own prefixes and default routes apart.
    `routes`: the text of ROUTES; None: it is read."""
    if routes is None:
        try:
            routes = ROUTES.read_text()
        except OSError:
            return []
    found = []
    for words in map(str.split, routes.splitlines()):
        flags, device, length = int(words[8], 16), words[9], int(words[1], 16)
        prefix = IPv6Network((bytes.fromhex(words[0]), length))
        unwanted = not length or not flags & _UP or flags & _LOCAL or any(prefix.subnet_of(one) for one in _APART)
        if device in devices and not unwanted and (device, prefix) not in found:
            found.append((device, prefix))
    return found


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
