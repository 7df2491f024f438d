"""Choices of the configuration: mapping, filtering, parity, exemptions, limits, hairpin, hold-down."""

from __future__ import annotations

from collections import Counter

import pytest

from algate.bpf import abi, syscall
from algate.bpf.abi import ConfigFlag
from algate.bpf.requests import ControlProgram
from tests import packets
from tests.bpf.flows import FLOW, answer, frame_of, open_session, translated
from tests.bpf.rig import INSIDE, INSIDE_2, OK, PUBLIC, REDIRECT, REMOTE, REMOTE_2, SECOND, SHOT, UDP, Rig, session_key
from tests.packets import GATEWAY_LAN_MAC, GATEWAY_WAN_MAC, LAN_MAC, WAN_MAC, Flow

BASE = ConfigFlag.HAIRPIN


def public_port(rig: Rig, flow: Flow, proto: int = UDP) -> int:
    session = rig.session(flow, proto)
    assert session is not None
    return abi.public_port(session)


def stranger(source: str, port: int) -> bytes:
    return packets.udp(Flow(source, port, PUBLIC, 40000, WAN_MAC, GATEWAY_WAN_MAC), b"x")


@pytest.mark.parametrize(
    ("flag", "same_host", "other_host"),
    [(0, False, False), (ConfigFlag.FILTER_ADF, True, False), (ConfigFlag.FILTER_EIF, True, True)],
    ids=["port", "address", "any"],
)
def test_filtering(rig: Rig, flag: int, same_host: bool, other_host: bool) -> None:
    """RFC 4787 section 5."""
    rig.configure(flags=BASE | flag)
    open_session(rig, "udp")
    assert (rig.wan_in(stranger(REMOTE, 999)).action == REDIRECT) == same_host
    assert (rig.wan_in(stranger(REMOTE_2, 443)).action == REDIRECT) == other_host


def test_filtering_that_becomes_address_dependent(rig: Rig) -> None:
    """Earlier sessions have no counted peers; the control program counts them once, and they end with the sessions."""
    open_session(rig, "udp")
    rig.configure(flags=BASE | ConfigFlag.FILTER_ADF)
    assert rig.wan_in(stranger(REMOTE, 999)).action == SHOT
    control = ControlProgram(rig.gateway.fds["control"])
    keys = [bytes(session_key(FLOW, UDP))]
    assert [control.keys(abi.ControlOp.PEERS, keys) for _ in range(2)] == [1, 0]
    assert rig.wan_in(stranger(REMOTE, 999)).action == REDIRECT
    assert rig.wan_in(stranger(REMOTE_2, 443)).action == SHOT
    assert control.keys(abi.ControlOp.KILL, keys) == 1
    assert rig.wan_in(stranger(REMOTE, 998)).action == REDIRECT, "the second session of this peer"
    fd = rig.gateway._map_fd("peers")
    assert syscall.next_key(fd, None, 12) is not None
    for port in (999, 998):
        control.keys(abi.ControlOp.KILL, [bytes(session_key(FLOW.to(destination_port=port), UDP))])
    assert syscall.next_key(fd, None, 12) is None, "the last session takes the entry along"


def test_sessions_keep_the_filtering_they_were_made_under(rig: Rig) -> None:
    """A stricter profile keeps new strangers out, but not one that had been let in."""
    rig.configure(flags=BASE | ConfigFlag.FILTER_EIF)
    open_session(rig, "udp")
    assert rig.wan_in(stranger(REMOTE_2, 443)).action == REDIRECT
    rig.configure(flags=BASE)
    assert rig.wan_in(stranger(REMOTE_2, 443)).action == REDIRECT
    out = rig.lan(packets.udp(FLOW.to(destination=REMOTE_2), b"an answer"))
    assert out.action == REDIRECT and public_port(rig, FLOW.to(destination=REMOTE_2)) == 40000
    refused = rig.wan_in(stranger(REMOTE_2, 444))
    assert refused.action == SHOT and refused.drops == {"unsolicited": 1}
    assert rig.wan_in(frame_of("udp", answer(FLOW, 40000), b"x")).action == REDIRECT


@pytest.mark.parametrize("proto", ["tcp", "udp"])
@pytest.mark.parametrize("first", [BASE, BASE | ConfigFlag.MAPPING_APDM], ids=["endpoint first", "destination first"])
def test_sessions_keep_the_mapping_they_were_made_under(rig: Rig, proto: str, first: int) -> None:
    """Each keeps its public port, in both directions; new ones follow the new profile."""
    number = 6 if proto == "tcp" else UDP
    other, third = FLOW.to(destination=REMOTE_2), FLOW.to(destination_port=53)
    rig.configure(flags=first)
    open_session(rig, proto)
    assert public_port(rig, FLOW, number) == 40000
    rig.configure(flags=first ^ ConfigFlag.MAPPING_APDM)
    for flow in (other, third):
        assert rig.lan(frame_of(proto, flow, flags="S")).action == REDIRECT
    one = public_port(rig, other, number) == public_port(rig, third, number)
    assert one == bool(first & ConfigFlag.MAPPING_APDM), "the new profile is not followed"
    out = rig.lan(frame_of(proto, FLOW, b"on"))
    packets.same(out.data, translated(frame_of(proto, FLOW, b"on"), proto, ttl=63, source=(PUBLIC, 40000)))
    back = rig.wan_in(frame_of(proto, answer(FLOW, 40000), b"on"))
    assert (out.action, back.action, public_port(rig, FLOW, number)) == (REDIRECT, REDIRECT, 40000)
    assert rig.wan_in(frame_of(proto, answer(other, public_port(rig, other, number)), flags="SA")).action == REDIRECT


