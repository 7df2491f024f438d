"""Packets of NAT64 on the bench.

The law of this file: scapy makes them and is the oracle of every checksum; it knows no kernel.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Any

from algate.bpf import abi
from tests.bpf.rig import INSIDE6, LAN6, PUBLIC, REDIRECT, REMOTE, TCP, Rig
from tests.bpf.six import IN, frame, handle, tcp
from tests.rfc7915 import embed

PREFIX = IPv6Network("2001:db8:64::/96")
_OWN = ("2a00:64::/32", "2001:db8:6400::/40", "2001:db8:64::/48", "2001:db8:64:6400::/56", "2001:db8:64:64::/64")
PREFIXES = [*map(IPv6Network, _OWN), PREFIX, IPv6Network("64:ff9b::/96")]


def prefix_is(rig: Rig, prefix: IPv6Network, **more: Any) -> None:
    """Puts it in force."""
    value = abi.Config6(prefix_bits=prefix.prefixlen, **more)
    value.prefix[:] = [*prefix.network_address.packed]
    value.address[:] = [*IPv6Address(LAN6).packed]
    rig.gateway.configs6.put(0, value)


def shown(v4: str, prefix: IPv6Network = PREFIX) -> str:
    """How an IPv4 host looks from inside."""
    return str(embed(prefix, IPv4Address(v4)))


def four(got: bytes, upper: Any, source: str = PUBLIC, destination: str = REMOTE, ttl: int = 63, **ip: Any) -> bytes:
    """What leaves by the WAN, by RFC 7915 section 5.1. The id of what others may fragment, in `got`, is anybody's."""
    from scapy.layers.inet import IP

    size = 20 + len(bytes(upper))
    rest: dict[str, Any] = {"id": int.from_bytes(got[18:20], "big"), "flags": 0}
    made = IP(src=source, dst=destination, ttl=ttl, **({"id": 0, "flags": "DF"} if size > 1260 else rest) | ip)
    return bytes(made / upper)


def six(upper: Any, source: str = shown(REMOTE), destination: str = INSIDE6, hops: int = 63, **ip: Any) -> bytes:
    """What leaves by the LAN."""
    from scapy.layers.inet6 import IPv6

    return bytes(IPv6(src=source, dst=destination, hlim=hops, **ip) / upper)


def fed(upper: Any, source: str = REMOTE, destination: str = PUBLIC, **ip: Any) -> bytes:
    """A frame from outside."""
    from scapy.layers.inet import IP
    from scapy.layers.l2 import Ether

    ip = {"ttl": 64, "flags": "DF", "id": 0} | ip
    return bytes(Ether(src=IN[0], dst=IN[1]) / IP(src=source, dst=destination, **ip) / upper)


def session(rig: Rig, proto: int = TCP, port: int = 40000, remote: int = 80) -> abi.Session | None:
    """That of the inside host with REMOTE."""
    inside = handle(rig, INSIDE6)
    if inside is None:
        return None
    key = abi.SessionKey(inside_ip=inside, remote_ip=abi.ip_to_be32(REMOTE), proto=proto)
    key.inside_port, key.remote_port = abi.be16(port), abi.be16(remote)
    return rig.gateway.sessions.get(key)


def opened(rig: Rig, port: int = 40000, remote: int = 80) -> None:
    """A TCP session that both ends have spoken on."""
    assert rig.lan(frame(tcp("S", port, remote), destination=shown(REMOTE))).action == REDIRECT
    assert rig.wan_in(fed(tcp("SA", port, remote, back=True))).action == REDIRECT
    assert rig.lan(frame(tcp("A", port, remote), destination=shown(REMOTE))).action == REDIRECT
