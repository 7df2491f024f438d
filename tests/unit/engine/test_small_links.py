"""Links that take less than an end sends, or than what the helper makes of it."""

from __future__ import annotations

import pytest

from algate.alg.engine import effects as fx
from algate.alg.engine import path
from algate.alg.engine.frames import ACK, finish_checksum
from algate.alg.engine.icmp import FRAG_NEEDED, unreachable
from algate.alg.engine.path import LARGEST, PathMtu
from tests.kernel_model import KernelModel, Packet, frame_of
from tests.toy import ANSWER, rewrite
from tests.wire import INSIDE, PUBLIC, REMOTE, Lab

REPLY = b"".join(b"211-%03d %s\n" % (n, b"r" * 91) for n in range(60)) + b"211 end\n"  # 6 KB


def reply(lab: Lab, size: int = 0) -> None:
    """The outside end says all of its stream that it hasn't, in segments of that size."""
    end = lab.outside
    while end.sent < len(end.stream):
        lab.launch(fx.IN, end.send(end.sent, size or end.most))


def again(lab: Lab) -> None:
    """What TCP does when it hears frag-needed, or when its timer runs out."""
    lab.outside.sent = lab.outside.una
    reply(lab)
    lab.run()


@pytest.mark.parametrize("mtu", [576, 1280, 1400])
@pytest.mark.parametrize("stamps", [False, True])
def test_a_long_reply_is_told_to_be_too_big_once_and_arrives_without_any_timer(mtu: int, stamps: bool) -> None:
    lab = Lab(stamps=stamps)
    lab.outside.stream = REPLY
    lab.kernel.mtu[fx.IN] = mtu
    reply(lab)
    lab.run()
    assert lab.outside.told == [mtu] and lab.engine.counts["frag-needed"] == 1
    assert lab.engine.counts["frag-needed-spared"] == len(REPLY) // 1408 - 1 and len(lab.inside.got) < 1420
    again(lab)
    assert lab.inside.got == REPLY and max(lab.inside.sizes) <= mtu - 40
    assert lab.kernel.undecided_drops == 0 and not lab.engine.counts["cut-smaller"]


def test_who_does_not_listen_has_its_segments_cut() -> None:
    lab = Lab()
    lab.outside.stream, lab.outside.deaf = REPLY, True
    lab.kernel.mtu[fx.IN] = 1400
    reply(lab)
    lab.run()
    assert not lab.inside.got
    lab.tick(0.2)
    again(lab)
    assert lab.inside.got == REPLY and max(lab.inside.sizes) == 1360
    lab.outside.stream += REPLY
    reply(lab)
    lab.run()
    assert lab.inside.got == REPLY * 2, "the second time without any delay"
    assert len(lab.outside.told) == 2


def test_who_listens_is_not_taken_for_deaf_later() -> None:
    lab = Lab()
    lab.kernel.mtu[fx.IN] = 1400
    for _ in range(3):
        lab.outside.stream += REPLY
        lab.outside.pmtu = LARGEST
        reply(lab)
        lab.run()
        again(lab)
        lab.tick(60)
    assert lab.inside.got == REPLY * 3 and lab.outside.told == [1400] * 3


@pytest.mark.parametrize("direction", [fx.OUT, fx.IN])
def test_what_may_be_fragmented_is_cut_at_once(direction: int) -> None:
    lab = Lab()
    end, other = lab.ends[direction], lab.ends[1 - direction]
    end.stream = REPLY[:1420] + b"\n"
    lab.kernel.mtu[direction] = 600
    lab.kernel.segment(direction, end.send(0, 1421), dont_fragment=False)
    lab.run()
    assert other.got == end.stream and max(other.sizes) <= 560 and not end.told


def test_a_line_that_grows_beyond_the_way_goes_in_two() -> None:
    """Known before: two chunks. Not known: told by the kernel, and sent again in pieces, without any timer."""
    line = b"grow 060" + b"g" * 1330 + b"\n"
    for late in (False, True):
        lab = Lab()
        lab.inside.stream = line + b"noop\n"
        lab.kernel.mtu[fx.OUT] = 1500 if late else 1400
        lab.kernel.segment(fx.OUT, lab.inside.send(0, len(line)))
        lab.kernel.mtu[fx.OUT] = 1400
        lab.run()
        assert lab.outside.got == rewrite(line) and max(lab.outside.sizes) <= 1360
        assert lab.engine.counts["unsent-too-big"] == late == lab.engine.counts["cut-smaller"]
        lab.launch(fx.OUT, lab.inside.send(len(line), 5))
        lab.run()
        assert lab.outside.got == rewrite(lab.inside.stream) and lab.inside.una == len(lab.inside.stream)


