"""Established and new sessions, byte by byte: addresses, ports, TTL and checksums change, and nothing else."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from algate.bpf import abi, testrun
from tests import packets
from tests.bpf import six
from tests.bpf.flows import FLOW, answer, echo_answer, frame_of, open_session, translated
from tests.bpf.rig import GATEWAY, INSIDE, INSIDE_2, OK, PROTOS, PUBLIC, REDIRECT, REMOTE, REMOTE_2, SHOT, UDP, Rig
from tests.packets import GATEWAY_WAN_MAC, WAN_MAC, Flow

PAYLOADS = [b"", b"x", b"xy", bytes(range(256)) * 5 + b"odd"]


@pytest.mark.parametrize("proto", PROTOS)
@pytest.mark.parametrize("load", PAYLOADS, ids=len)
def test_out_and_in(rig: Rig, proto: str, load: bytes) -> None:
    open_session(rig, proto)
    frame = frame_of(proto, FLOW, load, "PA", ttl=17)
    public = (PUBLIC, 40000)
    out = rig.lan(frame)
    assert out.action == REDIRECT and out.drops == {}
    packets.same(out.data, translated(frame, proto, ttl=16, source=public), "shortcut")
    edge = rig.wan_out(frame)
    assert edge.action == OK and edge.drops == {}
    packets.same(edge.data, translated(frame, proto, ttl=17, source=public), "WAN egress")
    back = echo_answer(FLOW, 40000) if proto == "icmp" else answer(FLOW, 40000)
    reply = frame_of(proto, back, load, "PA", reply=True, ttl=3)
    into = rig.wan_in(reply)
    assert into.action == REDIRECT and into.drops == {}
    packets.same(into.data, translated(reply, proto, ttl=2, destination=(INSIDE, 40000)), "WAN ingress")
    session = rig.session(FLOW, PROTOS[proto])
    assert session is not None
    assert list(session.packets) == [3, 2]
    assert session.bytes[0] == 2 * (len(frame) - 14) + len(frame_of(proto, FLOW, flags="S")) - 14
    assert out.counts["PACKETS_OUT"] == 1 and out.counts["BYTES_OUT"] == len(frame) - 14
    assert into.counts["PACKETS_IN"] == 1 and into.counts["BYTES_IN"] == len(reply) - 14


@pytest.mark.parametrize("proto", PROTOS)
def test_taken_port_is_replaced(rig: Rig, proto: str) -> None:
    """Two inside hosts with one source port: the second gets another public port (and ICMP another identifier)."""
    open_session(rig, proto)
    other = FLOW.to(source=INSIDE_2)
    frame = frame_of(proto, other, b"payload", "S" if proto == "tcp" else "")
    out = rig.lan(frame)
    assert out.action == REDIRECT
    session = rig.session(other, PROTOS[proto])
    assert session is not None
    port = abi.public_port(session)
    assert port != 40000 and 1024 <= port <= 65535
    packets.same(out.data, translated(frame, proto, ttl=63, source=(PUBLIC, port)))
    back = echo_answer(other, port) if proto == "icmp" else answer(other, port)
    reply = frame_of(proto, back, b"reply", "SA", reply=True)
    into = rig.wan_in(reply)
    assert into.action == REDIRECT
    packets.same(into.data, translated(reply, proto, ttl=63, destination=(INSIDE_2, 40000)))


def test_absent_udp_sum_stays_absent(rig: Rig) -> None:
    open_session(rig, "udp")
    frame = packets.udp(FLOW, b"hello", checksum=0)
    packets.same(rig.lan(frame).data, translated(frame, "udp", ttl=63, source=(PUBLIC, 40000)))
    assert packets.field(rig.lan(frame).data, "UDP_chksum") == 0


def test_udp_sum_never_becomes_absent(rig: Rig) -> None:
    """RFC 768: a sum of 0 is sent as 0xffff, or the receiver would take it for no sum."""
    open_session(rig, "udp")
    probe = translated(packets.udp(FLOW, b"\0\0"), "udp", ttl=63, source=(PUBLIC, 40000))
    load = packets.field(probe, "UDP_chksum").to_bytes(2, "big")
    frame = packets.udp(FLOW, load)
    out = rig.lan(frame)
    assert packets.field(out.data, "UDP_chksum") == 0xFFFF
    packets.same(out.data, translated(frame, "udp", ttl=63, source=(PUBLIC, 40000)))


@pytest.mark.parametrize("proto", PROTOS)
def test_a_device_s_sum_of_the_packet_stays_right(rig: Rig, proto: str) -> None:
    """The kernel compares it with the packet after the run (EBADMSG)."""
    open_session(rig, proto)
    back = echo_answer(FLOW, 40000) if proto == "icmp" else answer(FLOW, 40000)
    for way, frame in (
        (rig.lan, frame_of(proto, FLOW, b"odd", "PA")),
        (rig.wan_out, frame_of(proto, FLOW, b"odd", "PA")),
        (rig.wan_in, frame_of(proto, back, b"even", "PA", reply=True)),
    ):
        with needs_summed():
            assert way(frame, flags=testrun.ProgramRun.SUMMED).drops == {}


@pytest.mark.parametrize("load", [b"odd", b"even"])
def test_so_it_does_for_ipv6(rig: Rig, load: bytes) -> None:
    for way, frame in ((rig.lan, six.frame(six.udp(load=load))), (rig.wan_in, six.back(six.udp(back=True, load=load)))):
        assert way(frame).action == REDIRECT
        with needs_summed():
            assert way(frame, flags=testrun.ProgramRun.SUMMED).action == REDIRECT


@contextmanager
def needs_summed() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.EINVAL:
            pytest.skip("this kernel has no such test-run (Linux 6.17)")
        raise


def test_link_padding_is_kept(rig: Rig) -> None:
    open_session(rig, "udp")
    frame = packets.udp(FLOW, b"x") + b"pad" * 5
    packets.same(rig.lan(frame).data, translated(frame, "udp", ttl=63, source=(PUBLIC, 40000)))


@pytest.mark.parametrize("ip", [{"ttl": 1}, {"ttl": 0}, {"options": b"\x07\x07\x04\0\0\0\0\0"}], ids=str)
def test_what_needs_the_stack_goes_there_untranslated(rig: Rig, ip: dict[str, Any]) -> None:
    """The stack handles TTL expiry and IP options: it gets the packet as it came, on either side of the gateway."""
    open_session(rig, "udp")
    frame = packets.udp(FLOW, b"x", **ip)
    out = rig.lan(frame)
    assert out.action == OK and out.drops == {}
    packets.same(out.data, frame)


def test_too_big_goes_to_the_stack(rig: Rig) -> None:
    """The stack answers with "fragmentation needed", or fragments."""
    open_session(rig, "udp")
    frame = packets.udp(FLOW, bytes(1600))
    out = rig.lan(frame)
    assert out.action == OK
    packets.same(out.data, frame)


def test_one_mapping_serves_all_destinations(rig: Rig) -> None:
    """Endpoint-independent mapping, RFC 4787 REQ-1."""
    open_session(rig, "udp")
    other = FLOW.to(destination=REMOTE_2, destination_port=53)
    frame = packets.udp(other, b"q")
    packets.same(rig.lan(frame).data, translated(frame, "udp", ttl=63, source=(PUBLIC, 40000)))
    assert rig.slot(UDP, 40000).sessions == 2


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_unsolicited_is_refused(rig: Rig, proto: str) -> None:
    flow = Flow(REMOTE, 1234, PUBLIC, 5555, WAN_MAC, GATEWAY_WAN_MAC)
    out = rig.wan_in(frame_of(proto, flow, b"", "S"))
    assert out.action == SHOT and out.drops == {"unsolicited": 1}


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_stranger_to_a_mapping_is_refused(rig: Rig, proto: str) -> None:
    """Address-and-port-dependent filtering, RFC 4787 section 5: no other host, nor another port of the same one."""
    open_session(rig, proto)
    for source, port in ((REMOTE_2, 443), (REMOTE, 444)):
        flow = Flow(source, port, PUBLIC, 40000, WAN_MAC, GATEWAY_WAN_MAC)
        out = rig.wan_in(frame_of(proto, flow, b"", "S"))
        assert out.action == SHOT and out.drops == {"unsolicited": 1}


def test_stranger_is_let_in_where_filtering_says_so(rig: Rig) -> None:
    open_session(rig, "udp")
    rig.configure(flags=abi.ConfigFlag.FILTER_EIF)
    flow = Flow(REMOTE_2, 444, PUBLIC, 40000, WAN_MAC, GATEWAY_WAN_MAC)
    frame = packets.udp(flow, b"hi")
    out = rig.wan_in(frame)
    assert out.action == REDIRECT
    packets.same(out.data, translated(frame, "udp", ttl=63, destination=(INSIDE, 40000)))


@pytest.mark.parametrize("flags", ["A", "PA", "F", "FA", "R", "SA", "RA", ""])
def test_only_a_syn_begins_a_tcp_session(rig: Rig, flags: str) -> None:
    out = rig.lan(packets.tcp(FLOW, b"", flags))
    assert out.action == SHOT and out.drops == {"no-session": 1}
    assert len(rig.gateway.sessions) == 0 and len(rig.gateway.mappings) == 0


def test_an_echo_reply_begins_nothing(rig: Rig) -> None:
    out = rig.lan(packets.echo(FLOW, b"", reply=True))
    assert out.action == SHOT and out.drops == {"no-session": 1}


def test_spoofed_source_is_refused(rig: Rig) -> None:
    for source in ("192.168.9.9", REMOTE_2, "127.0.0.1", "0.0.0.0"):
        out = rig.lan(packets.udp(FLOW.to(source=source), b"x"))
        assert out.action == SHOT and out.drops == {"spoofed-inside": 1}, source
    assert len(rig.gateway.sessions) == 0


def test_frames_for_another_mac_are_left_alone(rig: Rig) -> None:
    open_session(rig, "udp")
    frame = packets.udp(FLOW.to(destination_mac="02:00:00:00:09:09"), b"x")
    out = rig.lan(frame)
    assert out.action == OK and out.counts == {}
    packets.same(out.data, frame)


def test_inside_addresses_are_not_reached_from_outside(rig: Rig) -> None:
    flow = Flow(REMOTE, 1234, INSIDE, 22, WAN_MAC, GATEWAY_WAN_MAC)
    out = rig.wan_in(packets.tcp(flow, b"", "S"))
    assert out.action == SHOT and out.drops == {"not-ours": 1}


def test_traffic_for_the_gateway_itself_is_the_stacks(rig: Rig) -> None:
    frame = packets.udp(FLOW.to(destination=GATEWAY, destination_port=53), b"q")
    out = rig.lan(frame)
    assert out.action == OK and len(rig.gateway.sessions) == 0
    packets.same(out.data, frame)


def test_expired_session_lets_nothing_in(rig: Rig) -> None:
    open_session(rig, "udp")
    rig.configure(timeouts={abi.TimeoutKind.UDP: 0})
    out = rig.wan_in(packets.udp(answer(FLOW, 40000), b"late"))
    assert out.action == SHOT and out.drops == {"unsolicited": 1}


def test_full_table_refuses_the_new_and_keeps_the_old(rig: Rig) -> None:
    """DESIGN invariant 4; a refused packet gives its port back."""
    open_session(rig, "udp")
    table = rig.gateway.sessions
    room = table.info.max_entries - len(table)
    table.put_many([(abi.SessionKey(inside_ip=n + 1), abi.Session(last_seen=0)) for n in range(room)])
    other = FLOW.to(source_port=41000)
    out = rig.lan(packets.udp(other, b"x"))
    assert out.action == SHOT and out.drops == {"table-full": 1}
    assert rig.slot(UDP, 41000).sessions == 0 and rig.slot(UDP, 41000).owner == 0
    assert rig.lan(packets.udp(FLOW, b"x")).action == REDIRECT


def test_no_free_port_is_said(rig: Rig) -> None:
    rig.configure(port_first=50000, port_last=50001)
    for number in range(2):
        assert rig.lan(packets.udp(FLOW.to(source_port=50000 + number), b"x")).action == REDIRECT
    out = rig.lan(packets.udp(FLOW.to(source=INSIDE_2, source_port=50000), b"x"))
    assert out.action == SHOT and out.drops == {"no-port": 1}
