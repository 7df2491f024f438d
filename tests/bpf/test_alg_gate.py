"""The gate on control sessions: payload leaves only under a decision for exactly its range and bytes."""

from __future__ import annotations

from typing import Any

import pytest

from algate.bpf import abi
from algate.bpf.abi import ConfigFlag, Direction, PuntKind, Verdict
from algate.bpf.abi import SessionState as State
from tests import packets
from tests.bpf.rig import HELPER_TIMEOUT, INSIDE, OK, PUBLIC, REDIRECT, SECOND, SHOT, Rig, ticks
from tests.bpf.watched import CONTROL, FIRST, FTP, IN, OUT, Watched, watch

LINE = b"PORT 10,0,0,2,195,80\r\n"
OPTIONS: list[tuple[Any, object]] = [
    ("MSS", 1400), ("SAckOK", b""), ("Timestamp", (77, 0)), ("NOP", None), ("WScale", 5),
]  # fmt: skip
STAMP: list[tuple[str, object]] = [("NOP", None), ("NOP", None), ("Timestamp", (5, 6))]
SIDES = [OUT, IN]


def test_opening_is_told_and_tracked(rig: Rig) -> None:
    session = watch(rig, OPTIONS)
    (punt, frame), *rest = rig.taken()
    assert not rest and frame == b"" and punt.kind == PuntKind.OPENED
    assert (punt.id, punt.alg, punt.dir) == (session.id, FTP, OUT)
    assert bytes(punt.key) == bytes(session.key)
    assert (str(abi.be32_to_ip(punt.public_ip)), abi.be16(punt.public_port)) == (PUBLIC, 40021)
    track = session.track()
    assert track.id == session.id
    assert list(track.isn) == [FIRST[OUT] - 1, FIRST[IN] - 1]
    assert list(track.next) == [FIRST[OUT], FIRST[IN]] and list(track.acked) == [FIRST[OUT], FIRST[IN]]
    assert list(track.mss) == [1400, 1400] and list(track.window_scale) == [5, 5]
    wanted = abi.TrackFlag.TIMESTAMPS | abi.TrackFlag.SACK | abi.TrackFlag.SYN_OUT | abi.TrackFlag.SYN_IN
    assert track.flags == wanted


def test_syn_without_options(watched: Watched) -> None:
    assert list(watched.track().mss) == [536, 536] and list(watched.track().window_scale) == [255, 255]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("load", [b"x", LINE, bytes(range(256)) * 5], ids=len)
def test_undecided_payload_is_held_and_copied(watched: Watched, side: Direction, load: bytes) -> None:
    frame = watched.frame(side, load, options=STAMP)
    out = watched.send(side, frame)
    assert out.action == SHOT and out.drops == {"punt-held": 1}
    assert out.counts == {"PUNTS": 1, "ALG_SEGMENTS": 1}
    ((punt, copy),) = watched.rig.taken()
    packets.same(copy, frame, "copy")
    assert (punt.kind, punt.id, punt.dir, punt.alg) == (PuntKind.SEGMENT, watched.id, side, FTP)
    assert (punt.seq, punt.payload_size, punt.tcp_flags) == (FIRST[side], len(load), 0x18)
    assert copy[punt.payload_offset : punt.payload_offset + punt.payload_size] == load
    assert copy[punt.ip_offset] == 0x45
    assert list(punt.acked) == [FIRST[OUT], FIRST[IN]]
    assert watched.track().ts_value[side] == 5


