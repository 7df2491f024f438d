"""Static forwards from outside, and the gateway's own traffic next to them."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address

import pytest

from algate.bpf import abi
from algate.bpf.abi import ForwardFlag, PortKind, SessionFlag
from algate.bpf.requests import owner, port_row
from tests import packets
from tests.bpf.flows import FLOW, open_session
from tests.bpf.rig import GATEWAY, INSIDE, INSIDE_2, OK, PUBLIC, REDIRECT, REMOTE, REMOTE_2, SHOT, TCP, UDP, Rig
from tests.packets import GATEWAY_WAN_MAC, WAN_MAC, Flow

WEB = Flow(REMOTE, 5000, PUBLIC, 8080, WAN_MAC, GATEWAY_WAN_MAC)
"""A client outside, to a forwarded port."""
SERVER = Flow(INSIDE_2, 80, REMOTE, 5000)
"""The inside server's answer."""


def forward(rig: Rig, *, alg: int = 0, flags: int = 0, port: int = 8080) -> None:
    rig.gateway.forwards.put(
        3,
        abi.Forward(
            to_ip=abi.ip_to_be32(INSIDE_2), to_port=80, wan_first=port, wan_last=port, proto=TCP, alg=alg,
            flags=ForwardFlag.USED | flags,
        ),
    )  # fmt: skip
    who = owner(IPv4Address(INSIDE_2), 80, PortKind.FORWARD)
    rig.put_slot(TCP, port, abi.PortSlot(owner=who, sessions=1, forward_id=3))


def test_in_and_back(rig: Rig) -> None:
    forward(rig)
    syn = packets.tcp(WEB, b"", "S")
    out = rig.wan_in(syn)
    assert out.action == REDIRECT and out.drops == {}
    packets.same(out.data, packets.changed(syn, IP_dst=INSIDE_2, TCP_dport=80, IP_ttl=63))
    reply = packets.tcp(SERVER, b"", "SA")
    back = rig.lan(reply)
    packets.same(back.data, packets.changed(reply, IP_src=PUBLIC, TCP_sport=8080, IP_ttl=63))
    session = rig.session(SERVER, TCP)
    assert session is not None and session.flags & SessionFlag.FORWARD
    assert session.state & 0xFF == abi.SessionState.ESTABLISHED
    assert rig.gateway.forwards[3].hits == 1 and rig.slot(TCP, 8080).sessions == 2


def test_a_forwarded_control_session_is_watched(rig: Rig) -> None:
    forward(rig, alg=1)
    rig.beat()
    assert rig.wan_in(packets.tcp(WEB, b"", "S")).action == REDIRECT
    rig.lan(packets.tcp(SERVER, b"", "SA"))
    (opened, *_) = rig.taken()
    assert opened[0].kind == abi.PuntKind.OPENED and opened[0].dir == abi.Direction.IN
    assert opened[0].session_flags & SessionFlag.FORWARD
    assert rig.wan_in(packets.tcp(WEB, b"USER x\r\n", "PA")).drops == {"punt-held": 1}


def test_sources_are_checked(rig: Rig) -> None:
    forward(rig, flags=ForwardFlag.SOURCES)
    key = abi.ForwardSourceKey(prefix_len=32 + 24, forward_id=3, address=abi.ip_to_be32("198.51.100.0"))
    rig.gateway.forward_sources.put(key, 1)
    assert rig.wan_in(packets.tcp(WEB, b"", "S")).action == REDIRECT
    out = rig.wan_in(packets.tcp(WEB.to(source="192.0.2.7"), b"", "S"))
    assert out.action == SHOT and out.drops == {"forward-source": 1}
    assert rig.gateway.forwards[3].hits == 1
    other = abi.ForwardSourceKey(prefix_len=64, forward_id=4, address=abi.ip_to_be32("192.0.2.7"))
    rig.gateway.forward_sources.put(other, 1)
    assert rig.wan_in(packets.tcp(WEB.to(source="192.0.2.7"), b"", "S")).drops == {"forward-source": 1}


@pytest.mark.parametrize("flags", ["A", "SA", "FA", "R", "PA"])
def test_only_a_syn_begins(rig: Rig, flags: str) -> None:
    forward(rig)
    out = rig.wan_in(packets.tcp(WEB, b"", flags))
    assert out.action == SHOT and out.drops == {"no-session": 1}


