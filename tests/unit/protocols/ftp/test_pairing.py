"""Which command a reply answers: readings of a dialogue, by themselves and in the machine; how long a line waits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from algate.alg.plugin.model import Side
from algate.alg.protocols.ftp import PLUGIN, FtpConversation
from algate.alg.protocols.ftp.dialogue import FINAL, Kind, Reply
from algate.alg.protocols.ftp.pairing import Fate, Heard, Waiting
from algate.alg.protocols.ftp.policy import FtpPolicy
from algate.alg.protocols.ftp.readings import READINGS
from algate.alg.protocols.ftp.session import HELD_MOST
from algate.alg.testing import Stage, control

CLIENT, SERVER = Side.CLIENT, Side.SERVER
PORT = b"PORT 10,0,0,5,19,137\r\n"
HELLO = b"\x16\x03\x01\x00\x05hello"


def hear(waiting: Waiting, *codes: bytes) -> Heard:
    """Replies; what the last one means."""
    heard = Heard(None)
    for code in codes:
        reply = FINAL[code + b" "]
        heard = waiting.began() if reply is Reply.PRELIMINARY else waiting.hear(reply, code)
    return heard


def said(*kinds: Kind, tag: int = 0) -> Waiting:
    """Commands; `tag` of those that name a connection, counted up."""
    waiting = Waiting()
    for kind in kinds:
        tag += kind is Kind.NAME
        waiting.add(kind, tag if kind is Kind.NAME else 0)
    return waiting


def test_in_the_usual_order_each_reply_answers_its_own_command() -> None:
    waiting = said(Kind.OTHER, Kind.NAME, Kind.TRANSFER, Kind.QUIT)
    assert hear(waiting, b"200") == Heard(Kind.OTHER, (), 0)
    assert hear(waiting, b"200") == Heard(Kind.NAME, ((1, Fate.AGREED),), 1)
    assert hear(waiting, b"150", b"226") == Heard(Kind.TRANSFER, (), 2)
    assert hear(waiting, b"221") == Heard(Kind.QUIT, (), 3)
    assert not waiting


def test_a_ninth_port_waits_and_a_pasv_that_may_have_passed_has_room() -> None:
    waiting = Waiting()
    for _ in range(8):
        assert waiting.room(Kind.NAME)
        waiting.add(Kind.PASV)
    assert not waiting.room(Kind.NAME)
    for _ in range(8):
        assert waiting.room(Kind.PASV) and waiting.room(Kind.EPSV)
        waiting.add(Kind.EPSV)
    assert not waiting.room(Kind.PASV) and waiting.room(Kind.OTHER)


@pytest.mark.parametrize("code", [b"250", b"226", b"230", b"220", b"257", b"350", b"221"])
def test_what_can_not_answer_a_port_is_stray(code: bytes) -> None:
    waiting = said(Kind.NAME)
    assert hear(waiting, code) == Heard(None)
    assert hear(waiting, b"200").fates == ((1, Fate.AGREED),)


@pytest.mark.parametrize("lost", [1, 3, 30])
def test_an_announcement_finds_its_place_whatever_was_never_answered(lost: int) -> None:
    waiting = said(*[Kind.OTHER] * lost, Kind.TRANSFER, Kind.NAME, Kind.PASV)
    assert hear(waiting, b"227").kind is Kind.PASV
    assert not waiting


def test_two_questions_two_answers_and_no_third() -> None:
    waiting = said(Kind.PASV, Kind.TRANSFER, Kind.EPSV)
    assert hear(waiting, b"227").kind is Kind.PASV
    assert hear(waiting, b"150", b"226").kind is Kind.TRANSFER
    assert hear(waiting, b"229").kind is Kind.EPSV
    assert hear(waiting, b"229").kind is None


def test_a_late_yes_to_a_noop_is_none_to_a_port_that_is_refused() -> None:
    waiting = said(Kind.TRANSFER)
    hear(waiting, b"150")
    waiting.add(Kind.OTHER)  # in the data phase: it may go without
    hear(waiting, b"226")
    waiting.add(Kind.NAME, 1)
    assert hear(waiting, b"200").fates == ()
    assert hear(waiting, b"500").fates == ((1, Fate.DECLINED),)


def test_a_transfer_shows_whose_yes_it_was() -> None:
    waiting = said(Kind.OTHER, Kind.NAME)
    assert hear(waiting, b"200").fates == ()  # the OTHER's, by the strict queue
    waiting.add(Kind.TRANSFER)
    assert hear(waiting, b"150").fates == ((1, Fate.AGREED),)


def test_a_refusal_behind_a_yes_takes_it_back() -> None:
    waiting = said(Kind.NAME)
    assert hear(waiting, b"200").fates == ((1, Fate.AGREED),)
    assert hear(waiting, b"500").fates == ((1, Fate.DECLINED),)


def test_the_next_command_settles_what_was_paired() -> None:
    waiting = said(Kind.NAME)
    hear(waiting, b"200")
    waiting.add(Kind.OTHER)
    assert hear(waiting, b"500", b"500").fates == ()


def test_a_refusal_that_may_be_anothers_is_a_doubt() -> None:
    waiting = said(Kind.OTHER, Kind.NAME)
    assert hear(waiting, b"500").fates == ((1, Fate.DOUBTED),)
    assert hear(waiting, b"200").fates == ((1, Fate.AGREED),)


def test_farewell_passes_over_a_port_without_a_yes() -> None:
    waiting = said(Kind.NAME, Kind.QUIT)
    assert hear(waiting, b"221") == Heard(Kind.QUIT, ((1, Fate.PASSED),), 1)


def test_readings_are_bounded_and_one_in_plain_dialogues() -> None:
    waiting = said(*[Kind.OTHER, Kind.NAME] * 4)
    for code in (b"200", b"500", b"226", b"331", b"250", b"200", b"150", b"421"):
        hear(waiting, code)
        assert len(waiting._readings) <= READINGS
    waiting = Waiting()
    for _ in range(3):
        waiting.add(Kind.OTHER)
        hear(waiting, b"200")
        assert waiting.plain == 0


# -- through the machine -----------------------------------------------------------------------------------------------


def staged(policy: FtpPolicy | None = None, inside: Side = CLIENT) -> Stage:
    stage = Stage(PLUGIN, policy or FtpPolicy(), control(inside))
    for side, line in ((SERVER, b"220 hi\r\n"), (CLIENT, b"USER u\r\n"), (SERVER, b"230 in\r\n")):
        stage.say(side, line)
    stage.heard = {CLIENT: b"", SERVER: b""}
    return stage


def deadline(stage: Stage) -> float | None:
    assert isinstance(stage.conversation, FtpConversation)
    return stage.conversation.deadline()


def test_bytes_behind_auth_wait_for_its_answer_but_not_for_ever() -> None:
    stage = staged()
    stage.say(CLIENT, b"AUTH TLS\r\n" + PORT)
    assert stage.undecided[CLIENT] == PORT and deadline(stage) == HELD_MOST
    stage.now = HELD_MOST
    stage.say(CLIENT, b"")
    assert stage.heard[SERVER] == b"AUTH TLS\r\nPORT 203,0,113,1,19,137\r\n" and deadline(stage) is None
    assert stage.reasons("violation") == ["answer-overdue"]
    stage.say(SERVER, b"234 go\r\n")
    assert stage.bypassed and not stage.expectations


def test_a_refusal_waits_its_turn_but_not_for_ever() -> None:
    stage = staged(FtpPolicy(deny=("SITE",)))
    stage.say(CLIENT, b"RETR f\r\nSITE x\r\nNOOP\r\n")
    assert stage.undecided[CLIENT] == b"SITE x\r\nNOOP\r\n"
    stage.now = HELD_MOST - 1
    stage.say(CLIENT, b"")
    assert stage.undecided[CLIENT]
    stage.now = HELD_MOST
    stage.say(CLIENT, b"")
    assert stage.heard[CLIENT].startswith(b"502 ") and stage.heard[SERVER] == b"RETR f\r\nNOOP\r\n"


def test_a_refusal_does_not_wait_for_what_many_servers_never_answer() -> None:
    stage = staged(FtpPolicy(deny=("SITE",)))
    stage.say(CLIENT, b"RETR f\r\n")
    stage.say(SERVER, b"150 a\r\n")
    stage.say(CLIENT, b"NOOP\r\n")
    stage.say(SERVER, b"226 b\r\n")
    stage.say(CLIENT, b"SITE x\r\n")
    assert stage.heard[CLIENT].endswith(b"226 b\r\n502 algate: the gateway's policy does not allow this command.\r\n")


def test_what_may_have_been_refused_waits_for_a_clear_yes() -> None:
    """The peer's connecting no longer counts as agreement."""
    stage = staged()
    stage.say(CLIENT, b"NOOP\r\n" + PORT)
    stage.say(SERVER, b"500 what?\r\n")
    (one,) = stage.expectations.values()
    assert not one.open and one.expect.acts_after is None
    assert stage.reasons("expectation-refused") == ["replies-uncertain"]
    stage.say(SERVER, b"200 fine\r\n")
    (one,) = stage.expectations.values()
    assert one.open