@pytest.mark.parametrize("side", SIDES)
def test_segments_without_payload_never_wait(watched: Watched, side: Direction) -> None:
    frame = watched.frame(side, b"", "A")
    out = watched.send(side, frame)
    assert out.action == REDIRECT
    packets.same(out.data, watched.expected(side, frame))
    assert watched.rig.taken() == []


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("size", [1, 7, 8, 9, 22, 63, 64, 1000, 1460, 1536])
def test_decided_payload_passes(watched: Watched, side: Direction, size: int) -> None:
    load = bytes((7 * n) % 256 for n in range(size))
    watched.rig.configure()
    frame = watched.frame(side, load)
    assert watched.send(side, frame).action == SHOT or size > 1460
    watched.decide(side, load)
    out = watched.inject(side, frame)
    if size > 1460:
        assert out.action == SHOT and out.drops == {"helper-too-big": 1}  # beyond the MTU: see test_small_links.py
        return
    assert out.action == REDIRECT and out.counts["DECISIONS_PASS"] == 1 and out.counts["REINJECTED"] == 1
    packets.same(out.data, watched.expected(side, frame))
    again = watched.send(side, frame)
    assert again.action == REDIRECT, "a retransmission meets the same decision"
    packets.same(again.data, watched.expected(side, frame))


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    "new", [b"P", LINE[:-1], LINE[::-1], LINE + b"1", b"PORT 203,0,113,1,255,255\r\n" * 20], ids=len
)
@pytest.mark.parametrize(
    "options", [[], [("NOP", None), ("NOP", None), ("Timestamp", (5, 6))]], ids=["bare", "stamped"]
)
def test_replaced_payload(watched: Watched, side: Direction, new: bytes, options: list[tuple[str, object]]) -> None:
    """Grown, shrunk, same; odd and even: IP length, both checksums and the bytes."""
    frame = watched.frame(side, LINE, options=options)
    watched.decide(side, LINE, Verdict.REPLACE, new)
    out = watched.inject(side, frame)
    assert out.action == REDIRECT and out.counts["DECISIONS_REPLACE"] == 1
    packets.same(out.data, watched.expected(side, frame, Raw_load=new))
    again = watched.send(side, frame)
    packets.same(again.data, watched.expected(side, frame, Raw_load=new), "retransmission")


def test_link_padding_isnt_payload(watched: Watched) -> None:
    """Ethernet pads short frames: what is decided and replaced ends where the IP header says."""
    frame = watched.frame(OUT, b"QU") + bytes(4)
    out = watched.send(OUT, frame)
    assert out.drops == {"punt-held": 1}
    ((punt, copy),) = watched.rig.taken()
    assert punt.payload_size == 2 and copy == frame
    watched.decide(OUT, b"QU", Verdict.REPLACE, b"NOOP")
    out = watched.send(OUT, frame)
    packets.same(out.data, watched.expected(OUT, frame[:-4], Raw_load=b"NOOP"))


@pytest.mark.parametrize("side", SIDES)
def test_a_decision_is_for_its_bytes_and_range_alone(watched: Watched, side: Direction) -> None:
    watched.decide(side, LINE)
    others = [
        watched.frame(side, LINE.replace(b"195", b"196")),
        watched.frame(side, LINE[:-1]),
        watched.frame(side, LINE + b"x"),
        watched.frame(side, LINE[1:], at=1),
        watched.frame(side, LINE, at=1),
        watched.frame(side, LINE, at=-1),
    ]
    for frame in others:
        out = watched.send(side, frame)
        assert out.action == SHOT and out.drops == {"punt-held": 1}
        out = watched.inject(side, frame)
        assert out.action == SHOT and out.drops == {"no-decision": 1}
    mirrored = watched.frame(Direction(1 - side), LINE, at=FIRST[side] - FIRST[Direction(1 - side)])
    assert watched.send(Direction(1 - side), mirrored).drops == {"punt-held": 1}


def test_a_decision_of_another_session_means_nothing(watched: Watched) -> None:
    watched.decide(OUT, LINE, id=watched.id + 256)
    assert watched.send(OUT, watched.frame(OUT, LINE)).drops == {"punt-held": 1}


@pytest.mark.parametrize("verdict", [0, 3])
def test_a_verdict_of_another_program_lets_nothing_pass(watched: Watched, verdict: int) -> None:
    watched.decide(OUT, LINE)
    key, decision = next(iter(watched.rig.gateway.decisions.items()))
    decision.verdict = verdict
    watched.rig.gateway.decisions.put(key, decision)
    assert watched.send(OUT, watched.frame(OUT, LINE)).drops == {"rewrite-failed": 1}


