"""The gateway's inside and outside devices, and all others, as they are at one moment.

The law of this file: it looks, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from algate.alg.config.load import Config
from algate.alg.errors import AlgateError
from algate.alg.gateway import datapath, namespace, netlink, settings
from algate.alg.gateway.netlink import Device


@dataclass(frozen=True)
class Devices:
    """The devices of both sides. `addresses`: those that the outside sees; none while the WAN has no address."""

    lans: list[Device]
    wan: Device
    addresses: list[IPv4Address]

    @property
    def indices(self) -> list[int]:
        """Their indices in the kernel: a device that was recreated has another."""
        return [one.index for one in (*self.lans, self.wan)]

    @property
    def own_address(self) -> IPv4Address | None:
        """The gateway's inside address, for the ICMP errors that it sends."""
        return next((one.ip for lan in self.lans for one in lan.addresses), None)


def described(devices: Devices, modes: Mapping[str, tuple[str, str]]) -> str:
    """Both sides in words, with what takes their packets and why: "lan eth1 10.0.0.1/24 by tc (...), wan ..."."""
    sides = [("lan", one) for one in devices.lans] + [("wan", devices.wan)]
    return ", ".join(f"{side} {_told(one, modes)}" for side, one in sides)


def _told(device: Device, modes: Mapping[str, tuple[str, str]]) -> str:
    way, why = modes.get(device.name, ("", ""))
    by = f" by {way} ({why})" if way and why else f" by {way}" if way else ""
    return " ".join([device.name, *map(str, device.addresses)]) + by


@dataclass(frozen=True)
class Sight:
    """What one look saw. `devices` None: one is missing. `problem`: why nothing can be translated, "" if it can.
    `others`: ifindex -> name of all devices of the namespace."""

    devices: Devices | None
    problem: str
    others: Mapping[int, str] = field(default_factory=dict)

    def known(self, config: Config, attached: list[int]) -> set[int]:
        """The devices that a packet may be routed to: all except one with the WAN's or a LAN's name that isn't
        `attached`: it was recreated and has no programs yet."""
        ours = (*config.gateway.lan, config.gateway.wan)
        return {index for index, name in self.others.items() if index in attached or name not in ours}


def look(config: Config) -> Sight:
    """Look at the devices; never fails."""
    devices, problem = None, ""
    try:
        lans = [datapath.need_device(name) for name in config.gateway.lan]
        wan = datapath.need_device(config.gateway.wan)
        devices = Devices(lans, wan, settings.public_addresses(config, wan))
        if devices.addresses:
            namespace.refuse_overlap(lans, wan)
        else:
            problem = f"{wan.name} has no IPv4 address"
    except AlgateError as error:
        problem = str(error)
    return Sight(devices, problem, netlink.device_indices())
