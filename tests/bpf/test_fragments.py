"""Fragmented packets: the head is translated as any packet, the tails follow it, and nothing goes without its head."""

from __future__ import annotations

import pytest

from algate.bpf import abi, tables, testrun
from tests import packets
from tests.bpf.flows import FLOW, answer, open_session, translated
from tests.bpf.rig import INSIDE, INSIDE_2, LAN, OK, PUBLIC, REDIRECT, REMOTE, SECOND, SHOT, WAN, Rig, ticks
from tests.packets import GATEWAY_WAN_MAC, WAN_MAC, Flow

LOAD = bytes(range(256)) * 12


@pytest.mark.parametrize("size", [1480, 1000, 552])
def test_out(rig: Rig, size: int) -> None:
    open_session(rig, "udp")
    whole = packets.udp(FLOW, LOAD, flags=0, id=99)
    wanted = packets.fragments(translated(whole, "udp", ttl=64, source=(PUBLIC, 40000)), size)
    for number, frame in enumerate(packets.fragments(whole, size)):
        shortcut = rig.lan(frame)
        assert shortcut.action == OK and shortcut.counts == {}
        packets.same(shortcut.data, frame, "LAN ingress")
        out = rig.wan_out(frame)
        assert out.action == OK and out.drops == {}
        packets.same(out.data, wanted[number], f"fragment {number}")


@pytest.mark.parametrize("size", [1480, 1000])
def test_in(rig: Rig, size: int) -> None:
    open_session(rig, "udp")
    whole = packets.udp(answer(FLOW, 40000), LOAD, flags=0, id=99)
    wanted = packets.fragments(translated(whole, "udp", ttl=64, destination=(INSIDE, 40000)), size)
    for number, frame in enumerate(packets.fragments(whole, size)):
        out = rig.wan_in(frame)
        assert out.action == OK and out.drops == {}
        packets.same(out.data, wanted[number], f"fragment {number}")


def test_a_head_may_begin_a_session(rig: Rig) -> None:
    whole = packets.udp(FLOW, LOAD, flags=0, id=99)
    wanted = packets.fragments(translated(whole, "udp", ttl=64, source=(PUBLIC, 40000)), 1480)
    for number, frame in enumerate(packets.fragments(whole, 1480)):
        packets.same(rig.wan_out(frame).data, wanted[number], f"fragment {number}")


def test_two_hosts_with_one_id_are_kept_apart(rig: Rig) -> None:
    other = FLOW.to(source=INSIDE_2, source_port=41000)
    heads = {flow: packets.fragments(packets.udp(flow, LOAD, flags=0, id=99), 1480) for flow in (FLOW, other)}
    for frames in heads.values():
        rig.wan_out(frames[0])
    for flow, frames in heads.items():
        out = rig.wan_out(frames[1])
        packets.same(out.data, packets.changed(frames[1], IP_src=PUBLIC), f"tail of {flow.source}")


def test_tail_without_its_head(rig: Rig) -> None:
    open_session(rig, "udp")
    tail = packets.fragments(packets.udp(FLOW, LOAD, flags=0, id=5), 1480)[1]
    out = rig.wan_out(tail)
    assert out.action == SHOT and out.drops == {"fragment-unknown": 1}
    tail = packets.fragments(packets.udp(answer(FLOW, 40000), LOAD, flags=0, id=5), 1480)[1]
    out = rig.wan_in(tail)
    assert out.action == SHOT and out.drops == {"fragment-unknown": 1}


def test_tail_long_after_its_head(rig: Rig) -> None:
    """RFC 791 section 3.2: reassembly gives up, and the IP id may belong to another packet by then."""
    open_session(rig, "udp")
    head, tail, *_ = packets.fragments(packets.udp(FLOW, LOAD, flags=0, id=5), 1480)
    rig.wan_out(head)
    fd = rig.gateway._map_fd("fragments")
    table = tables.Table(fd, tables.layout(abi.FragmentKey), tables.layout(abi.Fragment))
    ((key, value),) = table.items()
    value.expires = (ticks() - SECOND) % 2**32
    table.put(key, value)
    out = rig.wan_out(tail)
    assert out.action == SHOT and out.drops == {"fragment-unknown": 1}


