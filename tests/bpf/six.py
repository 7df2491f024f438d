"""Frames of IPv6 conversations on the bench.

The law of this file: scapy makes them and is the oracle of every checksum; it knows no kernel.
"""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Any

from algate.bpf import abi, syscall
from tests.bpf.rig import INSIDE6, REMOTE6, TCP, Rig
from tests.packets import GATEWAY_LAN_MAC, GATEWAY_WAN_MAC, LAN_MAC, WAN_MAC

OUT, IN = (LAN_MAC, GATEWAY_LAN_MAC), (WAN_MAC, GATEWAY_WAN_MAC)


def frame(upper: Any, source: str = INSIDE6, destination: str = REMOTE6, *, hops: int = 64, **ip: Any) -> bytes:
    """`upper`: what follows the IPv6 header, extension headers and all. From inside, unless `destination` is inside."""
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import Ether

    macs = IN if destination.startswith("2001:db8:1:") else OUT
    made = Ether(src=macs[0], dst=macs[1]) / IPv6(src=source, dst=destination, hlim=hops, **ip) / upper
    return bytes(made)


def tcp(flags: str, port: int = 40000, remote: int = 443, *, back: bool = False, load: bytes = b"", **more: Any) -> Any:
    """A segment between an inside port and a remote one; `back`: the remote end's. Both begin at 1000."""
    from scapy.layers import inet

    ends = {"sport": remote, "dport": port} if back else {"sport": port, "dport": remote}
    numbers = {"seq": 999 if "S" in flags else 1000, "ack": 1000 if "A" in flags else 0} | more
    return inet.TCP(**ends, flags=flags, **numbers) / load


def udp(port: int = 40000, remote: int = 53, *, back: bool = False, load: bytes = b"?") -> Any:
    from scapy.layers.inet import UDP

    ends = {"sport": remote, "dport": port} if back else {"sport": port, "dport": remote}
    return UDP(**ends) / load


def back(upper: Any, source: str = REMOTE6, destination: str = INSIDE6, **ip: Any) -> bytes:
    """A frame from outside."""
    return frame(upper, source, destination, **ip)


def forwarded(data: bytes) -> bytes:
    """The same frame a hop further: nothing else may change."""
    return data[:21] + bytes([data[21] - 1]) + data[22:]


def handle(rig: Rig, address: str) -> int | None:
    """The number that a key has for an address."""
    raw = syscall.lookup(rig.gateway.handles.fd, IPv6Address(address).packed, 4)
    return None if raw is None else int.from_bytes(raw, "little")


def session(
    rig: Rig, proto: int = TCP, port: int = 40000, remote: int = 443, ends: tuple[str, str] = (INSIDE6, REMOTE6)
) -> abi.Session | None:
    """The session of two end points; of ICMP and what has no ports `remote` is 0."""
    inside, outside = (handle(rig, one) for one in ends)
    if inside is None or outside is None:
        return None
    return rig.gateway.sessions.get(
        abi.SessionKey(
            inside_ip=inside, remote_ip=outside, inside_port=abi.be16(port), remote_port=abi.be16(remote), proto=proto
        )
    )


def open_tcp(rig: Rig, port: int = 40000, remote: int = 443) -> None:
    """A session on which both ends have spoken."""
    from tests.bpf.rig import REDIRECT

    assert rig.lan(frame(tcp("S", port, remote))).action == REDIRECT
    assert rig.wan_in(back(tcp("SA", port, remote, back=True))).action == REDIRECT
    assert rig.lan(frame(tcp("A", port, remote))).action == REDIRECT
