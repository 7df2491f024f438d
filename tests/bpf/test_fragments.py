"""Fragmented packets: the head is translated like any packet, the tails follow it, and none passes without its head."""

from __future__ import annotations

import math
import time

import pytest

from algate.bpf import abi, tables, testrun
from tests import packets
from tests.bpf.flows import FLOW, answer, frame_of, open_session, translated
from tests.bpf.rig import INSIDE, INSIDE_2, LAN, OK, PUBLIC, REDIRECT, REMOTE, REMOTE_2, SECOND, SHOT, WAN, Rig, ticks
from tests.packets import GATEWAY_WAN_MAC, WAN_MAC, Flow

LOAD = bytes(range(256)) * 12
TAKEN = 28.0  # s, for which an id at least is nobody else's


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


OTHER = FLOW.to(source=INSIDE_2, source_port=41000)


def pieces(flow: Flow, ident: int = 99) -> list[bytes]:
    return packets.fragments(packets.udp(flow, LOAD, flags=0, id=ident), 1480)


def ident_of(frame: bytes) -> int:
    return int(packets.field(frame, "IP_id"))


def test_r23_two_hosts_with_one_id_are_kept_apart(rig: Rig) -> None:
    """RFC 7857 section 10: outside they have one address, and whoever reassembles would mix them."""
    out: dict[Flow, list[bytes]] = {FLOW: [], OTHER: []}
    for both in zip(pieces(FLOW), pieces(OTHER), strict=True):
        for flow, frame in zip(out, both, strict=True):
            out[flow].append(rig.wan_out(frame).data)
    (first,), (second,) = ({ident_of(frame) for frame in frames} for frames in out.values())
    assert first == 99 != second
    for flow, frames in out.items():
        whole = packets.udp(flow, LOAD, flags=0, id=ident_of(frames[0]))
        wanted = packets.fragments(translated(whole, "udp", ttl=64, source=(PUBLIC, flow.source_port)), 1480)
        for number, (one, good) in enumerate(zip(frames, wanted, strict=True)):
            packets.same(one, good, f"fragment {number} of {flow.source}")


def test_a_head_once_more_keeps_its_id(rig: Rig) -> None:
    """Duplicated on the way, and its tails between."""
    rig.wan_out(pieces(FLOW)[0])
    head, tail, *_ = pieces(OTHER)
    seen = {ident_of(rig.wan_out(frame).data) for frame in (head, tail, head, tail)}
    assert len(seen) == 1 and seen != {99}


def test_one_id_to_two_destinations_or_of_two_protocols_is_no_clash(rig: Rig) -> None:
    rig.wan_out(pieces(FLOW)[0])
    assert ident_of(rig.wan_out(pieces(OTHER.to(destination=REMOTE_2))[0]).data) == 99
    echo = packets.fragments(packets.echo(OTHER, LOAD, flags=0, id=99), 1480)
    assert {ident_of(rig.wan_out(frame).data) for frame in echo} == {99}


def test_an_id_that_was_given_in_place_of_another_is_taken_too(rig: Rig) -> None:
    """Even for the very host that has it there."""
    rig.wan_out(pieces(FLOW)[0])
    given = ident_of(rig.wan_out(pieces(OTHER)[0]).data)
    for flow in (FLOW, OTHER):
        assert ident_of(rig.wan_out(pieces(flow, given)[0]).data) != given


def test_ids_are_free_again_after_reassembly_gave_up(rig: Rig) -> None:
    rig.wan_out(pieces(FLOW)[0])
    table = tables.Table(rig.gateway._map_fd("fragment_ids"), tables.layout(abi.FragmentIdKey), tables.U64)
    ((key, value),) = table.items()
    now = ticks() >> 10
    table.put(key, (value & ~0xFFFF) | (now - 2) % 65536)
    assert ident_of(rig.wan_out(pieces(OTHER)[0]).data) == 99
    ((_, value),) = table.items()
    assert 28 <= ((value - now) & 0xFFFF) * 1.074 <= 33 and value >> 32 == abi.ip_to_be32(INSIDE_2)


def test_no_two_of_many_have_one_id(rig: Rig) -> None:
    """Forty hosts that all begin to count at 1; on a slow machine longer than an id is taken."""
    seen: dict[int, float] = {}
    for number in range(2, 42):
        for ident in range(1, 21):
            began = time.monotonic()
            out = rig.wan_out(pieces(FLOW.to(source=f"10.0.0.{number}"), ident)[0])
            given = ident_of(out.data)
            assert out.action == OK and began - seen.get(given, -math.inf) > TAKEN
            seen[given] = began


