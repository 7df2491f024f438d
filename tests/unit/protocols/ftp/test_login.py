"""Before the server has accepted a log-in nothing opens, whatever it says to PORT and PASV (`before_login = false`)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from algate.alg.engine import effects as fx
from algate.alg.plugin.model import Refuse, Side
from algate.alg.protocols.ftp import PLUGIN, FtpConversation
from algate.alg.protocols.ftp.policy import BEFORE_LOGIN, FtpPolicy
from algate.alg.testing import Stage, control
from tests.unit.protocols.ftp.test_engine import SERVER_INSIDE, FtpLab

CLIENT, SERVER = Side.CLIENT, Side.SERVER
INSIDE_PORT = b"PORT 10,0,0,5,19,137\r\n"
OUTSIDE_PORT = b"PORT 198,51,100,2,19,137\r\n"
NAMED = {CLIENT: INSIDE_PORT, SERVER: OUTSIDE_PORT}
EXTENDED = {CLIENT: b"EPRT |1|10.0.0.5|5001|\r\n", SERVER: b"EPRT |1|198.51.100.2|5001|\r\n"}
TAKEN = (b"230 in\r\n", b"232 in, secured\r\n", b"202 superfluous\r\n")


def greeted(inside: Side = CLIENT, *, before_login: bool = False) -> Stage:
    made = Stage(PLUGIN, FtpPolicy(before_login=before_login), control(inside))
    made.say(SERVER, b"220 ready\r\n")
    return made


def log_in(made: Stage, accepted: bytes = b"230 in\r\n") -> None:
    made.say(CLIENT, b"USER u\r\n")
    made.say(SERVER, b"331 password\r\n")
    made.say(CLIENT, b"PASS p\r\n")
    made.say(SERVER, accepted)


def opens(made: Stage, inside: Side = CLIENT) -> bool:
    """Whether a PORT that the server agrees to opens anything."""
    made.say(CLIENT, NAMED[inside])
    made.say(SERVER, b"200 ok\r\n")
    return any(one.open for one in made.expectations.values())


@pytest.mark.parametrize("inside", list(Side))
@pytest.mark.parametrize("named", [NAMED, EXTENDED])
def test_an_accomplice_opens_nothing_by_200(inside: Side, named: dict[Side, bytes]) -> None:
    made = greeted(inside)
    made.say(CLIENT, named[inside])
    assert not made.heard[SERVER] and made.heard[CLIENT].endswith(BEFORE_LOGIN.answer)
    made.say(SERVER, b"200 ok\r\n")
    assert not made.expectations and not made.reserved
    assert made.reasons("command-refused") == ["before-login"]


@pytest.mark.parametrize("asked", [(b"PASV\r\n", b"227 (10,0,0,5,19,137)\r\n"), (b"EPSV\r\n", b"229 (|||5001|)\r\n")])
def test_what_a_server_inside_announces_becomes_530(asked: tuple[bytes, bytes]) -> None:
    made = greeted(SERVER)
    made.say(CLIENT, asked[0])
    made.say(SERVER, asked[1])
    assert made.heard[CLIENT] == b"220 ready\r\n" + BEFORE_LOGIN.answer
    assert not made.expectations and not made.reserved
    assert made.reasons("expectation-refused") == ["before-login"]


def test_what_a_server_outside_announces_passes_and_opens_nothing() -> None:
    made = greeted()
    made.say(CLIENT, b"PASV\r\n")
    made.say(SERVER, b"227 (198,51,100,2,19,137)\r\n")
    assert made.heard[CLIENT].endswith(b"227 (198,51,100,2,19,137)\r\n")
    assert not made.expectations and made.reasons("expectation-refused") == ["before-login"]


@pytest.mark.parametrize("inside", list(Side))
@pytest.mark.parametrize("accepted", TAKEN)
def test_it_opens_once_a_log_in_was_accepted(inside: Side, accepted: bytes) -> None:
    made = greeted(inside)
    log_in(made, accepted)
    assert opens(made, inside)


@pytest.mark.parametrize("answer", [b"530 no\r\n", b"332 account\r\n", b"421 away\r\n"])
def test_a_refused_log_in_is_none(answer: bytes) -> None:
    made = greeted()
    log_in(made, answer)
    assert not opens(made)


def test_user_alone_and_an_account_may_do() -> None:
    made = greeted()
    made.say(CLIENT, b"USER u\r\n")
    made.say(SERVER, b"230 in\r\n")
    assert opens(made)
    made = greeted()
    log_in(made, b"332 account\r\n")
    made.say(CLIENT, b"ACCT a\r\n")
    made.say(SERVER, b"230 in\r\n")
    assert opens(made)


@pytest.mark.parametrize("accepted", [True, False])
def test_a_port_sent_ahead_waits_for_what_becomes_of_the_log_in(accepted: bool) -> None:
    made = greeted()
    made.say(CLIENT, b"USER u\r\nPASS p\r\n" + INSIDE_PORT)
    made.say(SERVER, b"331 password\r\n")
    assert made.heard[SERVER] == b"USER u\r\nPASS p\r\n" and not made.expectations
    made.say(SERVER, b"230 in\r\n" if accepted else b"530 no\r\n")
    made.say(SERVER, b"200 ok\r\n")
    assert (b"PORT 203,0,113,1," in made.heard[SERVER]) is accepted
    assert [one.open for one in made.expectations.values()] == [True] * accepted
    assert made.reasons("command-refused") == ([] if accepted else ["before-login"])


@pytest.mark.parametrize("answer", [b"331 password\r\n", b"530 cannot change\r\n"])
def test_another_user_takes_nothing_away(answer: bytes) -> None:
    made = greeted()
    log_in(made)
    made.say(CLIENT, b"USER other\r\n")
    made.say(SERVER, answer)
    assert opens(made)


@pytest.mark.parametrize("ahead", [False, True])
def test_rein_takes_it_away_also_for_a_port_behind_it(ahead: bool) -> None:
    made = greeted()
    log_in(made)
    made.say(CLIENT, b"REIN\r\n" + INSIDE_PORT * ahead)
    made.say(SERVER, b"220 ready\r\n")
    if ahead:
        made.say(SERVER, b"200 ok\r\n")
        assert not made.expectations
    assert not opens(made)
    log_in(made)
    assert opens(made)


def test_a_log_in_that_was_said_before_a_restart_is_seen_by_its_answer() -> None:
    """The client said all at once, and what answers its USER is taken for the answer to its PASS."""
    made = Stage(PLUGIN, FtpPolicy(), replace(control(SERVER), resumed=True, remembered=1))
    made.say(CLIENT, b"PASS p\r\nEPSV\r\n")
    made.say(SERVER, b"331 password\r\n230-hi\r\n227 is no answer\r\n230 in\r\n229 (|||5001|)\r\n")
    assert BEFORE_LOGIN.answer not in made.heard[CLIENT]
    assert [one.open for one in made.expectations.values()] == [True]


def test_an_answer_to_nothing_is_no_log_in() -> None:
    made = greeted()
    made.say(SERVER, b"230 in\r\n")
    assert not opens(made)


def test_the_operator_may_allow_it() -> None:
    assert opens(greeted(before_login=True))


def test_tls_needs_no_log_in() -> None:
    made = greeted()
    made.say(CLIENT, b"AUTH TLS\r\n")
    made.say(SERVER, b"234 go\r\n")
    assert made.bypassed


def test_a_session_picked_up_in_the_middle_counts_as_logged_in() -> None:
    made = Stage(PLUGIN, FtpPolicy(), control())
    made.say(CLIENT, b"NOOP\r\n")
    made.say(SERVER, b"200 ok\r\n")
    assert opens(made)


# -- through the engine: what passes unattended, restarts ----------------------------------------------


@pytest.mark.parametrize("accepted", TAKEN)
def test_a_log_in_that_passes_unattended_counts(accepted: bytes) -> None:
    lab = FtpLab()
    lab.talk(b"220 hi\r\n", b"USER u\r\n", b"331 go on\r\n", b"PASS p\r\n", accepted, INSIDE_PORT, b"200 ok\r\n")
    assert lab.states == [fx.EXPECT_OPEN]


BEGINNINGS: list[list[bytes]] = [
    [b"220 hi\r\n"],
    [b"220 hi\r\n", b"USER u\r\n"],
    [b"220 hi\r\n", b"USER u\r\n", b"331 go on\r\n", b"PASS p\r\n"],
    [b"220 hi\r\n", b"USER u\r\n", b"331 go on\r\n", b"PASS p\r\n", b"530 no\r\n"],
    [b"220 hi\r\n", b"PORT 10,0,0,5,19,137\r\n"],
    [b"220 hi\r\n", b"PORT 10,0"],
]


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("said", BEGINNINGS)
def test_a_restart_is_no_log_in(said: list[bytes], times: int) -> None:
    lab = FtpLab()
    lab.talk(*said)
    for _ in range(times):
        lab.restart()
    if said[-1] == b"PORT 10,0":
        lab.talk(b"", b",0,5,19,137\r\n")
    lab.talk(b"", INSIDE_PORT, b"200 ok\r\n" if len(said) != 2 else b"331 go on\r\n", b"NOOP\r\n", b"200 ok\r\n")
    assert fx.EXPECT_OPEN not in lab.states and b"PORT" not in lab.server.got


@pytest.mark.parametrize("after", range(1, 7))
def test_a_log_in_counts_wherever_the_restart_comes(after: int) -> None:
    lab = FtpLab()
    said = [b"220 hi\r\n", b"USER u\r\n", b"331 go on\r\n", b"PASS p\r\n", b"230 in\r\n", b"NOOP\r\n"]
    lab.talk(*said[:after])
    lab.restart()
    lab.talk(*([b""] if after % 2 else []), *said[after:])
    lab.talk(b"200 ok\r\n", INSIDE_PORT, b"200 ok\r\n")
    assert lab.states == [fx.EXPECT_OPEN]


def test_a_log_in_that_passed_while_nobody_read_counts() -> None:
    lab = FtpLab()
    lab.talk(b"220 hi\r\n", b"USER u\r\n", b"331 go on\r\n", b"PASS p\r\n")
    lab.server.stream += b"230 in\r\n"
    lab.kernel.segment(lab.server.direction, lab.server.send(lab.server.sent, 8))
    assert lab.punts and lab.punts[-1].copied
    lab.restart()
    lab.finish()
    lab.talk(b"", INSIDE_PORT, b"200 ok\r\n")
    assert bytes(lab.client.got).count(b"230") == 1 and lab.states == [fx.EXPECT_OPEN]


def test_a_server_inside_across_a_restart() -> None:
    lab = FtpLab(info=SERVER_INSIDE)
    lab.talk(b"220 hi\r\n", b"PASV\r\n")
    lab.restart()
    lab.talk(b"227 (10,0,0,5,19,137)\r\n")
    lab.finish()
    assert bytes(lab.client.got) == b"220 hi\r\n" + BEFORE_LOGIN.answer and not lab.states


@pytest.mark.parametrize("answer", [b"230 in\r\n", b"530 no\r\n"])
def test_behind_a_restart_a_port_waits_for_what_becomes_of_the_log_in(answer: bytes) -> None:
    """USER and PASS may have been said ahead, and nobody remembers them."""
    made = Stage(PLUGIN, FtpPolicy(), replace(control(), resumed=True, remembered=1))
    made.say(CLIENT, INSIDE_PORT)
    made.say(SERVER, b"331 go on\r\n")
    assert made.heard[SERVER] == b"" and made.heard[CLIENT] == b"331 go on\r\n"
    made.say(SERVER, answer)
    told = b"" if answer.startswith(b"2") else BEFORE_LOGIN.answer
    assert made.heard[CLIENT] == b"331 go on\r\n" + answer + told
    assert made.heard[SERVER].startswith(b"PORT ") is not bool(told)


def test_a_port_that_nobody_answers_behind_a_restart_is_refused_in_the_end() -> None:
    made = Stage(PLUGIN, FtpPolicy(), replace(control(), resumed=True, remembered=1))
    made.say(CLIENT, INSIDE_PORT)
    assert isinstance(made.conversation, FtpConversation) and made.heard[CLIENT] == b""
    deadline = made.conversation.deadline()
    assert deadline is not None
    said = made.conversation.feed(CLIENT, INSIDE_PORT, deadline)
    assert [one.answer for one in said if isinstance(one, Refuse)] == [BEFORE_LOGIN.answer]
