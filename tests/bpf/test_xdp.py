"""The XDP fast path: established sessions, right to the last byte; everything else goes on unwritten."""

from __future__ import annotations

import subprocess
import time
from typing import Any

import pytest

from algate.bpf import abi
from tests import packets
from tests.bpf.flows import FLOW, answer, echo_answer, frame_of, open_session, translated
from tests.bpf.rig import INSIDE, PROTOS, PUBLIC, REDIRECT, ROUTER, SHOT, TCP, WAN, Outcome, Rig, session_key, ticks
from tests.packets import GATEWAY_LAN_MAC, GATEWAY_WAN_MAC, LAN_MAC, WAN_MAC

XDP_PASS, XDP_REDIRECT = 2, 4


@pytest.fixture
def fast(rig: Rig) -> Rig:
    macs = {"lan_mac": mac(GATEWAY_LAN_MAC), "wan_mac": mac(GATEWAY_WAN_MAC)}
    config = rig.configure()
    for name, value in macs.items():
        field = getattr(config, name)
        field[:6] = value
    rig.gateway.configs.put(0, config)
    return rig


def mac(text: str) -> list[int]:
    return list(bytes.fromhex(text.replace(":", "")))


def passed_on(out: Outcome, frame: bytes) -> None:
    assert out.action == XDP_PASS and out.counts == {} and out.drops == {}
    packets.same(out.data, frame)


@pytest.mark.parametrize("proto", PROTOS)
@pytest.mark.parametrize("load", [b"", b"odd", bytes(1400)], ids=len)
def test_out_and_in(fast: Rig, proto: str, load: bytes) -> None:
    open_session(fast, proto)
    if proto == "tcp":
        fast.lan(packets.tcp(FLOW, b"", "A"))
    frame = frame_of(proto, FLOW, load, "PA", ttl=9)
    out = fast.xdp("xdp_lan", frame)
    assert out.action == XDP_REDIRECT and out.counts["XDP_REDIRECTED"] == 1
    wanted = translated(frame, proto, ttl=8, source=(PUBLIC, 40000))
    packets.same(out.data, packets.changed(wanted, Ether_src=GATEWAY_WAN_MAC, Ether_dst=WAN_MAC))
    back = echo_answer(FLOW, 40000) if proto == "icmp" else answer(FLOW, 40000)
    reply = frame_of(proto, back, load, "PA", reply=True)
    into = fast.xdp("xdp_wan", reply)
    assert into.action == XDP_REDIRECT
    wanted = translated(reply, proto, ttl=63, destination=(INSIDE, 40000))
    packets.same(into.data, packets.changed(wanted, Ether_src=GATEWAY_LAN_MAC, Ether_dst=LAN_MAC))
    session = fast.session(FLOW, PROTOS[proto])
    assert session is not None and session.packets[1] == 2


def test_absent_udp_sum(fast: Rig) -> None:
    open_session(fast, "udp")
    frame = packets.udp(FLOW, b"x", checksum=0)
    out = fast.xdp("xdp_lan", frame)
    assert out.action == XDP_REDIRECT and packets.field(out.data, "UDP_chksum") == 0


def test_udp_sum_never_becomes_absent(fast: Rig) -> None:
    open_session(fast, "udp")
    probe = translated(packets.udp(FLOW, b"\0\0"), "udp", ttl=63, source=(PUBLIC, 40000))
    frame = packets.udp(FLOW, packets.field(probe, "UDP_chksum").to_bytes(2, "big"))
    assert packets.field(fast.xdp("xdp_lan", frame).data, "UDP_chksum") == 0xFFFF


