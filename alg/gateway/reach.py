"""Where a forward's target is, as the host's routes have it, and in words what speaks against it.

The law of this file: it asks and says; nothing is changed. A target may come and go with its device, so nobody ends for
what is said here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from algate.alg.config.load import Forward
from algate.alg.gateway import netlink, rtnetlink
from algate.alg.plugin.model import Address


def obstacle(target: Address, wan: str) -> str:
    """Why packets from outside can't be sent on to it, "" if they can: it is behind a LAN device or any other but the
    WAN, or is the gateway's own."""
    way = rtnetlink.route(target.packed)
    if way is None:
        return f"no route leads to {target}: is its device up?"
    kind, index = way
    if kind == rtnetlink.LOCAL:
        return ""
    name = netlink.device_indices().get(index, "")
    if name == wan:
        return f"{target} is behind {wan}, the WAN: no device leads inside to it"
    return ""


def obstacles(forwards: Iterable[Forward], wan: str) -> Iterator[tuple[Forward, str]]:
    """Of those that have one."""
    for one in forwards:
        word = obstacle(one.to.ip, wan)
        if word:
            yield one, word