def test_a_repetition_does_not_meet_the_decision_of_a_larger_way() -> None:
    lab = Lab()
    lab.inside.stream = line = b"grow 060" + b"g" * 1330 + b"\n"
    lab.kernel.segment(fx.OUT, lab.inside.send(0, len(line)))
    lab.kernel.mtu[fx.OUT] = 1400
    lab.think()
    lab.queue.clear()  # the pieces are lost
    lab.launch(fx.OUT, lab.inside.send(0, len(line)))
    lab.run()
    assert lab.outside.got == rewrite(line)


@pytest.mark.parametrize("by", ["link", "router"])
def test_what_the_gateway_owes_is_sent_smaller_when_the_way_shrinks(by: str) -> None:
    """Its sender has the acknowledgement and repeats nothing."""
    lab = Lab()
    lab.inside.stream = line = b"grow 100" + b"g" * 1280 + b"\n"
    lab.launch(fx.OUT, lab.inside.send(0, 700))
    lab.run()
    assert lab.inside.una == 700 and not lab.outside.got
    if by == "router":
        lab.router[fx.OUT] = 1000
    lab.kernel.segment(fx.OUT, lab.inside.send(700, 700))
    if by == "link":
        lab.kernel.mtu[fx.OUT] = 1000
    lab.run()
    assert lab.outside.got == rewrite(line) and max(lab.outside.sizes) == 960
    assert lab.engine.counts["path-told"] == (by == "router")
    lab.inside.stream += b"x" * 1300 + b"\n"
    lab.kernel.mtu[fx.OUT] = 1500 if by == "router" else 1000
    lab.kernel.segment(fx.OUT, lab.inside.send(len(line), 1301), dont_fragment=False)
    lab.run()
    assert lab.outside.got == rewrite(lab.inside.stream) and max(lab.outside.sizes) == 960
    assert lab.inside.told == [1000] * (by == "router"), "what a router said is remembered"


def test_a_smaller_way_while_a_reply_is_lost() -> None:
    """Decided in large chunks under a shift, lost behind the gateway; its sender repeats it in small ones."""
    lab = Lab()
    lab.outside.stream = b"grow 009\n" + REPLY
    lab.launch(fx.IN, lab.outside.send(0, 9))
    lab.run()
    reply(lab)
    while any(not past for _, _, past in lab.queue):
        lab.arrive(next(n for n, (_, _, past) in enumerate(lab.queue) if not past))
        lab.think()
    lab.queue.clear()
    lab.kernel.mtu[fx.IN] = 576
    again(lab)
    assert lab.outside.told == [576]
    again(lab)
    assert lab.inside.got == rewrite(lab.outside.stream) and max(lab.inside.sizes[1:]) <= 536


def test_answers_are_cut_too() -> None:
    lab = Lab()
    lab.inside.stream = b"deny\n"
    session = lab.engine._sessions[77]
    lab.kernel.mtu[fx.IN] = 48
    lab.launch(fx.OUT, lab.inside.send(0, 5))
    lab.run()
    assert lab.inside.got == ANSWER and max(lab.inside.sizes) == 8 and session.paths[fx.IN].mtu == 48


def test_urgent_data_stays_where_it_is_in_pieces() -> None:
    lab = Lab()
    lab.inside.stream = b"u" * 1399 + b"\n"
    frame = bytearray(frame_of(lab.inside.send(0, 1400)))
    frame[14 + 33] |= 32
    frame[14 + 38 : 14 + 40] = (1200).to_bytes(2, "big")
    done = finish_checksum(bytes(frame), 14, len(frame))
    lab.do(lab.engine.segment(fx.Segment(lab.kernel.info, 0, 1001, done, 14, 54, 1400, 0x38, (1001, 5001)), lab.now))
    lab.queue.clear()
    lab.do(lab.engine.narrowed(77, fx.OUT, 1040, lab.now))
    frames = [effect.frame for effect in lab.effects if isinstance(effect, fx.Inject)]
    assert [len(one) - 54 for one in frames] == [1000, 400]
    assert [int.from_bytes(one[52:54], "big") for one in frames] == [1200, 200]


def test_a_fin_behind_pieces_ends_the_stream() -> None:
    lab = Lab()
    lab.inside.stream, lab.inside.fin_sent = b"f" * 1399 + b"\n", True
    lab.kernel.segment(fx.OUT, lab.inside.send(0, 1400))
    lab.kernel.mtu[fx.OUT] = 900
    lab.run()
    assert lab.outside.fin_got and lab.inside.fin_acked and lab.outside.got == lab.inside.stream