@pytest.mark.parametrize("beat", [0, 1])
def test_without_helper_payload_is_held(watched: Watched, beat: int) -> None:
    """Dead (never a sign of life) or hung (an old one): decided ranges pass, the rest waits."""
    watched.decide(OUT, LINE)
    watched.rig.gateway.heartbeat.put(0, (ticks() - HELPER_TIMEOUT - SECOND) % 2**32 if beat else 0)
    assert watched.send(OUT, watched.frame(OUT, b"NOOP\r\n", at=40)).drops == {"helper-dead": 1}
    assert watched.rig.taken() == []
    assert watched.send(OUT, watched.frame(OUT, LINE)).action == REDIRECT
    assert watched.send(OUT, watched.frame(OUT, b"", "A")).action == REDIRECT


def test_a_beat_just_ahead_of_the_kernels_clock_is_alive(watched: Watched) -> None:
    """The kernel's coarse clock lags by a timer interrupt: with fail = "open" a wrong verdict would bypass for good."""
    watched.rig.gateway.heartbeat.put(0, (ticks() + SECOND) % 2**32)
    assert watched.send(OUT, watched.frame(OUT, LINE)).drops == {"punt-held": 1}


def test_fail_open_passes_what_is_undecided_and_rewrites_what_is_decided(watched: Watched) -> None:
    """DESIGN invariant 1."""
    watched.decide(OUT, LINE, Verdict.REPLACE, LINE + b"1")
    watched.rig.configure(flags=ConfigFlag.FAIL_OPEN)
    watched.rig.gateway.heartbeat.put(0, 0)
    frame = watched.frame(OUT, b"NOOP\r\n", at=40)
    out = watched.send(OUT, frame)
    assert out.action == REDIRECT and out.counts["FAIL_OPEN"] == 1
    packets.same(out.data, watched.expected(OUT, frame))
    decided = watched.frame(OUT, LINE)
    packets.same(watched.send(OUT, decided).data, watched.expected(OUT, decided, Raw_load=LINE + b"1"))
    watched.rig.beat()
    later = watched.frame(OUT, b"NOOP\r\n", at=80)
    assert watched.send(OUT, later).action == REDIRECT, "bypassed until it ends"


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("owes", [False, True])
def test_fail_open_leaves_no_gap_and_no_second_version(watched: Watched, side: Direction, owes: bool) -> None:
    """What its receiver lacks, or may have rewritten, only the next helper can send: until then no end is led on."""
    watched.rig.configure(flags=ConfigFlag.FAIL_OPEN)
    watched.rig.gateway.heartbeat.put(0, 0)
    done = [FIRST[OUT], FIRST[IN]]
    done[side] += 0 if owes else 5
    watched.adjust(decided=(done[0], done[1]), flags=abi.AdjustFlag.OWED if owes else 0)
    rest = watched.frame(side, b"RT 1\r\n", at=2)
    assert watched.send(side, rest).drops == {"helper-dead": 1}
    watched.adjust(decided=(done[0], done[1]))
    later = watched.frame(side, b"NOOP\r\n", at=40)
    assert watched.send(side, later).action == REDIRECT
    if not owes:
        assert watched.send(side, rest).drops == {"helper-dead": 1}, "left alone, but for what was decided"


def test_fail_open_holds_while_the_helper_lives(watched: Watched) -> None:
    watched.rig.configure(flags=ConfigFlag.FAIL_OPEN)
    assert watched.send(OUT, watched.frame(OUT, LINE)).drops == {"punt-held": 1}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("flags", ["FA", "RA"])
