"""The engine as transcripts: a segment comes, these effects follow."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from algate.alg.engine import effects as fx
from algate.alg.engine.expectations import LOOKS_MOST
from algate.alg.engine.frames import ACK, FIN, PSH, RST, URG
from algate.alg.engine.limits import Limits
from algate.alg.plugin.model import Action, Control, Conversation, EndPoint, Pass, Reserve, Side
from tests.kernel_model import Packet, parse
from tests.toy import ANSWER, Toy
from tests.wire import INFO, INSIDE, PUBLIC, REMOTE, Lab


def names(effects: list[fx.Effect]) -> list[str]:
    return [type(effect).__name__ for effect in effects]


def injected(lab: Lab) -> list[tuple[int, Packet]]:
    return [(e.kind, parse(e.frame)) for e in lab.effects if isinstance(e, fx.Inject)]


def say(lab: Lab, text: bytes, flags: int = ACK | PSH) -> None:
    """The inside end sends these bytes in one segment, which reaches the gateway."""
    end = lab.inside
    end.stream += text
    lab.submit(end.send(end.sent, len(text))._replace(flags=flags))


def hear(lab: Lab, text: bytes) -> None:
    """The same for the outside end."""
    end = lab.outside
    end.stream += text
    lab.submit(end.send(end.sent, len(text)))


def test_a_whole_line_passes_as_it_came() -> None:
    lab = Lab()
    say(lab, b"noop\n")
    assert names(lab.effects) == ["PutAdjust", "PutDecision", "Inject"]
    adjust, decision, frame = lab.effects
    assert isinstance(adjust, fx.PutAdjust) and adjust.record.decided == (1006, 5001)
    assert isinstance(decision, fx.PutDecision) and (decision.seq, decision.size, decision.new) == (1001, 5, None)
    assert isinstance(frame, fx.Inject) and parse(frame.frame).payload == b"noop\n"
    lab.run()
    assert lab.outside.got == b"noop\n" and lab.inside.una == 5


def test_a_replacement_of_another_length_shifts_what_follows_and_what_comes_back() -> None:
    lab = Lab()
    say(lab, b"grow 007\n")
    assert names(lab.effects) == ["KeepHeld", "PutAdjust", "PutDecision", "Inject"]
    lab.run()
    assert lab.outside.got == b"grow 007+++++++\n"
    assert lab.inside.una == 9
    say(lab, b"noop\n")
    lab.run()
    assert lab.outside.got == b"grow 007+++++++\nnoop\n" and lab.inside.una == 14


def test_pipelined_lines_in_one_segment_leave_in_one() -> None:  # FTP-33
    lab = Lab()
    say(lab, b"noop\ngrow 003\nshrink..\nnoop\n")
    assert names(lab.effects) == ["KeepHeld", "PutAdjust", "PutDecision", "Inject"]
    lab.run()
    assert lab.outside.got == b"noop\ngrow 003+++\ns\nnoop\n"
    assert lab.outside.sizes == [len(lab.outside.got)]


def test_expectation_then_adjust_then_decision_then_frame() -> None:  # FTP-66
    lab = Lab()
    say(lab, b"expect\n")
    assert names(lab.effects) == ["PutExpectation", "PutAdjust", "PutDecision", "Inject"]
    made = lab.effects[0]
    assert isinstance(made, fx.PutExpectation)
    one = made.expectation
    assert (one.state, one.from_ip, one.direction) == (fx.EXPECT_PENDING, REMOTE, fx.IN)
    assert (one.to.ip.packed, one.to.port, one.inside) == (PUBLIC, 40000, (lab.toys[0].control.inside.ip, 5001))
    assert one.expires == lab.now + 60


def test_an_identical_repetition_meets_its_decision() -> None:  # FTP-46
    lab = Lab()
    say(lab, b"expect\n")
    before = dict(lab.kernel.expectations)
    lab.effects = []
    lab.submit(lab.inside.send(0, 7))
    assert lab.effects == []
    assert lab.kernel.expectations == before and len(lab.queue) == 2


def test_a_repetition_cut_otherwise_is_rebuilt_from_the_stream() -> None:  # FTP-47
    lab = Lab()
    say(lab, b"grow 002\n")
    say(lab, b"noop\n")
    lab.queue.clear()
    lab.submit(lab.inside.send(2, 9))
    assert [p.payload for _, p in injected(lab)] == [b"grow 002\n", b"noop\n"]
    lab.run()
    assert lab.outside.got == b"grow 002++\nnoop\n"


def test_a_repetition_of_what_has_arrived_brings_the_acknowledgement_again() -> None:
    lab = Lab()
    say(lab, b"noop\n")
    lab.run()
    lab.submit(lab.inside.send(0, 5)._replace(payload=b"n"))
    ((kind, packet),) = injected(lab)
    assert (kind, packet.seq, packet.payload) == (fx.INJECT_OUT, 1001, b"")


def test_a_keepalive_byte_is_not_taken_for_data() -> None:  # FTP-53
    lab = Lab()
    say(lab, b"noop\n")
    lab.run()
    lab.submit(lab.inside.packet(ACK, seq=1005)._replace(payload=b"\0"))
    assert [p.payload for _, p in injected(lab)] == [b""]
    say(lab, b"noop\n")
    lab.run()
    assert lab.outside.got == b"noop\nnoop\n"


def test_conflicting_bytes_never_replace_the_first() -> None:  # FTP-50
    lab = Lab()
    say(lab, b"noop\n")
    lab.submit(lab.inside.send(0, 5)._replace(payload=b"evil\n"))
    assert [p.payload for _, p in injected(lab)] == [b"noop\n"]
    lab.run()
    assert lab.outside.got == b"noop\n"


def test_a_race_of_repetition_and_verdict() -> None:  # FTP-48
    lab = Lab()
    lab.inside.stream = b"expect\n"
    for _ in range(3):
        lab.kernel.segment(fx.OUT, lab.inside.send(0, 7))
    lab.think()
    assert lab.kernel.ever_expected == 1
    lab.run()
    assert lab.outside.got == b"expect\n"


def test_a_gap_waits_for_its_bytes() -> None:  # FTP-49
    lab = Lab()
    lab.inside.stream = b"grow 002\nnoop\n"
    lab.submit(lab.inside.send(9, 5))
    assert lab.effects == []
    lab.submit(lab.inside.send(0, 9))
    lab.run()
    assert lab.outside.got == b"grow 002++\nnoop\n"


@pytest.mark.parametrize("bad", ["sum", "ahead", "behind"])
def test_segments_that_the_receiver_would_not_take(bad: str) -> None:  # FTP-51
    lab = Lab()
    packet = lab.inside.packet(ACK, seq={"ahead": 1001 + 70000, "behind": 1001 - (1 << 21)}.get(bad, 1001))
    packet = packet._replace(payload=b"expect\n")
    lab.kernel.segment(fx.OUT, packet)
    if bad == "sum":
        frame = bytearray(lab.punts[0].frame)
        frame[-2] ^= 1
        lab.punts[0] = lab.punts[0]._replace(frame=bytes(frame))
    lab.think()
    assert lab.effects == [] and lab.kernel.ever_expected == 0
    assert lab.engine.counts["bad-checksum" if bad == "sum" else "out-of-window"] == 1


def test_a_stale_timestamp_brings_no_expectation() -> None:  # FTP-51
    lab = Lab(stamps=True)
    lab.inside.clock = 1000
    say(lab, b"noop\n")
    lab.effects = []
    lab.inside.stream += b"expect\n"
    old = lab.inside.send(5, 7)
    assert old.stamps is not None
    lab.submit(old._replace(stamps=(old.stamps[0] - 100, 1)))
    assert lab.effects == [] and lab.engine.counts["stale-timestamp"] == 1


def test_an_unfinished_checksum_is_finished() -> None:
    lab = Lab()
    lab.inside.stream = b"noop\n"
    lab.submit(lab.inside.send(0, 5), unfinished=True)
    lab.run()
    assert lab.outside.got == b"noop\n"


def test_an_unfinished_line_is_stored_and_then_acknowledged_for_the_receiver() -> None:  # FTP-32
    lab = Lab()
    say(lab, b"no")
    assert names(lab.effects) == ["KeepHeld", "PutAdjust", "Inject"]
    ((kind, packet),) = injected(lab)
    assert kind == fx.INJECT_RAW_IN
    assert (packet.src, packet.dst, packet.seq, packet.ack) == (REMOTE, INSIDE, 5001, 1003)
    say(lab, b"op\n")
    assert names(lab.effects) == ["KeepHeld", "PutAdjust", "PutDecision", "Inject"]
    lab.run()
    assert lab.outside.got == b"noop\n"
    lab.tick(10)
    assert lab.kernel.held == {}


def test_a_line_said_byte_by_byte() -> None:
    lab = Lab()
    for n in b"grow 004\n":
        say(lab, bytes([n]))
    lab.run()
    assert lab.outside.got == b"grow 004++++\n"


def test_the_outside_is_acknowledged_from_the_public_address() -> None:
    lab = Lab()
    hear(lab, b"22")
    ((kind, packet),) = injected(lab)
    assert kind == fx.INJECT_RAW_OUT
    assert (packet.src, packet.sport, packet.dst, packet.ack) == (PUBLIC, 4000, REMOTE, 5003)


def test_what_is_owed_is_repeated_until_it_is_acknowledged() -> None:
    lab = Lab()
    say(lab, b"no")
    say(lab, b"op\n")
    lab.queue.clear()
    lab.tick(0.2)
    assert lab.effects == []
    lab.tick(0.2)
    assert [p.payload for _, p in injected(lab)] == [b"noop\n"]
    lab.run()
    lab.tick(1)
    assert injected(lab) == [] and lab.outside.got == b"noop\n"


def test_a_tick_looks_at_some_timers_and_says_that_more_are_due() -> None:
    lab = Lab()
    lab.engine._timers[:] = [(lab.now, number) for number in range(1000, 1000 + 3 * LOOKS_MOST)]
    for left in (2, 1, 0):
        assert lab.engine.next_due() == lab.now
        lab.do(lab.engine.tick(lab.now))
        assert len(lab.engine._timers) == left * LOOKS_MOST
    assert lab.engine.next_due() > lab.now
    lab.engine._expectations._expiry[:] = [(lab.now, number) for number in range(2 * LOOKS_MOST)]
    acting = lab.engine._expectations._early._acting
    acting[:] = [(lab.now, number) for number in range(2 * LOOKS_MOST)]
    for left in (1, 0):
        lab.do(lab.engine.tick(lab.now))
        assert len(lab.engine._expectations._expiry) == len(acting) == left * LOOKS_MOST


def test_a_silent_receiver_ends_the_session() -> None:
    lab = Lab()
    say(lab, b"no")
    say(lab, b"op\n")
    for _ in range(80):
        lab.queue.clear()
        lab.tick(0.5)
    assert lab.kernel.reset == "receiver-silent"
    lab.submit(lab.inside.send(0, 5))
    assert lab.engine.counts["session-gone"] == 1


def test_no_acknowledgement_into_a_closed_window() -> None:
    lab = Lab()
    lab.kernel.tracked.window[1] = 0
    say(lab, b"no")
    assert lab.effects == []


def test_an_unfinished_line_behind_unacknowledged_ones_waits_for_them() -> None:
    lab = Lab()
    say(lab, b"noop\nno")
    assert [k for k, _ in injected(lab)] == [fx.INJECT_OUT]
    lab.run()
    lab.tick(0.06)
    assert [k for k, _ in injected(lab)] == [fx.INJECT_RAW_IN]


def test_growth_beyond_the_segment_makes_another() -> None:  # FTP-56
    lab = Lab(mss=(600, 600))
    say(lab, b"grow 040" + b"x" * 560 + b"\n")
    lab.run()
    assert lab.outside.got.endswith(b"+" * 40 + b"\n")
    assert lab.outside.sizes == [568, 41] and lab.inside.una == 569


def test_a_super_packet_is_cut_to_segments() -> None:  # FTP-58, FTP-89
    lab = Lab(stamps=True)
    text = b"".join(b"line %05d\n" % n for n in range(5000))
    hear(lab, text)
    lab.run()
    assert lab.inside.got == text
    assert max(lab.inside.sizes) == 1448 and lab.outside.una == len(text)


def test_the_urgent_byte_stays_the_same_byte() -> None:  # FTP-39
    lab = Lab()
    lab.inside.stream = b"shrink.\n\xff\xf4\xf2abor\n"
    lab.inside.sent = len(lab.inside.stream)
    packet = lab.inside.packet(ACK | URG, 0, len(lab.inside.stream))
    lab.kernel.segment(fx.OUT, packet)
    frame = lab.punts[0].frame
    tcp = frame[:52] + (11).to_bytes(2, "big") + frame[54:]
    from algate.alg.engine.frames import finish_checksum, urgent_pointer

    lab.punts[0] = lab.punts[0]._replace(frame=finish_checksum(tcp, 14, len(tcp)))
    lab.think()
    frames = [e.frame for e in lab.effects if isinstance(e, fx.Inject)]
    assert [parse(f).payload for f in frames] == [b"shrink.\n\xff\xf4\xf2", b"abor\n"]
    assert [urgent_pointer(f, 14) for f in frames] == [11, 0]
    record = lab.kernel.adjust
    assert record is not None and lab.kernel._shift(fx.OUT, 1001 + 11) == 1001 + 5


def test_fin_on_a_replaced_segment() -> None:  # FTP-54
    lab = Lab()
    lab.inside.fin_sent = True
    say(lab, b"grow 003\n", ACK | PSH | FIN)
    assert names(lab.effects) == ["KeepHeld", "PutAdjust", "PutDecision", "Inject"]
    lab.run()
    assert lab.outside.fin_got and lab.inside.fin_acked


def test_a_fin_waits_for_the_line_before_it_and_lets_an_unfinished_one_go() -> None:  # FTP-87
    lab = Lab()
    say(lab, b"qui")
    lab.inside.fin_sent = True
    lab.submit(lab.inside.packet(ACK | FIN, 3))
    assert [(p.payload, p.flags & FIN) for _, p in injected(lab)] == [(b"qui", FIN)]
    lab.run()
    assert lab.outside.got == b"qui" and lab.outside.fin_got


def test_a_fin_that_comes_first_waits_for_the_gap() -> None:
    lab = Lab()
    lab.inside.stream, lab.inside.fin_sent = b"noop\n", True
    lab.submit(lab.inside.packet(ACK | FIN, 5))
    assert injected(lab) == []
    lab.submit(lab.inside.packet(ACK | PSH, 0, 5))
    assert [(p.payload, p.flags & FIN) for _, p in injected(lab)] == [(b"noop\n", FIN)]


def test_rst_behind_an_unfinished_line_takes_its_place() -> None:
    lab = Lab()
    say(lab, b"grow 003\nqui")
    lab.run()
    lab.submit(lab.inside.packet(RST | ACK, 12))
    ((kind, packet),) = injected(lab)
    assert kind == fx.INJECT_OUT and (packet.seq, packet.payload) == (1010, b"") and packet.flags & RST
    lab.run()
    assert lab.outside.reset and lab.kernel.held == {}


def test_a_guessed_rst_is_not_made_right() -> None:  # RFC 5961
    lab = Lab()
    say(lab, b"qui")
    lab.effects = []
    lab.submit(lab.inside.packet(RST, 7))
    assert lab.effects == [] and lab.engine.counts["rst-out-of-window"] == 1


def test_a_refusal_is_answered_and_the_next_line_works() -> None:  # FTP-88
    lab = Lab()
    say(lab, b"deny this\n")
    assert names(lab.effects) == ["KeepHeld", "KeepHeld", "PutAdjust", "Inject"]
    ((kind, packet),) = injected(lab)
    assert (kind, packet.payload, packet.seq, packet.ack) == (fx.INJECT_RAW_IN, ANSWER, 5001, 1011)
    lab.run()
    assert lab.inside.got == ANSWER and lab.inside.una == 10 and lab.outside.got == b""
    say(lab, b"noop\n")
    lab.run()
    hear(lab, b"200\n")
    lab.run()
    assert lab.outside.got == b"noop\n" and lab.inside.got == ANSWER + b"200\n"
    assert lab.inside.una == 15 and lab.outside.una == 4
    lab.tick(5)
    assert lab.kernel.held == {}


def test_an_answer_is_repeated_until_it_is_acknowledged() -> None:
    lab = Lab()
    say(lab, b"deny\n")
    lab.queue.clear()
    lab.tick(0.4)
    assert [p.payload for _, p in injected(lab)] == [ANSWER]
    lab.run()
    lab.tick(1.0)
    assert injected(lab) == []


def test_a_refused_line_repeated_is_acknowledged_once_more() -> None:
    lab = Lab()
    say(lab, b"deny\n")
    lab.queue.clear()
    lab.submit(lab.inside.send(0, 5))
    lab.run()
    assert lab.inside.una == 5


def test_an_answer_waits_while_the_other_side_is_in_the_middle_of_a_line() -> None:
    lab = Lab()
    hear(lab, b"220 hel")
    say(lab, b"deny\n")
    assert ANSWER not in [p.payload for _, p in injected(lab)]
    hear(lab, b"lo\n")
    assert [p.payload for _, p in injected(lab)] == [b"220 hello\n", ANSWER]
    lab.finish()
    assert lab.inside.got == b"220 hello\n" + ANSWER


def test_more_length_changes_than_the_record_holds_wait() -> None:
    lab = Lab()
    for _ in range(12):
        say(lab, b"grow 001\n")
    assert lab.kernel.adjust is not None and len(lab.kernel.adjust.corrections[0]) == 8
    lab.finish()
    assert lab.outside.got == b"grow 001+\n" * 12


def test_open_lets_the_held_syn_go() -> None:  # FTP-86
    lab = Lab()
    say(lab, b"expect\n")
    (made,) = lab.kernel.expectations.values()
    syn = Packet(REMOTE, PUBLIC, 20, 40000, 1, 0, 2, 500, b"")
    from tests.kernel_model import frame_of

    assert lab.engine.data_syn(made.id, fx.IN, frame_of(syn), 14, lab.now) == []
    hear(lab, b"open\n")
    assert names(lab.effects)[:2] == ["OpenExpectation", "Inject"]
    assert injected(lab)[0] == (fx.INJECT_IN, syn)
    late = lab.engine.data_syn(made.id, fx.IN, frame_of(syn), 14, lab.now)
    assert names(late) == ["Inject"]


def test_withdraw_drops_expectation_before_port() -> None:  # FTP-27
    lab = Lab()
    say(lab, b"expect\n")
    hear(lab, b"withdraw\n")
    assert names(lab.effects)[:2] == ["DeleteExpectation", "ReleasePort"]
    assert lab.kernel.expectations == {} and [r.used for r in lab.kernel.released] == [False]


def test_use_and_expiry_are_told() -> None:  # FTP-67, FTP-70
    lab = Lab()
    say(lab, b"expect\n")
    (first,) = lab.kernel.expectations
    lab.do(lab.engine.expectation_used(first, lab.now))
    assert lab.toys[0].outcomes == [(1, "used")] and lab.kernel.released[0].used
    lab.do(lab.engine.expectation_used(first, lab.now))
    assert lab.engine.counts["used-unexpected"] == 1
    say(lab, b"expect\n")
    lab.tick(59)
    assert len(lab.kernel.expectations) == 1
    lab.tick(2)
    assert lab.toys[0].outcomes == [(1, "used"), (2, "expired")]
    assert lab.kernel.expectations == {} and [o for _, o in lab.kernel.deleted] == ["used", "expired"]


def test_an_expectation_dies_with_its_control_session() -> None:
    lab = Lab()
    say(lab, b"expect\n")
    lab.do(lab.engine.ended(INFO.session, lab.now))
    assert lab.kernel.expectations == {} and lab.kernel.decisions == {} and lab.engine.sessions() == []


def test_expectations_are_bounded() -> None:  # FTP-71
    lab = Lab(limits=Limits(expectations_per_session=3))
    for _ in range(5):
        say(lab, b"expect\n")
        lab.run()
    assert len(lab.kernel.expectations) == 3
    assert lab.engine.counts["no-port"] == 2


def test_bypass_waits_for_what_was_rewritten_and_keeps_the_shift() -> None:  # FTP-35
    lab = Lab()
    say(lab, b"grow 002\nbypass\nGARBAGE")
    assert bool(lab.kernel.bypassed) is False
    lab.run()
    lab.tick(0.2)
    assert lab.kernel.bypassed and lab.kernel.adjust is not None and lab.kernel.adjust.base == (2, 0)
    say(lab, b"no line at all")
    lab.run()
    assert lab.outside.got == b"grow 002++\nbypass\nGARBAGEno line at all"
    assert lab.inside.una == len(lab.inside.stream)


def test_a_session_that_nobody_watches_is_bypassed() -> None:
    lab = Lab()
    lab.engine._judgement._open = lambda control: None
    other = INFO._replace(session=78)
    lab.kernel.info = other
    say(lab, b"any")
    assert names(lab.effects)[-3:] == ["PutAdjust", "DropDecisions", "BypassSession"]
    lab.run()
    assert lab.outside.got == b"any"


@pytest.mark.parametrize(("policy", "reset"), [("bypass", ""), ("reset", "plugin-failed")])
def test_a_plugin_that_raises_loses_its_session_alone(policy: str, reset: str) -> None:
    lab = Lab(limits=Limits(on_failure=policy))
    say(lab, b"expect\nbreak\n")
    assert lab.kernel.expectations == {} and lab.kernel.reset == reset
    assert lab.kernel.announced[0].event.event == "plugin-failed"
    if not reset:
        lab.finish()
        assert lab.outside.got == b"expect\nbreak\n"


def test_reset_reaches_both_ends_at_the_number_they_expect() -> None:
    lab = Lab()
    say(lab, b"grow 005\n")
    lab.run()
    say(lab, b"reset\n")
    assert lab.kernel.reset == "said so"
    lab.run()
    assert lab.inside.reset and lab.outside.reset


def test_a_lost_opening_does_no_harm() -> None:  # FTP-79
    lab = Lab()
    lab.engine = lab._engine()
    say(lab, b"expect\n")
    assert lab.kernel.ever_expected == 1


def test_a_line_held_across_a_restart_is_delivered() -> None:
    lab = Lab()
    say(lab, b"no")
    lab.restart()
    say(lab, b"op\n")
    lab.finish()
    assert lab.outside.got == b"noop\n"


def test_an_answer_survives_a_restart() -> None:
    lab = Lab()
    say(lab, b"deny\n")
    lab.queue.clear()
    lab.restart()
    lab.tick(0.5)
    lab.finish()
    assert lab.inside.got == ANSWER and lab.inside.una == 5


@pytest.mark.parametrize("effects", range(8))
def test_a_death_between_any_two_effects_loses_nothing(effects: int) -> None:
    lab = Lab()
    say(lab, b"gro")
    lab.run()
    lab.kernel.stop_after = effects
    say(lab, b"w 003\ndeny\nnoop\n")
    lab.restart()
    lab.finish()
    assert lab.outside.got == b"grow 003+++\nnoop\n"
    assert lab.inside.got == ANSWER


def test_memory_is_told_and_bounded() -> None:  # FTP-90
    lab = Lab()
    say(lab, b"x" * 1000)
    assert 4500 <= lab.engine.memory(INFO.session) < 6000
    assert lab.engine.memory(1) == 0
    for n in range(200):
        lab.submit(lab.inside.packet(ACK, seq=3500 + 700 * n)._replace(payload=b"y" * 600))
    assert lab.engine.memory(INFO.session) < 3500 + 2 * 65536


class TwoStep(Toy):
    """Gives one line's verdict when the port is known, and leaves what follows to the next feed."""

    def feed(self, side: Side, data: bytes, now: float, *, end: bool = False) -> Sequence[Action]:
        self.waiting = data.find(b"\n") + 1
        if data.startswith(b"expect") and self.waiting:
            self.tag += 1
            return [Reserve(self.tag, EndPoint(self.control.inside.ip, 5000 + self.tag))]
        return [Pass(self.waiting)] if self.waiting else []

    def reserved(self, tag: int, public: EndPoint | None, now: float) -> Sequence[Action]:
        return [*super().reserved(tag, public, now), Pass(self.waiting)]


def test_what_stands_behind_a_line_that_waited_for_its_port_is_fed_again() -> None:
    class TwoStepLab(Lab):
        def _open(self, control: Control) -> Conversation:
            return TwoStep(control)

    lab = TwoStepLab()
    say(lab, b"expect\n" * 20 + b"noop\nexp")
    lab.run()
    assert lab.outside.got == b"expect\n" * 20 + b"noop\n" and lab.kernel.ever_expected == 20
