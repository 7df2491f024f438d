"""Nobody waits for a timer of ours (invariant 13): each wait that was found, by its cause."""

from __future__ import annotations

from algate.alg.engine import effects as fx
from algate.alg.engine.frames import ACK, FIN, PSH, RST
from tests.kernel_model import Packet
from tests.walk import Dialogue
from tests.wire import Lab

OUT, IN = fx.OUT, fx.IN


def arrives(lab: Lab, direction: int, packet: Packet) -> None:
    """At the gateway; the helper doesn't look yet."""
    lab.kernel.segment(direction, packet)


def test_a_221_with_its_fin_a_moment_behind() -> None:
    """The FIN has a later timestamp, and is there before the helper looks at the 221."""
    lab = Dialogue()
    account_behind(lab)
    arrives(lab, IN, lab._next(IN, b"221 bye\r\n"))
    lab.outside.fin_sent = True
    arrives(lab, IN, lab.outside.send(lab.outside.sent, 0))
    lab.run()
    assert lab.inside.got.endswith(b"221 bye\r\n") and lab.inside.fin_got
    assert lab.engine.counts["stale-timestamp"] == 0


def account_behind(lab: Dialogue) -> None:
    """Two lines passed by themselves, of which the helper hasn't heard."""
    before = lab.kernel.account.number
    lab.say(OUT, b"NOOP\r\n")
    lab.say(IN, b"200 ok\r\n")
    assert lab.kernel.account.number == before + 2 and lab.kernel.tracked.ts_recent[IN]


def test_what_is_behind_a_held_line_makes_it_no_older() -> None:
    lab = Dialogue()
    account_behind(lab)
    arrives(lab, IN, lab._next(IN, b"227 no address\r\n"))
    arrives(lab, IN, lab.outside.acknowledgement())
    assert lab.punts[0].ts_recent[IN] < lab.kernel.tracked.ts_value[IN]
    lab.run()
    assert lab.inside.got.endswith(b"227 no address\r\n") and lab.engine.counts["stale-timestamp"] == 0


def test_an_old_duplicate_is_still_refused() -> None:
    """What passed by itself moves TS.Recent, as what the helper let pass does (RFC 7323 section 5)."""
    lab = Dialogue()
    before = lab.outside.clock
    account_behind(lab)
    line = lab._next(IN, b"227 no address\r\n")
    arrives(lab, IN, line._replace(stamps=(before, 1)))
    lab.think()
    assert lab.engine.counts["stale-timestamp"] == 1 and not lab.inside.got.endswith(b"address\r\n")


def test_a_line_behind_what_was_acknowledged_moves_no_clock() -> None:
    """RFC 7323 section 4.3: only a segment that begins no later than the receiver acknowledged last."""
    lab = Lab(stamps=True)
    lab.inside.clock = 100
    lab.inside.stream = b"noop\nxxxx abc\nnoop\n"
    first, second = lab.inside.send(0, 5), lab.inside.send(5, 9)
    third = lab.inside.send(14, 5)
    late = second._replace(stamps=(500, 1))  # sent again; the first copy is lost
    for packet in (first, late, third):
        lab.submit(packet)
    assert lab.engine.counts["stale-timestamp"] == 0
    lab.run()
    assert lab.outside.got == lab.inside.stream


def ends(lab: Lab, packet: Packet) -> None:
    arrives(lab, IN, packet)
    lab.run()


def test_a_rst_behind_a_fin_that_passed_goes_on_at_once() -> None:
    lab = Dialogue()
    lab.outside.fin_sent = True
    ends(lab, lab.outside.send(lab.outside.sent, 0))
    assert lab.inside.fin_got and lab.kernel.tracked.flags & fx.TRACK_FIN_IN
    lab.queue.clear()
    arrives(lab, IN, lab.outside.packet(RST, lab.outside.sent + 1))
    assert not lab.punts and [p.flags for _, p, _ in lab.queue] == [RST]


def test_a_rst_behind_a_fin_that_the_helper_let_go() -> None:
    """All three are there before the helper looks."""
    lab = Dialogue()
    arrives(lab, IN, lab._next(IN, b"221 bye\r\n"))
    lab.outside.fin_sent = True
    arrives(lab, IN, lab.outside.send(lab.outside.sent, 0))
    arrives(lab, IN, lab.outside.packet(RST | ACK, lab.outside.sent + 1))
    at = lab.outside.isn + 2 + lab.outside.sent
    lab.think()
    assert lab.engine.counts["rst-out-of-window"] == 0
    sent = [(p.seq, p.flags & (FIN | RST)) for _, p, _ in lab.queue]
    assert sent == [(at - 1 - len(b"221 bye\r\n"), 0), (at - 1, FIN), (at, RST)]