def test_an_end_beyond_what_is_decided_waits(watched: Watched, side: Direction, flags: str) -> None:
    """Otherwise the receiver would see a truncated stream."""
    assert watched.send(side, watched.frame(side, LINE)).drops == {"punt-held": 1}
    watched.rig.taken()
    end = watched.frame(side, b"", flags, at=len(LINE))
    out = watched.send(side, end)
    assert out.action == SHOT and out.drops == {"punt-held": 1}
    ((punt, _),) = watched.rig.taken()
    assert punt.payload_size == 0 and punt.seq == FIRST[side] + len(LINE)
    done = [FIRST[OUT], FIRST[IN]]
    done[side] += len(LINE)
    watched.adjust(decided=(done[0], done[1]))
    out = watched.send(side, end)
    assert out.action == REDIRECT
    packets.same(out.data, watched.expected(side, end))


@pytest.mark.parametrize("flags", ["FA", "RA", "R"])
def test_an_end_at_what_is_decided_goes_on(watched: Watched, flags: str) -> None:
    assert watched.send(OUT, watched.frame(OUT, b"", flags)).action == REDIRECT


def test_syn_with_payload_is_refused(rig: Rig) -> None:
    """TCP Fast Open: no data may reach the server before the helper sees it."""
    rig.beat()
    rig.gateway.alg_ports.put(abi.ServiceKey(port=abi.be16(21), proto=6), FTP)
    out = rig.lan(packets.tcp(CONTROL, b"USER x\r\n", "S"))
    assert out.action == SHOT and out.drops == {"syn-payload": 1}


@pytest.mark.parametrize("how", ["helper", "md5"])
def test_bypassed_payload_passes(rig: Rig, how: str) -> None:
    watched = watch(rig, [(19, bytes(16))] if how == "md5" else None)
    rig.taken()
    if how == "helper":
        watched.adjust(flags=abi.AdjustFlag.BYPASS)
    frame = watched.frame(OUT, LINE)
    out = watched.send(OUT, frame)
    assert out.action == REDIRECT and rig.taken() == []
    packets.same(out.data, watched.expected(OUT, frame))


def test_a_fragmented_control_segment_is_refused(watched: Watched) -> None:
    head, *_ = packets.fragments(watched.frame(OUT, bytes(600)), 200)
    out = watched.rig.wan_out(head)
    assert out.action == SHOT and out.drops == {"fragment-control": 1}


def test_a_segment_larger_than_decisions_is_always_punted(watched: Watched) -> None:
    """This includes GSO frames."""
    for size in (abi.DIGEST_MAX + 1, 3000):  # a test-run takes a page; the netns rung has 60 KB
        frame = watched.frame(OUT, bytes(size))
        out = watched.rig.wan_out(frame)
        assert out.action == SHOT and out.drops == {"punt-held": 1}, size
        # The stack has counted the hop; the way back by the shortcut will count it again.
        (copy,) = [copy for _, copy in watched.rig.taken()]
        packets.same(copy, packets.changed(frame, IP_ttl=packets.field(frame, "IP_ttl") + 1))


def test_growth_beyond_the_mtu_never_leaves_half_done(watched: Watched) -> None:
    load = bytes(1460)
    watched.decide(OUT, load, Verdict.REPLACE, load + b"grown")
    frame = watched.frame(OUT, load)
    out = watched.send(OUT, frame)
    assert out.action == SHOT or (out.action == OK and out.data == frame)


def test_a_new_generation_forgets_the_old(watched: Watched) -> None:
    """The same 5-tuple again, after the end: decisions, shifts and tracks of the old session mean nothing."""
    watched.decide(OUT, LINE)
    watched.adjust(out=[(1000, 1010, 0, 5)], decided=(9000, 9000))
    watched.send(OUT, watched.frame(OUT, b"", "RA"))
    again = watch(watched.rig)
    assert again.id != watched.id and again.track().id == again.id
    assert again.rig.gateway.adjusts.get(again.key) is None
    again.rig.taken()
    assert again.send(OUT, again.frame(OUT, LINE)).drops == {"punt-held": 1}
    ack = again.frame(OUT, b"", "A", at=30)
    packets.same(again.send(OUT, ack).data, again.expected(OUT, ack))


