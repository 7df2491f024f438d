"""The host around a gateway, as far as translation depends on it: links, switches, the way out.

The law of this file: it looks, and changes nothing. Whether something was as it should be before is for whoever asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from algate.alg.gateway import netlink, rtnetlink
from algate.alg.gateway.netlink import Device

# A packet for any of these goes where the default route leads: nobody has a route of its own to them.
PROBES = (bytes((4, 0, 0, 1)), bytes((192, 0, 0, 10)))
STRICT = "1"


class Weight(IntEnum):
    """How much a trouble matters: it is only told; the gateway translates, but not safely; it doesn't translate."""

    TOLD = 0
    RISK = 1
    STOPS = 2


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something amiss that the gateway can't mend by itself. `kind`: a label of a metric; `fix`: for an operator."""

    kind: str
    text: str
    fix: str
    weight: Weight = Weight.STOPS


def links(lans: Sequence[Device], wan: Device) -> list[Trouble]:
    """Devices that are down. Of several LANs one may be without a carrier: its only host may be switched off."""
    found = [Trouble("link", f"{one.name} is down", f"ip link set {one.name} up") for one in (wan, *lans) if not one.up]
    if wan.up and not wan.carrier:
        found.append(Trouble("link", f"{wan.name} has no carrier", "look after its cable, or what is at the other end"))
    if all(one.up and not one.carrier for one in lans):
        names = ", ".join(one.name for one in lans)
        found.append(Trouble("link", f"{names}: no carrier", "look after the cables, or what is at the other ends"))
    return found


def renamed(former: Sequence[Device], others: Mapping[int, str]) -> list[Trouble]:
    """Devices of the gateway that have another name now: they keep their programs, and no configuration names them."""
    found = []
    for one in former:
        now = others.get(one.index)
        if now is not None and now != one.name:
            fix = f"ip link set {now} name {one.name}, or start again with the new name"
            found.append(Trouble("renamed", f"{one.name} is called {now} now", fix, Weight.RISK))
    return found


def way_out() -> int:
    """Index of the device that the default route leads to, 0 without one."""
    for probe in PROBES:
        found = rtnetlink.route(probe)
        if found is not None and found[0] == rtnetlink.UNICAST:
            return found[1]
    return 0


def default_route(wan: Device, way: int, others: Mapping[int, str]) -> list[Trouble]:
    """The default route that led by the WAN and doesn't any more."""
    if way == wan.index:
        return []
    fix = f"ip route add default via ROUTER dev {wan.name}"
    if not way:
        return [Trouble("route", f"the default route by {wan.name} is gone", fix)]
    return [Trouble("route", f"the default route leads by {others.get(way, way)}, not by {wan.name}", fix)]


def strict(devices: Sequence[Device]) -> set[str]:
    """The devices on which the host checks a packet's way back strictly (rp_filter, RFC 3704); the larger counts."""
    everywhere = netlink.read_sysctl("all", "rp_filter") or "0"
    return {one.name for one in devices if max(everywhere, netlink.read_sysctl(one.name, "rp_filter") or "0") == STRICT}


def became_strict(names: set[str], way: int, wan: Device) -> list[Trouble]:
    """It drops what needs the stack and came by another way than the host's routes go; else it harms nothing."""
    found = []
    for name in sorted(names):
        weight = Weight.STOPS if name == wan.name and way != wan.index else Weight.TOLD
        text = f"rp_filter on {name} has been made strict: what comes by another way than back is dropped"
        found.append(Trouble("rp_filter", text, f"sysctl net.ipv4.conf.{name}.rp_filter=2", weight))
    return found