def test_tail_before_its_head_is_held_by_the_helper(rig: Rig) -> None:
    """BPF can't queue a packet: a copy goes to the helper while it lives, bounded against a flood."""
    open_session(rig, "udp")
    rig.taken()
    rig.beat()
    head, tail, *_ = packets.fragments(packets.udp(FLOW, LOAD, flags=0, id=6), 1480)
    out = rig.wan_out(tail)
    assert out.action == SHOT and out.drops == {"fragment-early": 1}
    ((punt, frame),) = rig.taken()
    assert punt.kind == abi.PuntKind.TAIL and punt.dir == abi.Direction.OUT
    ttl = packets.field(tail, "IP_ttl")  # the stack counted the hop already: given back, for the TAP's way counts it
    packets.same(frame, packets.changed(tail, IP_ttl=ttl + 1))
    assert rig.wan_out(head).action == OK
    back = rig.tap(frame, abi.InjectKind.OUT)
    assert back.action == REDIRECT
    packets.same(tail[:1] + back.data[1:], packets.changed(tail, IP_src=PUBLIC, IP_ttl=ttl))


def test_a_tail_for_the_gateway_goes_back_to_its_stack(rig: Rig) -> None:
    """A long ping of the gateway whose tail came first: its head is the stack's, so is the tail."""
    rig.beat()
    rig.configure(wan_mac=(*bytes.fromhex(GATEWAY_WAN_MAC.replace(":", "")), 0, 0))
    flow = Flow(REMOTE, 9, PUBLIC, 9, WAN_MAC, GATEWAY_WAN_MAC)
    head, tail, *_ = packets.fragments(packets.echo(flow, LOAD, flags=0, id=6), 1480)
    assert rig.wan_in(tail).drops == {"fragment-early": 1}
    ((_, frame),) = rig.taken()
    assert rig.wan_in(head).action == OK
    assert rig.wan_in(tail).action == OK
    back = rig.tap(frame, abi.InjectKind.IN)
    assert back.action == REDIRECT and back.drops == {}
    packets.same(back.data, tail)


def test_a_flood_of_tails_does_not_fill_the_ring(rig: Rig) -> None:
    rig.beat()
    tail = packets.fragments(packets.udp(FLOW, LOAD, flags=0, id=6), 1480)[1]
    context = testrun.skb_context(ifindex=rig.devices[WAN], ingress_ifindex=rig.devices[LAN])
    before = rig.gateway.counters.sum(abi.Counter.PUNTS)
    testrun.run(rig.gateway.fds["tc_wan_out"], tail, context, repeat=5000)
    assert 0 < rig.gateway.counters.sum(abi.Counter.PUNTS) - before < 2500


def test_unsolicited_head_takes_its_tails_along(rig: Rig) -> None:
    flow = answer(FLOW, 5555)
    head, tail, *_ = packets.fragments(packets.udp(flow, LOAD, flags=0, id=5), 1480)
    out = rig.wan_in(head)
    assert out.action == SHOT and out.drops == {"unsolicited": 1}
    assert rig.wan_in(tail).action == SHOT


def test_head_too_small_for_its_ports(rig: Rig) -> None:
    """RFC 1858, the tiny fragment: the ports would come in the second."""
    open_session(rig, "tcp")
    head = packets.changed(packets.tcp(FLOW, b"", "S")[: 34 + 16], IP_len=36, IP_flags="MF")
    out = rig.wan_out(head)
    assert out.action == SHOT and out.drops == {"malformed": 1}


def test_a_fragment_begins_no_watched_session(rig: Rig) -> None:
    """The gate sees whole segments or none."""
    rig.gateway.alg_ports.put(abi.ServiceKey(port=abi.be16(FLOW.destination_port), proto=17), 1)
    rig.beat()
    head, *tails = packets.fragments(packets.udp(FLOW, LOAD, flags=0, id=99), 1480)
    assert rig.wan_out(head).drops == {"fragment-control": 1}
    assert all(rig.wan_out(tail).action == SHOT for tail in tails)