@pytest.mark.parametrize("inside", list(Side))
def test_an_older_agreement_does_not_shut_a_newer_announcement(inside: Side) -> None:
    client, server = (b"10,0,0,5", b"198,51,100,2") if inside is CLIENT else (b"198,51,100,2", b"10,0,0,5")
    stage = staged(inside=inside)
    stage.say(CLIENT, b"NOOP\r\nPORT " + client + b",19,137\r\n")
    stage.say(SERVER, b"200 fine\r\n")
    stage.say(CLIENT, b"PASV\r\n")
    stage.say(SERVER, b"227 here (" + server + b",19,138)\r\n")
    assert [one.open for one in stage.expectations.values()] == [True]


def test_the_last_line_of_a_text_that_seemed_to_have_ended_answers_nothing() -> None:
    stage = staged()
    stage.say(CLIENT, b"HELP\r\nNOOP\r\n" + PORT)
    stage.say(SERVER, b"214-commands\r\n200 of them\r\n214 end\r\n200 noop\r\n")
    assert [one.open for one in stage.expectations.values()] == [False]
    stage.say(SERVER, b"500 no\r\n")
    assert not stage.expectations


@pytest.mark.parametrize("last", [b"200 fine\r\n", b"500 no\r\n"])
def test_a_code_within_the_answer_to_a_port_is_not_its_answer(last: bytes) -> None:
    stage = staged()
    stage.say(CLIENT, PORT)
    stage.say(SERVER, last[:3] + b"-well\r\n" + (b"500 x\r\n" if last[:1] == b"2" else b"200 x\r\n"))
    assert [one.open for one in stage.expectations.values()] == [False]
    stage.say(SERVER, last)
    assert [one.open for one in stage.expectations.values()] == ([True] if last[:1] == b"2" else [])


