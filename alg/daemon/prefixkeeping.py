"""IPv6 prefixes that go while the gateway runs, inside ones and that of NAT64, and IPv6 itself between two starts:
their sessions end.

The law of this file: when a prefix has gone, and whose sessions end. What still comes from such an address the kernel
refuses by the routes.
"""

from __future__ import annotations

import logging
import sys
from ipaddress import IPv6Address, IPv6Network

from algate.alg.config.load import Config
from algate.alg.gateway import prefixes
from algate.alg.gateway.addresses import Addresses, number_is_handle
from algate.bpf import abi
from algate.bpf.loader import Gateway
from algate.bpf.packing import entry, numbers
from algate.bpf.requests import ControlProgram

log = logging.getLogger(__name__)


class PrefixKeeping:
    """Of one gateway with IPv6. `ended`: sessions whose prefix went."""

    def __init__(self, gateway: Gateway, control: ControlProgram) -> None:
        self._gateway, self._control = gateway, control
        self._known: frozenset[IPv6Network] = frozenset()
        self.ended = 0

    def look(self, lans: list[str]) -> None:
        """By the routes of this moment."""
        now = frozenset(prefix for _, prefix in prefixes.behind(lans))
        gone, self._known = self._known - now, now
        if not gone:
            return
        ended = self._end(now)
        self.ended += ended
        log.warning("%s went: %d sessions ended", ", ".join(sorted(map(str, gone))), ended)

    def _end(self, now: frozenset[IPv6Network]) -> int:
        addresses, ended = Addresses(self._gateway), 0
        for keys, _, _ in list(self._gateway.sessions.chunks()):
            inside = numbers("session_key", "inside_ip", keys)
            lost = {one for one in set(inside) if number_is_handle(one) and not _within(addresses, one, now)}
            some = [entry("session_key", keys, place) for place, one in enumerate(inside) if one in lost]
            ended += self._control.keys(abi.ControlOp.KILL, some) if some else 0
        return ended


def end_unserved(gateway: Gateway, control: ControlProgram, config: Config) -> int:
    """What an earlier start served and this one doesn't ends: sessions of the filter without it, those of NAT64 without
    that. No program would look at them, and of a gateway without IPv6 nobody knows what their handles stand for."""
    filtered, translated = config.ipv6.filter, config.nat64.prefix is not None
    if (filtered and translated) or not (gateway.six or (gateway.pins / "addresses6").exists()):
        return 0
    ended = 0
    for keys, _, _ in list(gateway.sessions.chunks()):
        insides = numbers("session_key", "inside_ip", keys)
        hosts = {one for one in set(insides) if number_is_handle(one)}
        if not hosts:
            continue
        ends = zip(insides, numbers("session_key", "remote_ip", keys), strict=True)
        some = [
            entry("session_key", keys, place)
            for place, (inside, remote) in enumerate(ends)
            if inside in hosts and not (filtered if number_is_handle(remote) else translated)
        ]
        ended += control.keys(abi.ControlOp.KILL, some) if some else 0
    if ended:
        log.warning("IPv6 sessions that this configuration has no place for: %d ended", ended)
    return ended


def prefix_in_force(gateway: Gateway) -> bytes:
    """The prefix of NAT64 that the kernel has: 16 bytes and one of its length. Empty: none."""
    known = gateway.configs6[0] if gateway.nat64 else None
    return bytes(known.prefix) + bytes([known.prefix_bits]) if known is not None and known.prefix_bits else b""


class TranslatedPrefix:
    """The prefix of NAT64 in force; where another comes in its place, what was begun under the former ends: both
    ends would see each other under other addresses. `ended`: such sessions."""

    def __init__(self, gateway: Gateway, control: ControlProgram) -> None:
        self._gateway, self._control = gateway, control
        self.ended = 0

    def look(self, former: bytes) -> None:
        """After the configuration was written; `former`: what `prefix_in_force` said before."""
        if not former or former == prefix_in_force(self._gateway):
            return
        ended = 0
        for keys, _, _ in list(self._gateway.sessions.chunks()):
            ends = zip(
                numbers("session_key", "inside_ip", keys), numbers("session_key", "remote_ip", keys), strict=True
            )
            some = [
                entry("session_key", keys, place)
                for place, (inside, remote) in enumerate(ends)
                if number_is_handle(inside) and not number_is_handle(remote)
            ]
            ended += self._control.keys(abi.ControlOp.KILL, some) if some else 0
        self.ended += ended
        log.warning("nat64.prefix is another one: %d sessions ended", ended)


def _within(addresses: Addresses, number: int, networks: frozenset[IPv6Network]) -> bool:
    address = addresses.address(number.to_bytes(4, sys.byteorder))
    return isinstance(address, IPv6Address) and any(address in one for one in networks)
