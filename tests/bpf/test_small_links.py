"""Control packets larger than their way out takes: nobody waits for what can't leave, and the helper hears of it."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from algate.bpf import abi, syscall
from algate.bpf.abi import Direction, InjectKind, PuntKind, Verdict
from tests import packets
from tests.bpf.flows import answer
from tests.bpf.rig import INSIDE, LAN, OK, PUBLIC, REDIRECT, REMOTE, SHOT, UDP, WAN, Rig
from tests.bpf.watched import CONTROL, FIRST, IN, OUT, Watched, watch
from tests.packets import GATEWAY_LAN_MAC, GATEWAY_WAN_MAC, LAN_MAC, WAN_MAC, Flow

LINE = b"PORT 10,0,0,2,195,80\r\n"
BIG = bytes(range(250)) * 5 + b"x" * 120  # 1370 bytes: with headers more than 1400
SIDES = [OUT, IN]
HOP = "192.0.2.9"
TFTP = 3


def reason(name: str) -> int:
    return next(number for number, (one, _) in abi.reasons().items() if one == name)


@contextmanager
def mtu(device: str, size: int) -> Iterator[None]:
    subprocess.run(["ip", "link", "set", device, "mtu", str(size)], check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "link", "set", device, "mtu", "1500"], check=True)


@pytest.fixture
def small() -> Iterator[None]:
    """Both links take 1400 bytes."""
    with mtu(LAN, 1400), mtu(WAN, 1400):
        yield


@pytest.mark.parametrize("side", SIDES)
def test_a_punt_says_what_the_way_out_takes(watched: Watched, side: Direction) -> None:
    with mtu(WAN if side == OUT else LAN, 1280):
        assert watched.send(side, watched.frame(side, LINE)).drops == {"punt-held": 1}
    ((punt, _),) = watched.rig.taken()
    assert (punt.kind, punt.mtu) == (PuntKind.SEGMENT, 1280)
    assert watched.send(side, watched.frame(side, LINE + LINE)).drops == {"punt-held": 1}
    ((punt, _),) = watched.rig.taken()
    assert punt.mtu == 1500, "an answer of before is believed"


@pytest.mark.parametrize("decided", [False, True])
def test_too_big_from_outside_goes_to_the_helper_to_tell_its_sender(
    watched: Watched, small: None, decided: bool
) -> None:
    frame = watched.frame(IN, BIG)
    if decided:
        watched.decide(IN, BIG)
    out = watched.send(IN, frame)
    assert out.action == SHOT and out.drops == {"too-big": 1} and out.counts["TOO_BIG"] == 1
    ((punt, copy),) = watched.rig.taken()
    assert (punt.kind, punt.dir, punt.id, punt.mtu) == (PuntKind.TOO_BIG, IN, watched.id, 1400)
    assert (punt.seq, punt.payload_size, punt.lines & 0xFFFF) == (FIRST[IN], len(BIG), 1)
    packets.same(copy, frame, "copy")
    assert watched.track().next[IN] == FIRST[IN] + len(BIG)


def _may_fragment(frame: bytes) -> bytes:
    return packets.changed(frame, IP_flags=0)


def test_too_big_from_inside_is_the_stack_s_to_tell(watched: Watched, small: None) -> None:
    frame = watched.frame(OUT, BIG)
    out = watched.send(OUT, frame)
    assert out.action == OK and out.drops == {} and out.counts == {"TOO_BIG": 1} and watched.rig.taken() == []
    packets.same(out.data, frame, "untranslated")


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("decided", [False, True])
def test_what_may_be_fragmented_the_helper_cuts(watched: Watched, small: None, side: Direction, decided: bool) -> None:
    if decided:
        watched.decide(side, BIG)
    out = watched.send(side, _may_fragment(watched.frame(side, BIG)))
    assert out.action == SHOT and out.drops == {"punt-held": 1} and "TOO_BIG" not in out.counts
    ((punt, _),) = watched.rig.taken()
    assert (punt.kind, punt.mtu) == (PuntKind.SEGMENT, 1400)


@pytest.mark.parametrize("size", [1348, 1360])
def test_of_a_super_packet_each_segment_counts(watched: Watched, small: None, size: int) -> None:
    frame = watched.frame(IN, BIG * 2, options=[("NOP", None), ("NOP", None), ("Timestamp", (5, 6))])
    out = watched.rig.wan_in(frame, gso_size=size)
    ((punt, _),) = watched.rig.taken()
    assert punt.kind == (PuntKind.SEGMENT if size == 1348 else PuntKind.TOO_BIG)
    assert out.drops == {"punt-held" if size == 1348 else "too-big": 1} and punt.payload_size == len(BIG) * 2


def test_without_a_helper_the_stack_tells(watched: Watched, small: None) -> None:
    """Of what was decided; what wasn't waits for a helper as ever."""
    watched.rig.gateway.heartbeat.put(0, 0)
    frame = watched.frame(IN, BIG)
    assert watched.send(IN, frame).drops == {"helper-dead": 1}
    watched.decide(IN, BIG)
    out = watched.send(IN, frame)
    assert out.action == OK and out.drops == {} and watched.rig.taken() == []


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("wire", [False, True])
def test_what_the_helper_made_too_big_is_told_to_it(watched: Watched, small: None, side: Direction, wire: bool) -> None:
    """Its own frame, and a sender's repetition that its decision makes longer than the way takes."""
    new = LINE + b"+" * 1350
    watched.decide(side, LINE, Verdict.REPLACE, new)
    frame = watched.frame(side, LINE)
    out = watched.send(side, frame) if wire else watched.inject(side, frame)
    assert out.action == SHOT and out.drops == {"helper-too-big": 1}
    ((punt, start),) = watched.rig.taken()
    assert (punt.kind, punt.id, punt.dir, punt.mtu) == (PuntKind.UNSENT, watched.id, side, 1400)
    assert punt.seq == reason("helper-too-big") and len(start) == 34


