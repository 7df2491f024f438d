"""Lines that leave at once and are read afterwards: what waits still, and that the order is the kernel's."""

from __future__ import annotations

import pytest

from algate.alg.engine import effects as fx
from algate.alg.engine.frames import ACK, SYN
from algate.alg.engine.limits import Limits
from algate.alg.plugin.model import Conversation, Refuse, Side
from tests.dialogues import GREETING, QUIT, pasv, port
from tests.ftplab import FtpLab
from tests.kernel_model import Packet, frame_of
from tests.textbook import Exchange
from tests.wire import INFO, INSIDE, PUBLIC, REMOTE

IN_IP, OUT_IP = (".".join(map(str, ip)) for ip in (INSIDE, REMOTE))
LOGIN = [
    Exchange(b"USER anonymous\r\n", b"331 Please specify the password.\r\n"),
    Exchange(b"PASS me@example.net\r\n", b"230 Login successful.\r\n"),
]
LIST = Exchange(b"LIST\r\n", b"226 Directory send OK.\r\n")
AGREED = b"200 PORT command successful.\r\n"


def counted(*said: Exchange, client_inside: bool = True, limits: Limits | None = None) -> tuple[int, int]:
    """How many segments of a session are held, and how many copied."""
    lab = FtpLab([GREETING, *LOGIN, *said, QUIT], client_inside, limits=limits)
    held, copied, punt = [0], [0], lab.kernel.punt

    def count(segment: fx.Segment) -> None:
        (copied if segment.copied else held)[0] += 1
        punt(segment)

    lab.kernel.punt = count
    lab.finish()
    lab.check()
    assert lab.opened == lab.agreed
    return held[0], copied[0]


@pytest.mark.parametrize("client_inside", [True, False])
def test_one_segment_of_a_session_waits(client_inside: bool) -> None:
    client, server = (IN_IP, OUT_IP) if client_inside else (OUT_IP, IN_IP)
    for exchange in (port(client, 5001), pasv(server, 50000)):
        held, copied = counted(exchange, LIST, client_inside=client_inside)
        waits = 0 if exchange.command == b"PASV\r\n" and client_inside else 1
        assert held == waits and copied <= 10  # all lines up to the 230 are: before it nothing may open
        assert counted(exchange, LIST, client_inside=client_inside, limits=Limits(classify=False)) == (11, 0)


def says(lab: FtpLab, text: bytes) -> None:
    """The client says it, and the helper hears it."""
    lab.client.stream += text
    lab.launch(lab.client.direction, lab.client.send(lab.client.sent, len(text)))
    lab.run()


def at_port(ahead: bytes = b"") -> FtpLab:
    """A session whose PORT is on its way, and what the client said behind it; the server is about to answer."""
    lab = FtpLab([GREETING, *LOGIN], True)
    lab.finish()
    says(lab, b"PORT 10,0,0,5,19,137\r\n")
    if ahead:
        says(lab, ahead)
    return lab


def spoken(lab: FtpLab, text: bytes) -> tuple[int, Packet]:
    """A line at the gateway: direction and segment."""
    end = lab.server if text[:1].isdigit() else lab.client
    end.stream += text
    return end.direction, end.send(end.sent, len(text))


def answer(lab: FtpLab, text: bytes) -> list[bytes]:
    """The server says it; what of it leaves before the helper has looked."""
    lab.kernel.segment(*spoken(lab, text))
    return [packet.payload for direction, packet, past in lab.queue if past and direction == fx.IN]


def opened(lab: FtpLab) -> list[int]:
    return [one.inside.port for one in lab.kernel.opened if one.inside]


def test_the_answer_to_port_opens_as_it_leaves() -> None:
    """And nothing behind it matters any more, though nobody has read it; once that was, nothing opens again."""
    lab = at_port()
    assert answer(lab, AGREED) == [AGREED] and opened(lab) == [5001]
    for word in (b"NOOP\r\n", b"200 ok\r\n"):
        lab.kernel.segment(*spoken(lab, word))
    assert [one.copied for one in lab.punts] == [True], "that of the answer to PORT"
    lab.run()
    assert opened(lab) == [5001] and lab.engine.counts["plugin-failed"] == 0


@pytest.mark.parametrize("ahead", [b"LIST\r\n", b"NOOP\r\n"])
def test_an_answer_that_may_be_another_s_opens_when_it_was_read(ahead: bytes) -> None:
    lab = at_port(ahead)
    assert answer(lab, AGREED) == [AGREED]
    assert not lab.kernel.opened and [one.copied for one in lab.punts] == [True]
    lab.run()
    assert opened(lab) == [5001]