@pytest.mark.parametrize("side", SIDES)
def test_frames_of_the_helper_need_no_stack(watched: Watched, side: Direction) -> None:
    """What the stack had to see (a TTL of 1, IP options) comes back by the TAP, past the stack."""
    for fields in ({"ttl": 1}, {"ip_options": b"\x07\x07\x04\0\0\0\0\0"}):
        frame = watched.frame(side, LINE, **fields)
        watched.decide(side, LINE)
        out = watched.inject(side, frame)
        assert out.action == REDIRECT and out.drops == {}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("how", ["helper", "fail-open"])
def test_what_was_decided_is_rewritten_after_a_bypass(watched: Watched, side: Direction, how: str) -> None:
    """A retransmission of the rewritten line may come after the bypass (DESIGN invariant 1)."""
    watched.decide(side, LINE, Verdict.REPLACE, LINE + b"1")
    if how == "helper":
        watched.adjust(flags=abi.AdjustFlag.BYPASS)
    else:
        watched.rig.configure(flags=ConfigFlag.FAIL_OPEN)
        watched.rig.gateway.heartbeat.put(0, 0)
        assert watched.send(side, watched.frame(side, b"more", at=90)).action == REDIRECT
    frame = watched.frame(side, LINE)
    for out in (watched.send(side, frame), watched.inject(side, frame)):
        assert out.action == REDIRECT
        packets.same(out.data, watched.expected(side, frame, Raw_load=LINE + b"1"))
    other = watched.frame(side, b"other", at=60)
    for out in (watched.send(side, other), watched.inject(side, other)):
        packets.same(out.data, watched.expected(side, other))


def test_other_sessions_never_wait(watched: Watched) -> None:
    """DESIGN invariant 5."""
    watched.rig.gateway.heartbeat.put(0, 0)
    other = CONTROL.to(destination_port=80)
    assert watched.rig.lan(packets.tcp(other, b"", "S")).action == REDIRECT
    assert watched.rig.lan(packets.tcp(other, b"GET", "PA")).action == REDIRECT
    assert str(abi.be32_to_ip(watched.key.inside_ip)) == INSIDE


@pytest.mark.parametrize("shifted", [False, True])
def test_both_ends_forgot_the_connection(watched: Watched, shifted: bool) -> None:
    """The outside answers a SYN of the inside that began nothing here: the session is over, and the SYN that comes
    again begins the next. Who answers without having seen it ends nothing."""
    if shifted:
        watched.adjust(out=[(FIRST[OUT], FIRST[OUT] + 20, 0, 4)], decided=(FIRST[OUT] + 20, FIRST[IN]))
    syn = watched.frame(OUT, b"", "S", at=10**9, ack=0)
    out = watched.send(OUT, syn)
    assert out.action == REDIRECT and state_of(watched) == State.ESTABLISHED
    number = packets.field(out.data, "TCP_seq") + 1
    for guess in (number - 1, number + 1, FIRST[OUT]):
        assert watched.send(IN, watched.frame(IN, b"", "SA", at=7 * 10**8, ack=guess)).action in (SHOT, REDIRECT)
        assert state_of(watched) == State.ESTABLISHED
    answer = watched.frame(IN, b"", "SA", at=7 * 10**8, ack=number)
    assert watched.send(IN, answer).drops == {"out-of-window": 1}
    assert state_of(watched) == State.RESET
    assert watched.send(OUT, syn).action == REDIRECT
    session = watched.rig.gateway.sessions[watched.key]
    assert session.state & 0xFF == State.NEW and session.id != watched.id
    assert watched.send(IN, watched.frame(IN, b"", "SA", at=7 * 10**8, ack=FIRST[OUT] + 10**9 + 1)).action == REDIRECT


def test_a_syn_ack_that_answers_no_syn_ends_nothing(watched: Watched) -> None:
    for number in (0, 1, FIRST[OUT]):
        watched.send(IN, watched.frame(IN, b"", "SA", at=7 * 10**8, ack=number))
        assert state_of(watched) == State.ESTABLISHED


def state_of(watched: Watched) -> State:
    return State(watched.rig.gateway.sessions[watched.key].state & 0xFF)