@pytest.mark.parametrize("side", SIDES)
def test_so_is_a_finished_frame(watched: Watched, small: None, side: Direction) -> None:
    frame = watched.expected(side, watched.frame(side, BIG))
    kind = InjectKind.RAW_OUT if side == OUT else InjectKind.RAW_IN
    out = watched.rig.tap(frame, kind)
    assert out.action == SHOT and out.drops == {"helper-too-big": 1}
    ((punt, _),) = watched.rig.taken()
    assert (punt.kind, punt.id, punt.dir, punt.mtu) == (PuntKind.UNSENT, watched.id, side, 1400)
    fits = watched.rig.tap(watched.expected(side, watched.frame(side, BIG[:1360])), kind)
    assert fits.action == REDIRECT and watched.rig.taken() == []


def test_a_finished_frame_of_nobody(watched: Watched, small: None) -> None:
    frame = packets.tcp(answer(CONTROL, 40021).to(destination=INSIDE, destination_port=9), BIG, "PA")
    assert watched.rig.tap(frame, InjectKind.RAW_IN).drops == {"helper-too-big": 1}
    ((punt, _),) = watched.rig.taken()
    assert (punt.kind, punt.id) == (PuntKind.UNSENT, 0)


def test_a_frame_without_a_way_has_another_reason(watched: Watched) -> None:
    frame = packets.tcp(CONTROL.to(destination="10.99.0.1"), b"x", "PA")
    subprocess.run(["ip", "route", "add", "unreachable", "10.99.0.0/16"], check=True)
    try:
        assert watched.rig.tap(frame, InjectKind.RAW_OUT).drops == {"no-route": 1}
    finally:
        subprocess.run(["ip", "route", "del", "unreachable", "10.99.0.0/16"], check=True)
    ((punt, _),) = watched.rig.taken()
    assert (punt.kind, punt.seq) == (PuntKind.UNSENT, reason("no-route"))
    astray = watched.rig.tap(packets.tcp(answer(CONTROL, 40021).to(destination="203.0.113.77"), b"x"), InjectKind.IN)
    assert astray.action == SHOT and set(astray.drops) <= {"helper-astray", "not-ours"}


def test_what_nobody_may_rewrite_is_left_to_the_stack(rig: Rig, small: None) -> None:
    """TCP-MD5: its sender is told as ever; without DF the stack fragments it."""
    session = watch(rig, [(19, bytes(16))])
    rig.taken()
    frame = session.frame(IN, BIG)
    assert session.send(IN, frame).drops == {"too-big": 1}
    assert session.send(IN, _may_fragment(frame)).action == OK