def test_spoofed_sources_from_outside(rig: Rig) -> None:
    forward(rig)
    for source in (INSIDE, GATEWAY, PUBLIC, "127.0.0.1", "0.0.0.0", "224.0.0.1"):
        out = rig.wan_in(packets.tcp(WEB.to(source=source), b"", "S"))
        assert out.action == SHOT and out.drops == {"spoofed-outside": 1}, source
    assert len(rig.gateway.sessions) == 0


def test_a_forwarded_port_is_not_given_to_a_mapping(rig: Rig) -> None:
    forward(rig, port=40000)
    assert rig.lan(packets.tcp(FLOW, b"", "S")).action == REDIRECT
    session = rig.session(FLOW, TCP)
    assert session is not None and abi.public_port(session) != 40000
    assert rig.slot(TCP, 40000).owner == owner(IPv4Address(INSIDE_2), 80, PortKind.FORWARD)


def test_own_client_keeps_its_port(rig: Rig) -> None:
    """DESIGN invariant 10: what the gateway itself sends leaves unchanged, and no inside host is given its port."""
    flow = Flow(PUBLIC, 40000, REMOTE, 443, GATEWAY_WAN_MAC, WAN_MAC)
    frame = packets.tcp(flow, b"", "S")
    out = rig.local_out(frame)
    assert out.action == OK and out.drops == {}
    packets.same(out.data, frame)
    assert rig.slot(TCP, 40000).owner == owner(IPv4Address(PUBLIC), 40000, PortKind.LOCAL)
    back = packets.tcp(flow.back, b"", "SA")
    into = rig.wan_in(back)
    assert into.action == OK
    packets.same(into.data, back)
    assert rig.lan(packets.tcp(FLOW, b"", "S")).action == REDIRECT
    session = rig.session(FLOW, TCP)
    assert session is not None and abi.public_port(session) != 40000


def test_own_client_on_a_mappings_port_gets_another(rig: Rig) -> None:
    """The newcomer yields: it is translated as an inside host would be, both ways."""
    open_session(rig, "udp")
    flow = Flow(PUBLIC, 40000, REMOTE, 443, GATEWAY_WAN_MAC, WAN_MAC)
    frame = packets.udp(flow, b"mine")
    out = rig.local_out(frame)
    assert out.action == OK
    session = rig.session(flow, UDP)
    assert session is not None and session.flags & SessionFlag.LOCAL
    port = abi.public_port(session)
    assert port != 40000
    packets.same(out.data, packets.changed(frame, UDP_sport=port))
    back = packets.udp(flow.back.to(destination_port=port), b"answer")
    into = rig.wan_in(back)
    assert into.action == OK
    packets.same(into.data, packets.changed(back, UDP_dport=40000))


def test_own_server_is_reached(rig: Rig) -> None:
    with socket.socket() as listening:
        listening.bind(("0.0.0.0", 2222))
        listening.listen()
        frame = packets.tcp(WEB.to(destination_port=2222), b"", "S")
        out = rig.wan_in(frame)
        assert out.action == OK and out.drops == {}
        packets.same(out.data, frame)
        answer = packets.tcp(WEB.back.to(source_port=2222), b"", "SA")
        packets.same(rig.local_out(answer).data, answer)
    rig.slot(TCP, 2222)


def test_pings_to_the_gateway_are_its_own(rig: Rig) -> None:
    ping = packets.echo(Flow(REMOTE, 77, PUBLIC, 77, WAN_MAC, GATEWAY_WAN_MAC), b"x")
    assert rig.wan_in(ping).action == OK
    reply = packets.echo(Flow(PUBLIC, 77, REMOTE, 77, GATEWAY_WAN_MAC, WAN_MAC), b"x", reply=True)
    packets.same(rig.local_out(reply).data, reply)
    assert len(rig.gateway.sessions) == 0


def test_own_listener_is_not_robbed_by_a_mapping(rig: Rig) -> None:
    with socket.socket() as listening:
        listening.bind(("0.0.0.0", 40000))
        listening.listen()
        assert rig.lan(packets.tcp(FLOW, b"", "S")).action == REDIRECT
        session = rig.session(FLOW, TCP)
        assert session is not None and abi.public_port(session) != 40000
    assert port_row(0, TCP, 40000) == 40000


def test_another_public_address_of_the_gateway_is_the_stacks(rig: Rig) -> None:
    """203.0.113.2 is on the device but not configured as public: not ours to translate."""
    frame = packets.tcp(WEB.to(destination="203.0.113.2"), b"", "S")
    out = rig.wan_in(frame)
    assert out.action == OK
    packets.same(out.data, frame)
    assert REMOTE_2 != REMOTE