def test_an_answer_opens_by_itself_only_what_stands_alone() -> None:
    """Of two that may bring a connection the helper decides which goes."""
    lab = at_port()
    answer(lab, AGREED)
    lab.run()
    says(lab, b"NOOP\r\n")
    answer(lab, b"200 ok\r\n")
    lab.run()
    says(lab, b"PORT 10,0,0,5,19,138\r\n")
    assert lab.kernel.adjust is not None
    alone = len(lab.kernel.expectations) == 1
    assert bool(lab.kernel.adjust.agrees) == alone


def test_a_record_names_what_is_to_open_until_that_was_read() -> None:
    lab = at_port()
    (number,) = lab.kernel.expectations
    assert lab.kernel.adjust is not None and lab.kernel.adjust.agrees == number
    answer(lab, b"500 No.\r\n")
    lab.run()
    says(lab, b"NOOP\r\n")
    answer(lab, b"200 ok\r\n")
    lab.run()
    assert not lab.kernel.opened and not lab.kernel.adjust.agrees


def test_a_connection_that_comes_before_such_an_answer_was_read_waits_for_that() -> None:
    lab = at_port(b"LIST\r\n")
    answer(lab, AGREED)
    ((number, expected),) = lab.kernel.expectations.items()
    syn = Packet(REMOTE, PUBLIC, 20, expected.to.port, 1, 0, SYN, 8192, b"")
    lab.do(lab.engine.data_syn(number, fx.IN, frame_of(syn, fx.INJECT_IN), 14, lab.now))
    assert lab.effects == [] and not lab.kernel.opened
    lab.do(lab.engine.segment(lab.punts.pop(0), lab.now))
    kinds = [type(effect) for effect in lab.effects]
    assert kinds.index(fx.OpenExpectation) < kinds.index(fx.Inject)


def test_the_answer_to_port_is_read_though_another_command_followed_it() -> None:
    lab = at_port()
    lab.client.stream += b"LIST\r\n"
    lab.launch(lab.client.direction, lab.client.send(lab.client.sent, 6))
    lab.run()
    assert answer(lab, AGREED) == [AGREED]
    lab.run()
    assert len(lab.kernel.opened) == 1


@pytest.mark.parametrize("text", [b"500 No.\r\n", b"421 Gone.\r\n"])
def test_a_refusal_leaves_at_once_too(text: bytes) -> None:
    lab = at_port()
    assert answer(lab, text) == [text]
    lab.run()
    assert not lab.kernel.opened and not lab.kernel.expectations


def test_copies_of_one_turn_are_judged_together_with_one_record() -> None:
    lab = FtpLab([GREETING, *LOGIN], True)
    lab.think = lambda: None  # type: ignore[method-assign]
    lab.finish()
    assert [one.copied for one in lab.punts] == [True] * 3, "the helper sleeps, and nobody waits for it"
    for copy in lab.punts:
        assert lab.engine.defer(copy, lab.now)
    effects = lab.engine.caught_up(lab.kernel.info.session, lab.now)
    (record,) = [one.record for one in effects if isinstance(one, fx.PutAdjust)]
    assert record.lines >> 16 == lab.kernel.account.word >> 16
    view = lab.engine.view(lab.kernel.info.session)
    assert view is not None and view.phase == "ready"
    assert lab.engine.caught_up(lab.kernel.info.session, lab.now) == []


def test_what_is_held_is_judged_behind_the_copies_that_were_deferred() -> None:
    lab = FtpLab([GREETING, *LOGIN, pasv(OUT_IP, 50000)], True)
    lab.kernel.lasts = 0.0
    lab.think = lambda: None  # type: ignore[method-assign]
    while not lab.punts or lab.punts[-1].copied:
        for side, end in enumerate(lab.ends):
            lab.speak(side, end.una, end.mss - 40)
            lab.run()
    *copies, held = lab.punts
    assert not held.copied and all(lab.engine.defer(copy, lab.now) for copy in copies)
    effects = lab.engine.segment(held, lab.now)
    assert any(isinstance(one, fx.PutExpectation) for one in effects), "the 227 met its PASV"
    assert lab.engine.caught_up(lab.kernel.info.session, lab.now) == []


DATA = INFO._replace(session=5)


