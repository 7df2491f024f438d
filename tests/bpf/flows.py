"""The bench's conversations, and what translation must make of their frames.

The law of this file: frames and expectations of frames; scapy (through tests.packets) is the oracle.
"""

from __future__ import annotations

from typing import Any

from tests import packets
from tests.bpf.rig import INSIDE, PUBLIC, REDIRECT, REMOTE, Rig
from tests.packets import GATEWAY_WAN_MAC, WAN_MAC, Flow

FLOW = Flow(INSIDE, 40000, REMOTE, 443)


def frame_of(proto: str, flow: Flow, load: bytes = b"", flags: str = "A", *, reply: bool = False, **ip: Any) -> bytes:
    if proto == "tcp":
        return packets.tcp(flow, load, flags, **ip)
    return packets.udp(flow, load, **ip) if proto == "udp" else packets.echo(flow, load, reply=reply, **ip)


def answer(flow: Flow, port: int) -> Flow:
    """The remote end's answer to the public end point."""
    return Flow(flow.destination, flow.destination_port, PUBLIC, port, WAN_MAC, GATEWAY_WAN_MAC)


def echo_answer(flow: Flow, port: int) -> Flow:
    return Flow(flow.destination, port, PUBLIC, port, WAN_MAC, GATEWAY_WAN_MAC)


def translated(frame: bytes, proto: str, *, ttl: int, **ends: Any) -> bytes:
    """The oracle's frame: `source`/`destination` = (ip, port)."""
    changes: dict[str, Any] = {"IP_ttl": ttl}
    layer = proto.upper()
    for end, (ip, port) in ends.items():
        changes["IP_src" if end == "source" else "IP_dst"] = ip
        port_field = "id" if proto == "icmp" else "sport" if end == "source" else "dport"
        changes[f"{layer}_{port_field}"] = port
    return packets.changed(frame, **changes)


def open_session(rig: Rig, proto: str, flow: Flow = FLOW) -> None:
    assert rig.lan(frame_of(proto, flow, flags="S")).action == REDIRECT
    back = echo_answer(flow, flow.source_port) if proto == "icmp" else answer(flow, flow.source_port)
    assert rig.wan_in(frame_of(proto, back, flags="SA", reply=True)).action == REDIRECT