# -- routers farther away ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("at", [0, 700, -2, 2000])
def test_a_router_s_word_reaches_the_helper(watched: Watched, side: Direction, at: int) -> None:
    """If it is about something that may be under way (RFC 5927 section 4.1)."""
    frame = watched.frame(side, BIG)
    assert watched.send(side, frame).drops == {"punt-held": 1}
    watched.rig.taken()
    seen = watched.expected(side, watched.frame(side, BIG, at=at))
    if side == OUT:
        error = packets.icmp_error(Flow(HOP, 0, PUBLIC, 0, WAN_MAC, GATEWAY_WAN_MAC), seen, mtu=1300)
        out = watched.rig.wan_in(error)
    else:
        error = packets.icmp_error(Flow(INSIDE, 0, REMOTE, 0, LAN_MAC, GATEWAY_LAN_MAC), seen, mtu=1300)
        out = watched.rig.wan_out(error)
    told = watched.rig.taken()
    if not 0 <= at <= len(BIG):
        assert told == [] and out.drops == {"icmp-window": 1}
        return
    assert out.action == OK
    ((punt, empty),) = told
    assert (punt.kind, punt.id, punt.dir, punt.mtu) == (PuntKind.PATH, watched.id, side, 1300)
    assert punt.payload_size == len(seen) - 14 and empty == b""


@pytest.mark.parametrize(("kind", "code"), [(3, 1), (11, 0), (3, 13)])
def test_other_errors_don_t(watched: Watched, kind: int, code: int) -> None:
    watched.send(OUT, watched.frame(OUT, BIG))
    watched.rig.taken()
    seen = watched.expected(OUT, watched.frame(OUT, BIG))
    error = packets.icmp_error(Flow(HOP, 0, PUBLIC, 0, WAN_MAC, GATEWAY_WAN_MAC), seen, kind, code, mtu=1300)
    assert watched.rig.wan_in(error).action == OK and watched.rig.taken() == []


# -- what else makes segments smaller ----------------------------------------------------------------------------------


def test_a_clamped_mss_is_what_the_helper_cuts_by(rig: Rig) -> None:
    rig.configure(mss_clamp=1000)
    session = watch(rig, [("MSS", 1460)])
    assert list(session.track().mss) == [1000, 1000]


# -- datagrams ---------------------------------------------------------------------------------------------------------

ASK = Flow(INSIDE, 40069, REMOTE, 69)


@pytest.fixture
def asked(rig: Rig) -> Rig:
    rig.beat()
    rig.gateway.alg_ports.put(abi.ServiceKey(port=abi.be16(69), proto=UDP), TFTP)
    rig.lan(packets.udp(ASK, b"x"))
    rig.taken()
    return rig


def test_datagrams_too(asked: Rig, small: None) -> None:
    back = packets.udp(answer(ASK, 40069), BIG + b"y" * 20)
    assert asked.wan_in(back).drops == {"too-big": 1}
    ((punt, copy),) = asked.taken()
    assert (punt.kind, punt.mtu, punt.payload_size) == (PuntKind.TOO_BIG, 1400, len(BIG) + 20)
    packets.same(copy, back)
    assert asked.wan_in(_may_fragment(back)).drops == {"punt-held": 1}
    ((punt, _),) = asked.taken()
    assert (punt.kind, punt.mtu) == (PuntKind.SEGMENT, 1400)
    big = packets.udp(ASK, BIG + b"y" * 20)
    assert asked.lan(big).action == OK and asked.taken() == []
    assert asked.lan(_may_fragment(big)).drops == {"punt-held": 1}
    assert asked.tap(back, InjectKind.IN).drops == {"helper-too-big": 1}


@pytest.mark.parametrize("side", SIDES)
def test_what_surely_fits_is_not_weighed(watched: Watched, side: Direction) -> None:
    """Acknowledgements, and what was decided, unless it is large; what the helper sees is."""
    gateway = watched.rig.gateway
    for load in (LINE, BIG):
        watched.decide(side, load)
    stages = gateway._map_fd("stages")
    syscall.delete(stages, struct.pack("=I", abi.Stage.WEIGH))
    try:
        for frame in (watched.frame(side, b"", "A"), watched.frame(side, LINE)):
            out = watched.send(side, frame)
            assert out.action == REDIRECT and out.drops == {}
        for frame in (watched.frame(side, BIG), watched.frame(side, LINE + LINE)):
            assert watched.send(side, frame).drops == {"rewrite-failed": 1}
    finally:
        gateway.install_stages()


def test_what_needs_the_stack_goes_there_unread(watched: Watched) -> None:
    """It meets the gate at WAN egress."""
    frame = packets.changed(watched.frame(OUT, LINE), IP_ttl=1)
    out = watched.send(OUT, frame)
    assert out.action == OK and out.drops == {} and watched.rig.taken() == []
    packets.same(out.data, frame, "untranslated")
