"""The devices that the gateway stands between, as they are at one moment.

The law of this file: it looks, and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from algate.alg.config.load import Config
from algate.alg.gateway import datapath, namespace, settings
from algate.alg.gateway.netlink import Device


@dataclass(frozen=True)
class Devices:
    """Inside and outside. `addresses`: those that the outside sees; none while the WAN has no address."""

    lans: list[Device]
    wan: Device
    addresses: list[IPv4Address]

    @property
    def indices(self) -> list[int]:
        """Theirs in the kernel: a device that was made anew has another."""
        return [one.index for one in (*self.lans, self.wan)]

    @property
    def own_address(self) -> IPv4Address | None:
        """The gateway's address inside, for the ICMP errors that it makes."""
        return next((one.ip for lan in self.lans for one in lan.addresses), None)


def find(config: Config) -> Devices:
    """AlgateError if one is missing, or if the networks of both sides overlap."""
    lans = [datapath.need_device(name) for name in config.gateway.lan]
    wan = datapath.need_device(config.gateway.wan)
    addresses = settings.public_addresses(config, wan)
    if addresses:
        namespace.refuse_overlap(lans, wan)
    return Devices(lans, wan, addresses)