def test_a_bypassed_session_is_told_and_cut_likewise() -> None:
    lab = Lab()
    lab.inside.stream = b"grow 003\nbypass\n"
    lab.launch(fx.OUT, lab.inside.send(0, 16))
    lab.run()
    lab.tick(1)
    assert lab.kernel.bypassed
    lab.outside.stream = REPLY
    lab.kernel.mtu[fx.IN] = 700
    reply(lab)
    lab.run()
    assert lab.outside.told == [700]
    again(lab)
    assert lab.inside.got == REPLY
    lab.kernel.segment(fx.IN, lab.outside.send(0, 1400), dont_fragment=False)
    lab.run()
    assert max(lab.inside.sizes) <= 660


def test_nobody_s_frame_is_counted_alone() -> None:
    lab = Lab()
    assert lab.engine.narrowed(0, 0, 1400, 1.0) == []
    assert lab.engine.narrowed(0, 1, 1400, 1.0, 1500) == []
    assert lab.engine.narrowed(77, 0, 0, 1.0) == []
    assert lab.engine.counts["unsent"] == 1


# -- the path ----------------------------------------------------------------------------------------------------------


def test_a_path_is_the_link_or_what_a_router_said_for_ten_minutes() -> None:
    way = PathMtu()
    assert (way.mtu, way.room, way.settled) == (LARGEST, LARGEST - 40, True)
    assert not way.learn(0, 1.0)
    assert way.learn(1500, 1.0) and way.learn(1400, 2.0) and not way.learn(1500, 3.0)
    assert way.learn(1300, 10.0, 1500) and (way.mtu, way.room, way.settled) == (1300, 1260, False)
    assert not way.learn(1350, 11.0, 1500) and way.mtu == 1300
    assert not way.learn(1500, 610.9) and way.mtu == 1300
    assert not way.learn(1500, 611.0) and (way.mtu, way.settled) == (1500, True)
    assert way.learn(68, 700.0, 1500) and way.mtu == path.LEAST_TOLD
    assert way.learn(296, 701.0) and way.mtu == 296


@pytest.mark.parametrize(("given", "mtu"), [(1500, 1492), (1492, 1006), (1006, 552), (1, 552), (65535, 32000)])
def test_a_router_that_does_not_say(given: int, mtu: int) -> None:
    way = PathMtu(40)
    assert way.learn(0, 1.0, given) and (way.mtu, way.room) == (mtu, mtu - 60)


def test_the_error_quotes_what_was_sent() -> None:
    packet = Packet(REMOTE, PUBLIC, 21, 4000, 7, 8, ACK, 9, b"x" * 1460)
    frame = frame_of(packet)
    error = unreachable(fx.INJECT_RAW_OUT, frame, 14, PUBLIC, FRAG_NEEDED, 1400)
    assert error is not None and error[0] == fx.INJECT_RAW_OUT and len(error) == 14 + 576
    assert error[14 + 12 : 14 + 20] == PUBLIC + REMOTE and error[14 + 28 :] == frame[14 : 14 + 548]
    large = bytearray(frame)
    large[16:18] = (6000).to_bytes(2, "big")
    error = unreachable(fx.INJECT_RAW_OUT, bytes(large), 14, PUBLIC, FRAG_NEEDED, 1400)
    assert error is not None and error[14 + 28 :] == bytes(large[14 : 14 + 28])
    assert unreachable(fx.INJECT_RAW_OUT, error, 14, INSIDE, FRAG_NEEDED) is None, "about an error"
    assert unreachable(fx.INJECT_RAW_OUT, frame[:40], 14, INSIDE, FRAG_NEEDED) is None


def test_the_first_segments_say_what_their_ways_take_without_a_look_at_the_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    track = KernelModel.track

    def counted(self: KernelModel, session: int) -> fx.TrackView | None:
        asked.append(session)
        return track(self, session)

    monkeypatch.setattr(KernelModel, "track", counted)
    lab = Lab()
    lab.kernel.mtu = [1400, 1400]
    for end, direction in ((lab.outside, fx.IN), (lab.inside, fx.OUT)):
        end.stream = b"a line\r\n"
        lab.launch(direction, end.send(0, 100))
        lab.run()
    assert lab.inside.got == lab.outside.got == b"a line\r\n"
    assert len(asked) == 1, "where both streams began"
