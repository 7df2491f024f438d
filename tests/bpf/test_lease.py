"""Leased port blocks in the kernel: what stops when, with nobody there who would tell it."""

from __future__ import annotations

import time
from ipaddress import IPv4Address

from algate.alg.gateway.fence import Fence
from algate.bpf import ticks
from algate.bpf.requests import ControlProgram
from tests.bpf.flows import answer, frame_of
from tests.bpf.rig import INSIDE, REDIRECT, REMOTE, SHOT, Rig
from tests.bpf.test_port_blocks import begin, flows, of_host, open_all
from tests.packets import Flow

OVER = 1  # ns since boot: long ago


def boot(seconds: float) -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) + int(seconds * 1e9)


def tick(seconds: float) -> int:
    return ticks.at(time.monotonic() + seconds)


def test_while_the_lease_lasts_nothing_is_different(rig: Rig) -> None:
    begin(rig, new_until=boot(60), gone_at=tick(60))
    open_all(rig, flows(3))
    assert of_host(rig, INSIDE)[0].used == 3


def test_after_it_no_port_is_given_out_and_the_rest_goes_on(rig: Rig) -> None:
    begin(rig, new_until=boot(60), gone_at=tick(60))
    (first, late) = flows(2)
    (port,) = open_all(rig, [first], "tcp")
    begin(rig, new_until=OVER, gone_at=tick(60))
    out = rig.lan(frame_of("tcp", late, flags="S"))
    assert out.action == SHOT and out.drops == {"no-lease": 1}
    back = rig.wan_in(frame_of("tcp", answer(first, port), flags="SA"))
    assert back.action == REDIRECT and back.drops == {}
    assert rig.lan(frame_of("tcp", first, flags="A")).drops == {}
    other = Flow(first.source, first.source_port, REMOTE, 8443)  # another session of the same mapping
    assert rig.lan(frame_of("tcp", other, flags="S")).action == REDIRECT
    assert ControlProgram(rig.gateway.fds["control"]).reserve(0, 6, 0, IPv4Address(INSIDE), 3000) is None


def test_a_fenced_node_of_a_pair_says_why_nothing_begins(rig: Rig) -> None:
    begin(rig)
    (first, late) = flows(2)
    (port,) = open_all(rig, [first], "tcp")
    Fence(rig.gateway).allow(boot(60) / 1e9)
    assert 59 < Fence(rig.gateway).left() <= 60
    assert rig.lan(frame_of("tcp", late, flags="S")).action == REDIRECT
    Fence(rig.gateway).shut()
    assert Fence(rig.gateway).left() == 0
    other = Flow(first.source, first.source_port, REMOTE, 8443)
    for one in (flows(3)[2], other):
        assert rig.lan(frame_of("tcp", one, flags="S")).drops == {"no-lease": 1}
    assert rig.wan_in(frame_of("tcp", answer(first, port), flags="SA")).action == REDIRECT


def test_once_the_blocks_may_be_anothers_nothing_of_them_passes(rig: Rig) -> None:
    begin(rig, new_until=boot(60), gone_at=tick(60))
    (first,) = flows(1)
    (port,) = open_all(rig, [first], "udp")
    assert rig.wan_in(frame_of("udp", answer(first, port))).action == REDIRECT
    begin(rig, new_until=OVER, gone_at=tick(-1))
    back = rig.wan_in(frame_of("udp", answer(first, port)))
    assert back.action == SHOT and back.drops == {"no-lease": 1}
    assert rig.lan(frame_of("udp", first)).action not in (REDIRECT, SHOT)  # the stack: it may be for the gateway itself
    out = rig.wan_out(frame_of("udp", first))
    assert out.action == SHOT and out.drops == {"no-lease": 1}


def test_what_is_over_stays_over_when_ticks_wrap(rig: Rig) -> None:
    """They wrap after 52 days, and 26 days after a daemon died its lease's end would lie ahead again: each packet that
    is refused long after it moves that end on."""
    begin(rig, new_until=boot(60), gone_at=tick(60))
    (first,) = flows(1)
    (port,) = open_all(rig, [first], "udp")
    days = (ticks.now() - (1 << 30)) % ticks.WRAP  # 13 days ago
    begin(rig, new_until=OVER, gone_at=days)
    for _ in range(2):
        assert rig.wan_in(frame_of("udp", answer(first, port))).drops == {"no-lease": 1}
    moved = rig.gateway.configs[0].gone_at
    assert 0 < ticks.distance(ticks.now(), moved) < 1 << 26