def asleep(reply: bytes) -> FtpLab:
    """A PASV and its reply have passed, of which nobody has read anything."""
    lab = FtpLab([GREETING, *LOGIN, Exchange(b"PASV\r\n", reply)], True)
    lab.think = lambda: None  # type: ignore[method-assign]
    lab.finish()
    assert all(one.copied for one in lab.punts) and bytes(lab.client.got) == lab.to_client
    return lab


def wake(lab: FtpLab) -> list[fx.Effect]:
    for copy in lab.punts:
        assert lab.engine.defer(copy, lab.now)
    effects = lab.engine.caught_up(lab.kernel.info.session, lab.now)
    lab.kernel.carry_out(effects)
    return effects


NAMED = b"227 Entering Passive Mode (%b,195,80).\r\n" % OUT_IP.replace(".", ",").encode()


def test_what_a_reply_names_is_expected_before_anybody_reads_it() -> None:
    lab = asleep(NAMED)
    (made,) = lab.kernel.expectations.values()
    assert (made.to.port, made.state, made.session) == (50000, fx.EXPECT_OPEN, lab.kernel.info.session)
    effects = wake(lab)
    assert [one.expectation.id for one in effects if isinstance(one, fx.KnownExpectation)] == [made.id]
    assert not any(isinstance(one, (fx.PutExpectation, fx.DeleteExpectation)) for one in effects)
    used = lab.engine.expectation_used(made.id, lab.now, DATA)
    assert [type(one) for one in used][:2] == [fx.Admitted, fx.DeleteExpectation]


def test_a_connection_may_come_before_its_reply_is_read() -> None:
    lab = asleep(NAMED)
    (made,) = lab.kernel.expectations.values()
    assert lab.engine.expectation_used(made.id, lab.now, DATA) == []
    effects = wake(lab)
    (admitted,) = [one for one in effects if isinstance(one, fx.Admitted)]
    assert admitted.data is DATA and not lab.kernel.expectations and lab.kernel.deleted == [(made.id, "used")]
    assert lab.engine.expectation_used(made.id, lab.now, DATA) == [], "once"


@pytest.mark.parametrize("twice", [b"(1,2,3,4,5,6) ", b"(%b,4,5) " % OUT_IP.replace(".", ",").encode()])
def test_what_the_reader_would_not_have_expected_is_taken_back(twice: bytes) -> None:
    """Of two addresses nobody knows which one is meant."""
    lab = asleep(NAMED.replace(b"(", twice + b"("))
    assert lab.kernel.expectations
    assert not any(isinstance(one, fx.KnownExpectation) for one in wake(lab))
    assert not lab.kernel.expectations and lab.engine.counts["named-otherwise"] == 1


def test_what_nobody_asked_for_is_not_expected() -> None:
    lab = FtpLab([GREETING, *LOGIN], True)
    lab.finish()
    lab.server.stream += NAMED
    lab.launch(lab.server.direction, lab.server.send(lab.server.sent, len(NAMED)))
    lab.run()
    assert not lab.kernel.expectations and not lab.kernel.opened


def test_a_session_that_the_engine_does_not_know_is_not_deferred() -> None:
    lab = FtpLab([GREETING], True)
    lab.think = lambda: None  # type: ignore[method-assign]
    lab.finish()
    stranger = lab.punts[0]._replace(info=lab.kernel.info._replace(session=99))
    assert not lab.engine.defer(stranger, lab.now) and lab.engine.caught_up(99, lab.now) == []


def test_an_address_is_never_told_before_the_command_for_it_was_read() -> None:
    """The server is inside, the copy of PASV is in the other CPU's ring."""
    lab = FtpLab([GREETING, *LOGIN], False)
    lab.finish()
    lab.client.stream += b"PASV\r\n"
    lab.kernel.segment(lab.client.direction, lab.client.send(lab.client.sent, 6))
    (copy,) = lab.punts
    lab.punts.clear()
    reply = b"227 Entering Passive Mode (10,0,0,5,195,80).\r\n"
    lab.server.stream += reply
    lab.submit(lab.server.send(lab.server.sent, len(reply)))
    lab.queue = [one for one in lab.queue if b"PASV" in one[1].payload]
    assert lab.engine._sessions[77].late and not lab.kernel.opened
    lab.do(lab.engine.segment(copy, lab.now))
    told = [packet.payload for direction, packet, _ in lab.queue if direction == fx.OUT]
    assert len(lab.kernel.opened) == 1 and told and b"10,0,0,5" not in told[0]