@pytest.mark.parametrize(
    "change",
    [
        {"flags": "S"},
        {"flags": "FA"},
        {"flags": "R"},
        {"ttl": 1},
        {"ip_options": b"\x07\x07\x04\0\0\0\0\0"},
        {"fragment": True},
        {"mac": "02:00:00:00:09:09"},
        {"bad_header_sum": True},
        {"partial_sum": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_everything_else_goes_on_unwritten(fast: Rig, change: dict[str, Any]) -> None:
    open_session(fast, "tcp")
    flow = FLOW.to(destination_mac=change["mac"]) if "mac" in change else FLOW
    ip = {"ttl": change.get("ttl", 64)}
    if "ip_options" in change:
        ip["ip_options"] = change["ip_options"]
    frame = packets.tcp(flow, b"load", change.get("flags", "A"), **ip)
    if "fragment" in change:
        frame = packets.changed(frame, IP_flags="MF")
    if "bad_header_sum" in change:
        frame = frame[:24] + bytes([frame[24] ^ 1]) + frame[25:]
    if "partial_sum" in change:
        pseudo = frame[26:34] + bytes([0, 6]) + (len(frame) - 34).to_bytes(2, "big")
        total = sum(int.from_bytes(pseudo[i : i + 2], "big") for i in range(0, 12, 2))
        total = (total & 0xFFFF) + (total >> 16)
        frame = frame[:50] + ((total & 0xFFFF) + (total >> 16)).to_bytes(2, "big") + frame[52:]
    passed_on(fast.xdp("xdp_lan", frame), frame)


def test_unknown_watched_and_stack_sessions_go_on_unwritten(fast: Rig) -> None:
    unknown = packets.udp(FLOW, b"x")
    passed_on(fast.xdp("xdp_lan", unknown), unknown)
    back = packets.udp(answer(FLOW, 40000), b"x")
    passed_on(fast.xdp("xdp_wan", back), back)
    open_session(fast, "tcp")
    fast.lan(packets.tcp(FLOW, b"", "A"))
    frame = packets.tcp(FLOW, b"x", "PA")
    assert fast.xdp("xdp_lan", frame).action == XDP_REDIRECT
    session = fast.session(FLOW, TCP)
    assert session is not None
    for name, value in (("alg", 1), ("state", int(abi.SessionState.DEAD))):
        former = getattr(session, name)
        setattr(session, name, value)
        fast.gateway.sessions.put(session_key(FLOW, TCP), session)
        passed_on(fast.xdp("xdp_lan", frame), frame)
        setattr(session, name, former)


@pytest.mark.parametrize("proto", ["udp", "icmp"])
def test_what_nobody_answers_goes_out_by_xdp_and_lives_on_it(fast: Rig, proto: str) -> None:
    frame = frame_of(proto, FLOW, b"one way")
    fast.lan(frame)
    made = fast.session(FLOW, PROTOS[proto])
    assert made is not None and made.state == abi.SessionState.UNREPLIED
    made.last_seen = (ticks() - 5_000) % 2**32
    fast.gateway.sessions.put(session_key(FLOW, PROTOS[proto]), made)
    out = fast.xdp("xdp_lan", frame)
    assert out.action == XDP_REDIRECT
    wanted = translated(frame, proto, ttl=63, source=(PUBLIC, 40000))
    packets.same(out.data, packets.changed(wanted, Ether_src=GATEWAY_WAN_MAC, Ether_dst=WAN_MAC))
    session = fast.session(FLOW, PROTOS[proto])
    assert session is not None and session.state == abi.SessionState.UNREPLIED
    assert session.packets[0] == 2 and (ticks() - session.last_seen) % 2**32 < 1_000, "refreshed: RFC 4787 REQ-6"


@pytest.mark.parametrize("proto", ["udp", "icmp"])
def test_the_first_answer_is_tcs_and_makes_it_active(fast: Rig, proto: str) -> None:
    fast.lan(frame_of(proto, FLOW, b"asked"))
    back = echo_answer(FLOW, 40000) if proto == "icmp" else answer(FLOW, 40000)
    reply = frame_of(proto, back, b"answered", reply=True)
    passed_on(fast.xdp("xdp_wan", reply), reply)
    assert fast.wan_in(reply).action == REDIRECT
    session = fast.session(FLOW, PROTOS[proto])
    assert session is not None and session.state == abi.SessionState.ACTIVE
    assert fast.xdp("xdp_wan", reply).action == XDP_REDIRECT


def test_a_silent_session_that_has_expired_is_tcs(fast: Rig) -> None:
    frame = packets.udp(FLOW, b"x")
    fast.lan(frame)
    session = fast.session(FLOW, PROTOS["udp"])
    assert session is not None
    session.last_seen = (ticks() - 400_000) % 2**32
    fast.gateway.sessions.put(session_key(FLOW, PROTOS["udp"]), session)
    passed_on(fast.xdp("xdp_lan", frame), frame)


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("proto", PROTOS)
def test_what_is_exempt_leaves_by_the_stack(fast: Rig, proto: str, answered: bool) -> None:
    fast.gateway.exempt.put(abi.ExemptKey(prefix_len=32, address=abi.ip_to_be32(FLOW.destination)), 1)
    config = fast.gateway.configs[0]
    config.flags |= abi.ConfigFlag.EXEMPT
    fast.gateway.configs.put(0, config)
    first = frame_of(proto, FLOW, flags="S")
    fast.lan(first)
    fast.wan_out(first)
    if answered:
        flow = echo_answer(FLOW, 40000) if proto == "icmp" else answer(FLOW, 40000)
        fast.wan_in(frame_of(proto, flow.to(destination=INSIDE), flags="SA", reply=True))
    session = fast.session(FLOW, PROTOS[proto])
    assert session is not None and session.flags & abi.SessionFlag.EXEMPT and session.packets[1] == answered
    frame = frame_of(proto, FLOW, b"x", "PA")
    passed_on(fast.xdp("xdp_lan", frame), frame)


def test_half_open_sessions_are_tcs(fast: Rig) -> None:
    fast.lan(packets.tcp(FLOW, b"", "S"))
    frame = packets.tcp(FLOW, b"", "A")
    passed_on(fast.xdp("xdp_lan", frame), frame)


def test_cut_at_every_length(fast: Rig) -> None:
    open_session(fast, "tcp")
    frame = packets.tcp(FLOW, b"payload", "PA")
    for size in range(14, len(frame)):
        passed_on(fast.xdp("xdp_lan", frame[:size]), frame[:size])


def test_what_goes_on_is_translated_once_by_tc(fast: Rig) -> None:
    open_session(fast, "tcp")
    frame = packets.tcp(FLOW, b"", "FA")
    handed = fast.xdp("xdp_lan", frame)
    out = fast.lan(handed.data)
    assert out.action == REDIRECT
    packets.same(out.data, translated(frame, "tcp", ttl=63, source=(PUBLIC, 40000)))
    assert out.action != SHOT


def test_a_changed_neighbour_is_followed_within_the_life_of_an_answer(fast: Rig) -> None:
    """The FIB's answers are kept for HOP_TICKS (nexthop.h), 134 ms; nothing announces a changed route."""
    moved = "02:00:00:00:77:01"
    open_session(fast, "udp")
    frame = packets.udp(FLOW, b"x")
    assert fast.xdp("xdp_lan", frame).data[:6] == bytes(mac(WAN_MAC))
    neighbour = ["ip", "neigh", "replace", ROUTER, "dev", WAN, "nud", "permanent", "lladdr"]
    subprocess.run([*neighbour, moved], check=True)
    try:
        time.sleep(0.2)
        assert fast.xdp("xdp_lan", frame).data[:6] == bytes(mac(moved))
    finally:
        subprocess.run([*neighbour, WAN_MAC], check=True)
        time.sleep(0.2)


def test_a_packet_that_does_not_fit_the_route_is_left_to_tc(fast: Rig) -> None:
    """Every packet is checked for whether it fits, even if the route is already known."""
    open_session(fast, "udp")
    assert fast.xdp("xdp_lan", packets.udp(FLOW, b"x")).action == XDP_REDIRECT
    large = packets.udp(FLOW, bytes(1600))
    passed_on(fast.xdp("xdp_lan", large), large)