def test_mapping_by_address_and_port(rig: Rig) -> None:
    rig.configure(flags=BASE | ConfigFlag.MAPPING_APDM)
    other = FLOW.to(destination_port=53)
    for flow in (FLOW, other):
        assert rig.lan(packets.udp(flow, b"x")).action == REDIRECT
    assert public_port(rig, FLOW) != public_port(rig, other)
    assert rig.wan_in(packets.udp(answer(other, public_port(rig, other)), b"x")).action == REDIRECT


@pytest.mark.parametrize("port", [40000, 40001])
def test_parity_is_kept(rig: Rig, port: int) -> None:
    """RFC 4787 REQ-4: RTP on even, RTCP on odd ports."""
    rig.configure(flags=BASE | ConfigFlag.PARITY)
    for number in range(2, 22):
        flow = FLOW.to(source=f"10.0.0.{number}", source_port=port)
        assert rig.lan(packets.udp(flow, b"x")).action == REDIRECT
        assert public_port(rig, flow) % 2 == port % 2


def test_a_number_that_cant_be_had_takes_no_try(rig: Rig) -> None:
    """Half of all numbers lie outside what a node of a pair gives out; asking for them was a third of the work."""
    rig.configure(flags=BASE | ConfigFlag.PARITY, port_first=1024, port_last=33279)
    tries = Counter[str]()
    for port in range(40000, 40040):
        flow = FLOW.to(source_port=port)
        out = rig.lan(packets.udp(flow, b"x"))
        assert out.action == REDIRECT
        given = public_port(rig, flow)
        rig.slot(UDP, given)
        assert 1024 <= given <= 33279 and given % 2 == port % 2
        tries.update({name: number for name, number in out.counts.items() if name.startswith("PORT_TRIES")})
    assert tries["PORT_TRIES_1"] >= 38, "a random one is seldom taken"


def test_low_ports_stay_low(rig: Rig) -> None:
    """RFC 4787 REQ-3a: a server may trust only sources below 1024."""
    for source in (INSIDE, INSIDE_2):
        flow = FLOW.to(source=source, source_port=600)
        assert rig.lan(packets.udp(flow, b"x")).action == REDIRECT
        assert public_port(rig, flow) < 1024


def test_exempt_destinations_are_not_translated(rig: Rig) -> None:
    rig.configure(flags=BASE | ConfigFlag.EXEMPT)
    rig.gateway.exempt.put(abi.ExemptKey(prefix_len=24, address=abi.ip_to_be32("198.51.100.0")), 1)
    frame = packets.udp(FLOW, b"x")
    out = rig.wan_out(frame)
    assert out.action == OK and out.drops == {}
    packets.same(out.data, frame)
    other = packets.udp(FLOW.to(destination="192.0.2.7"), b"x")
    packets.same(rig.wan_out(other).data, packets.changed(other, IP_src=PUBLIC))
    reply = packets.udp(Flow(REMOTE, 443, INSIDE, 40000, WAN_MAC, GATEWAY_WAN_MAC), b"answer")
    into = rig.wan_in(reply)
    assert into.action in (OK, REDIRECT) and into.drops == {}
    assert into.data[26:] == reply[26:], "addresses and payload stay"
    unasked = packets.udp(Flow(REMOTE_2, 443, INSIDE, 40000, WAN_MAC, GATEWAY_WAN_MAC), b"x")
    assert rig.wan_in(unasked).action == SHOT


def test_sessions_per_host(rig: Rig) -> None:
    rig.configure(max_sessions_per_host=3)
    for number in range(3):
        assert rig.lan(packets.udp(FLOW.to(destination_port=1000 + number), b"x")).action == REDIRECT
    out = rig.lan(packets.udp(FLOW.to(destination_port=2000), b"x"))
    assert out.action == SHOT and out.drops == {"host-sessions": 1}
    assert rig.lan(packets.udp(FLOW.to(source=INSIDE_2), b"x")).action == REDIRECT
    assert rig.lan(packets.udp(FLOW.to(destination_port=1000), b"x")).action == REDIRECT


def test_ports_per_host(rig: Rig) -> None:
    rig.configure(max_ports_per_host=2)
    for number in range(2):
        assert rig.lan(packets.udp(FLOW.to(source_port=41000 + number), b"x")).action == REDIRECT
    out = rig.lan(packets.udp(FLOW.to(source_port=42000), b"x"))
    assert out.action == SHOT and out.drops == {"host-ports": 1}
    assert rig.lan(packets.udp(FLOW.to(source_port=41000, destination_port=53), b"x")).action == REDIRECT
    assert rig.lan(packets.udp(FLOW.to(source=INSIDE_2, source_port=41000), b"x")).action == REDIRECT