def test_ids_differ_on_a_hairpin(rig: Rig) -> None:
    """There the receiver sees one address too."""
    server = Flow(INSIDE_2, 8000, REMOTE, 53)
    open_session(rig, "udp", server)
    rig.configure(flags=abi.ConfigFlag.HAIRPIN | abi.ConfigFlag.FILTER_EIF)
    seen = []
    for source in (INSIDE, "10.0.0.4"):
        parts = pieces(Flow(source, 7000, PUBLIC, 8000))
        outs = [rig.lan(part) for part in parts]
        assert all(out.action == REDIRECT and packets.field(out.data, "IP_dst") == INSIDE_2 for out in outs)
        (one,) = {ident_of(out.data) for out in outs}
        seen.append(one)
    assert len(set(seen)) == 2


def test_what_comes_in_keeps_its_id(rig: Rig) -> None:
    open_session(rig, "udp")
    open_session(rig, "udp", OTHER)
    for flow in (FLOW, OTHER):
        for frame in pieces(answer(flow, flow.source_port)):
            assert ident_of(rig.wan_in(frame).data) == 99


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
    """BPF can't queue a packet: a copy goes to a live helper, bounded against a flood."""
    open_session(rig, "udp")
    rig.taken()
    rig.beat()
    head, tail, *_ = packets.fragments(packets.udp(FLOW, LOAD, flags=0, id=6), 1480)
    out = rig.wan_out(tail)
    assert out.action == SHOT and out.drops == {"fragment-early": 1}
    ((punt, frame),) = rig.taken()
    assert punt.kind == abi.PuntKind.TAIL and punt.dir == abi.Direction.OUT
    ttl = packets.field(tail, "IP_ttl")  # the stack had counted the hop: given back, since the TAP's way counts it
    packets.same(frame, packets.changed(tail, IP_ttl=ttl + 1))
    assert rig.wan_out(head).action == OK
    back = rig.tap(frame, abi.InjectKind.OUT)
    assert back.action == REDIRECT
    packets.same(tail[:1] + back.data[1:], packets.changed(tail, IP_src=PUBLIC, IP_ttl=ttl))


def test_a_tail_for_the_gateway_goes_back_to_its_stack(rig: Rig) -> None:
    """A long ping of the gateway whose tail came first: the head is for the stack, so the tail is too."""
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
    """RFC 1858, the tiny fragment: the ports would come in the second one."""
    open_session(rig, "tcp")
    head = packets.changed(packets.tcp(FLOW, b"", "S")[: 34 + 16], IP_len=36, IP_flags="MF")
    out = rig.wan_out(head)
    assert out.action == SHOT and out.drops == {"fragment-tiny": 1}


@pytest.mark.parametrize(("proto", "offset", "dropped"), [("tcp", 8, True), ("tcp", 16, True), ("tcp", 24, False),
                                                          ("udp", 8, False)])  # fmt: skip
@pytest.mark.parametrize("inbound", [False, True])
def test_a_tail_that_would_rewrite_the_header(rig: Rig, proto: str, offset: int, dropped: bool, inbound: bool) -> None:
    """RFC 1858, RFC 3128: the flags lie behind the first eight bytes. UDP's header no tail can reach."""
    open_session(rig, proto)
    flow = answer(FLOW, 40000) if inbound else FLOW
    send = rig.wan_in if inbound else rig.wan_out
    whole = frame_of(proto, flow, bytes(64), "A", id=7)
    head = packets.changed(whole[: 34 + 24], IP_len=20 + 24, IP_flags="MF")
    assert send(head).action != SHOT
    tail = packets.changed(whole[:34] + bytes(40), IP_len=60, IP_flags=0, IP_frag=offset // 8)
    out = send(tail)
    assert out.drops == ({"fragment-overlap": 1} if dropped else {}), out


@pytest.mark.parametrize(("proto", "room"), [("tcp", 8), ("tcp", 16), ("udp", 0)])
def test_a_first_fragment_that_ends_in_the_header(rig: Rig, proto: str, room: int) -> None:
    open_session(rig, proto)
    whole = frame_of(proto, FLOW, bytes(64), "A", id=7)
    head = packets.changed(whole[: 34 + room], IP_len=20 + room, IP_flags="MF")
    assert rig.wan_out(head).drops == {"fragment-tiny": 1}


def test_a_fragment_begins_no_watched_session(rig: Rig) -> None:
    """The gate sees whole segments or none."""
    rig.gateway.alg_ports.put(abi.ServiceKey(port=abi.be16(FLOW.destination_port), proto=17), 1)
    rig.beat()
    head, *tails = packets.fragments(packets.udp(FLOW, LOAD, flags=0, id=99), 1480)
    assert rig.wan_out(head).drops == {"fragment-control": 1}
    assert all(rig.wan_out(tail).action == SHOT for tail in tails)