def test_a_227_within_a_text_that_began_before_the_pasv_was_said() -> None:
    """It answers the PASV only if nothing else is awaited: the text may be the answer to an earlier command."""
    stage = staged()
    stage.say(CLIENT, b"STAT\r\n")
    stage.say(SERVER, b"211-status\r\n")
    stage.say(CLIENT, b"PASV\r\n")
    stage.say(SERVER, b"227 here (198,51,100,2,9,9)\r\n211 end\r\n")
    assert not stage.expectations
    stage.say(SERVER, b"227 here (198,51,100,2,19,137)\r\n250-unasked\r\n")
    stage.say(CLIENT, b"PASV\r\n")
    stage.say(SERVER, b"227 here (198,51,100,2,19,138)\r\n")
    (one,) = stage.expectations.values()
    assert one.open and one.expect.to is not None and one.expect.to.port == 19 * 256 + 138


SAID = st.tuples(
    st.sampled_from((Kind.NAME, Kind.NAME, Kind.OTHER, Kind.TRANSFER, Kind.AUTH, Kind.PASV)), st.booleans()
)
HEARD = st.sampled_from(
    (b"200", b"200", b"500", b"226", b"150", b"350", b"234", b"227", b"250"),
)  # fmt: skip


@pytest.mark.pure
@given(st.booleans(), st.lists(st.one_of(SAID, HEARD, st.just("quoted")), max_size=12))
@example(False, [(Kind.OTHER, False), b"200", (Kind.NAME, False), b"200", b"200"])
@example(False, [(Kind.OTHER, False), b"250", (Kind.NAME, False), b"200", b"500"])
@example(False, [(Kind.NAME, True), b"200"])
@example(False, [(Kind.NAME, False), "quoted", b"200"])
def test_a_ports_own_200_is_heard_as_by_the_general_way(resumed: bool, story: list[Any]) -> None:

    class General(Waiting):
        """Without the shorter way."""

        __slots__ = ()

        def _agreed_by(self, reply: Reply, code: bytes) -> Heard | None:
            return None

    both = Waiting(resumed), General(resumed)
    for number, one in enumerate(story):
        if isinstance(one, tuple):
            for waiting in both:
                if waiting.room(one[0]):
                    waiting.add(one[0], number + 1 if one[0] is Kind.NAME else 0, may=one[1])
        else:
            code, quoted = (b"200", True) if one == "quoted" else (one, False)
            reply = FINAL[code]
            heard = [w.began() if code[:1] == b"1" else w.hear(reply, code, quoted=quoted) for w in both]
            assert heard[0] == heard[1]
        states = [(w._readings, w._told, w._code, w.securing, len(w), w.named, w.plain, w.prospect(2)) for w in both]
        assert states[0] == states[1]