def test_a_copy_that_never_comes_is_missed_soon() -> None:
    """Then everything is held, and an address is rewritten although nobody knows of a PASV."""
    lab = FtpLab([GREETING, *LOGIN], False)
    lab.finish()
    lab.client.stream += b"PASV\r\n"
    lab.kernel.segment(lab.client.direction, lab.client.send(lab.client.sent, 6))
    lab.punts.clear()
    lab.run()
    reply = b"227 Entering Passive Mode (10,0,0,5,195,80).\r\n"
    lab.server.stream += reply
    lab.submit(lab.server.send(lab.server.sent, len(reply)))
    assert not lab.kernel.opened
    lab.tick(0.3)
    lab.run()
    assert lab.engine.counts["copy-lost"] == 1 and len(lab.kernel.opened) == 1
    assert b"10,0,0,5" not in lab.client.got and b"227 " in lab.client.got


def test_a_restart_with_an_unread_agreement_lets_the_server_s_connection_agree() -> None:
    lab = at_port(b"LIST\r\n")
    answer(lab, AGREED)
    lab.restart()
    ((number, expected),) = lab.kernel.expectations.items()
    syn = Packet(REMOTE, PUBLIC, 20, expected.to.port, 1, 0, SYN, 8192, b"")
    lab.do(lab.engine.data_syn(number, fx.IN, frame_of(syn, fx.INJECT_IN), 14, lab.now))
    assert not lab.kernel.opened
    lab.tick(0.06)
    assert len(lab.kernel.opened) == 1


class Unreading:
    """Fails at the reply that names a connection."""

    def __init__(self, inner: Conversation) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def feed(self, side: Side, data: bytes, now: float, *, end: bool = False) -> object:
        if data.startswith(b"227"):
            raise RuntimeError("a plug-in's fault")
        return self.inner.feed(side, data, now, end=end)


def test_what_a_line_named_whose_reading_failed_is_no_other_line_s() -> None:
    """It is taken back, and the next line that is read, of whatever session, names something else."""
    lab = asleep(NAMED)
    session = lab.engine._sessions[lab.kernel.info.session]
    session.conversation = Unreading(session.conversation)  # type: ignore[arg-type,assignment]
    assert lab.kernel.expectations
    wake(lab)
    assert lab.engine.counts["plugin-failed"] == 1 and not lab.kernel.expectations
    assert not lab.engine._judgement._named


class Fickle:
    """Says that EPSV may pass, and refuses it."""

    def __init__(self, inner: Conversation) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def feed(self, side: Side, data: bytes, now: float, *, end: bool = False) -> object:
        said = self.inner.feed(side, data, now, end=end)
        return [Refuse(len(data), b"no")] if data.startswith(b"EPSV") else said


def test_a_conversation_that_changes_what_it_said_may_pass_loses_its_session() -> None:
    lab = FtpLab([GREETING, *LOGIN], True)
    lab.finish()
    session = lab.engine._sessions[77]
    session.conversation = Fickle(session.conversation)  # type: ignore[arg-type,assignment]
    lab.client.stream += b"EPSV\r\n"
    lab.launch(lab.client.direction, lab.client.send(lab.client.sent, 6))
    lab.run()
    assert lab.engine.counts["plugin-failed"] == 1 and lab.kernel.bypassed


def test_a_line_that_the_ring_has_no_room_for_is_held() -> None:
    lab = FtpLab([GREETING, *LOGIN], True)
    lab.finish()
    lab.kernel.account.refused = 1
    lab.client.stream += b"PASV\r\n"
    lab.kernel.segment(lab.client.direction, lab.client.send(lab.client.sent, 6)._replace(flags=ACK))
    assert [one.copied for one in lab.punts] == [False] and lab.queue == []


def test_what_waits_for_a_copy_is_bounded() -> None:
    lab = FtpLab([GREETING, *LOGIN], True)
    lab.finish()
    lab.client.stream += b"PASV\r\n"
    lab.kernel.segment(lab.client.direction, lab.client.send(lab.client.sent, 6))
    lab.punts.clear()
    lab.client.stream += bytes(300_000)
    for _ in range(200):
        lab.submit(lab.client.send(lab.client.sent, 1400))
    assert lab.engine.counts["late-limit"] and lab.engine.memory(77) < 3500 + 2 * (1 << 17)