def test_new_sessions_per_second(rig: Rig) -> None:
    rig.configure(new_sessions_per_second=5)
    outs = [rig.lan(packets.udp(FLOW.to(destination_port=1000 + number), b"x")) for number in range(200)]
    refused = [out for out in outs if out.action == SHOT]
    assert outs[0].action == REDIRECT and len(refused) >= 100
    assert all(out.drops == {"host-rate": 1} for out in refused)
    assert rig.lan(packets.udp(FLOW.to(source=INSIDE_2), b"x")).action == REDIRECT
    assert rig.lan(packets.udp(FLOW.to(destination_port=1000), b"x")).action == REDIRECT, "old sessions go on"


def test_hold_down_between_hosts(rig: Rig) -> None:
    """RFC 6888 section 8, by packets: another host doesn't get a killed session's port for a while."""
    from algate.bpf.abi import ControlOp
    from algate.bpf.requests import ControlProgram
    from tests.bpf.rig import session_key

    rig.configure(hold_down=120 * SECOND)
    assert rig.lan(packets.udp(FLOW, b"x")).action == REDIRECT
    ControlProgram(rig.gateway.fds["control"]).keys(ControlOp.KILL, [bytes(session_key(FLOW, UDP))])
    assert rig.slot(UDP, 40000).owner == 0
    other = FLOW.to(source=INSIDE_2)
    assert rig.lan(packets.udp(other, b"x")).action == REDIRECT
    assert public_port(rig, other) != 40000
    assert rig.lan(packets.udp(FLOW, b"x")).action == REDIRECT
    assert public_port(rig, FLOW) == 40000


def hairpin_pair(rig: Rig) -> tuple[Flow, int]:
    """A second inside host with a mapping that it made towards outside, and the flow that tries it."""
    rig.configure(flags=BASE | ConfigFlag.FILTER_EIF)
    server = FLOW.to(source=INSIDE_2, source_port=7000)
    assert rig.lan(packets.udp(server, b"x")).action == REDIRECT
    return Flow(INSIDE, 40000, PUBLIC, public_port(rig, server)), public_port(rig, server)


def test_hairpin(rig: Rig) -> None:
    """RFC 4787 REQ-9: inside hosts reach each other by public address, and see public addresses."""
    caller, port = hairpin_pair(rig)
    frame = packets.udp(caller, b"hello")
    out = rig.lan(frame)
    assert out.action == REDIRECT and out.drops == {}
    mine = packets.field(out.data, "UDP_sport")
    wanted = packets.changed(
        frame, IP_src=PUBLIC, UDP_sport=mine, IP_dst=INSIDE_2, UDP_dport=7000, IP_ttl=packets.field(out.data, "IP_ttl")
    )
    packets.same(out.data, wanted)
    assert packets.field(out.data, "IP_ttl") in (62, 63)
    reply = packets.udp(Flow(INSIDE_2, 7000, PUBLIC, mine, LAN_MAC, GATEWAY_LAN_MAC), b"back")
    back = rig.lan(reply)
    assert back.action == REDIRECT
    ttl = packets.field(back.data, "IP_ttl")
    wanted = packets.changed(reply, IP_src=PUBLIC, UDP_sport=port, IP_dst=INSIDE, UDP_dport=40000, IP_ttl=ttl)
    packets.same(back.data, wanted)


def test_hairpin_off(rig: Rig) -> None:
    caller, _ = hairpin_pair(rig)
    rig.configure(flags=ConfigFlag.FILTER_EIF)
    out = rig.lan(packets.udp(caller, b"hello"))
    assert out.action == SHOT and out.drops == {"hairpin-off": 1}


@pytest.mark.parametrize("clamp", [1300, 536])
def test_mss_clamp(rig: Rig, clamp: int) -> None:
    rig.configure(mss_clamp=clamp)
    options = [("MSS", 1460), ("SAckOK", b""), ("NOP", None), ("WScale", 7)]
    syn = packets.tcp(FLOW, b"", "S", options=options)
    clamped = [("MSS", clamp), *options[1:]]
    out = rig.lan(syn)
    wanted = translated(packets.changed(syn, TCP_options=clamped), "tcp", ttl=63, source=(PUBLIC, 40000))
    packets.same(out.data, wanted)
    reply = frame_of("tcp", answer(FLOW, 40000), b"", "SA", options=options)
    wanted = translated(packets.changed(reply, TCP_options=clamped), "tcp", ttl=63, destination=(INSIDE, 40000))
    packets.same(rig.wan_in(reply).data, wanted)


def test_mss_is_never_raised(rig: Rig) -> None:
    rig.configure(mss_clamp=1300)
    syn = packets.tcp(FLOW, b"", "S", options=[("MSS", 1200)])
    packets.same(rig.lan(syn).data, translated(syn, "tcp", ttl=63, source=(PUBLIC, 40000)))