def test_a_rst_behind_a_fin_that_only_the_kernel_saw() -> None:
    """A forged one, far ahead, made the kernel doubt its place."""
    lab = Dialogue()
    lab.outside.fin_sent = True
    arrives(lab, IN, lab.outside.send(lab.outside.sent, 0))
    arrives(lab, IN, lab.outside.packet(RST, lab.outside.sent + 500))
    lab.think()
    assert lab.engine.counts["rst-out-of-window"] == 1
    lab.queue.clear()
    arrives(lab, IN, lab.outside.packet(RST, lab.outside.sent + 1))
    lab.think()
    ((_, packet, _),) = lab.queue
    assert packet.flags & RST and packet.seq == lab.outside.isn + 2 + lab.outside.sent


def test_a_rst_behind_a_fin_behind_an_unfinished_line_takes_the_place_of_both() -> None:
    lab = Lab()
    lab.inside.stream = b"grow 003\nqui"
    arrives(lab, OUT, lab.inside.send(0, 9))
    lab.inside.fin_sent = True
    arrives(lab, OUT, lab.inside.send(12, 0))
    arrives(lab, OUT, lab.inside.packet(RST | ACK, 13))
    lab.think()
    assert lab.engine.counts["rst-out-of-window"] == 1, "bytes are missing before it"
    assert not any(p.flags & (FIN | RST) for _, p, _ in lab.queue)


def test_a_repetition_is_dropped_while_its_first_copy_is_on_its_way() -> None:
    lab = Lab(stamps=True)
    lab.inside.stream = b"expect\n"
    arrives(lab, OUT, lab.inside.send(0, 7))
    arrives(lab, OUT, lab.inside.send(0, 7))
    assert len(lab.punts) == 1 and lab.kernel.punted_again == 1
    lab.run()
    assert lab.outside.got == b"expect\n" and lab.engine.counts["retransmitted"] == 0


def test_a_repetition_with_news_is_no_repetition() -> None:
    """It acknowledges more, brings a FIN, or other bytes: nobody else will say that."""
    for news in ({"ack": 5003}, {"flags": ACK | PSH | FIN}, {"payload": b"expecT\n"}, {"window": 0}):
        lab = Lab()
        lab.inside.stream = b"expect\n"
        first = lab.inside.send(0, 7)
        arrives(lab, OUT, first)
        arrives(lab, OUT, first._replace(**news))
        assert len(lab.punts) == 2, news


def test_what_the_helper_has_taken_is_news_when_it_comes_again() -> None:
    """A refusal and an unfinished line have no decision: each repetition is answered."""
    for text in (b"deny\n", b"unfinished"):
        lab = Lab()
        lab.inside.stream = text
        lab.submit(lab.inside.send(0, len(text)))
        lab.queue.clear()  # what was said to the client is lost
        lab.submit(lab.inside.send(0, len(text)))
        assert lab.kernel.punted_again == 0 and any(d == IN and p.flags & ACK for d, p, _ in lab.queue), text


def test_what_another_helper_left_unread_is_no_longer_on_its_way() -> None:
    """Nor is what it had declared of the lines to come."""
    for said in (b"", b"noop\n"):
        lab = Lab()
        lab.inside.stream = said + b"expect\n"
        if said:
            lab.submit(lab.inside.send(0, 5))
        arrives(lab, OUT, lab.inside.send(len(said), 7))
        lab.restart()
        lab.submit(lab.inside.send(len(said), 7))
        lab.run()
        assert lab.outside.got == lab.inside.stream and lab.kernel.punted_again == 0


def test_a_copy_that_came_to_nothing_costs_a_moment() -> None:
    lab = Lab()
    lab.inside.stream = b"expect\n"
    arrives(lab, OUT, lab.inside.send(0, 7))
    lab.punts.clear()
    arrives(lab, OUT, lab.inside.send(0, 7))
    assert not lab.punts
    lab.tick(0.51)
    lab.submit(lab.inside.send(0, 7))
    lab.run()
    assert lab.outside.got == b"expect\n"
