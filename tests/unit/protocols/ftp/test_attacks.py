"""What an attacker would try on the control channel: no attack succeeds (invariants 1, 2).

Each was tried by hand in a review; the test says if it once worked. What the fuzzer tries is in tests/fuzz.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from algate.alg.plugin.model import Side
from algate.alg.protocols.ftp import PLUGIN
from algate.alg.protocols.ftp.policy import FtpPolicy
from algate.alg.testing import Stage, control
from tests.fuzz.readers import READERS

DENY = FtpPolicy(deny=("DELE", "SITE", "STOR"))
READ_ONLY = FtpPolicy(read_only=True)
PORT = b"PORT 10,0,0,5,31,144\r\n"
ANNOUNCED = b"227 Entering Passive Mode (10,0,0,5,31,144).\r\n"


def staged(policy: FtpPolicy | None = None, inside: Side = Side.CLIENT, greeted: bool = True) -> Stage:
    stage = Stage(PLUGIN, replace(policy or FtpPolicy(), before_login=True), control(inside))
    if greeted:
        stage.say(Side.SERVER, b"220 ready\r\n")
    return stage


def opened(stage: Stage) -> bool:
    return any(one.open for one in stage.expectations.values())


@pytest.mark.parametrize(
    "line",
    [
        b"NOOP\r\0DELE x\r\n",  # worked: CR NUL is data to us, the end of a line to some
        b"\x0bDELE x\r\n",  # worked: isspace() of C
        b"\xc5\xbfITE CHMOD 777 x\r\n",  # worked: the upper case of U+017F is S
        b"\xef\xac\x85OR x\r\n",  # worked: of U+FB05 it is ST
        b"\xff\xfbDELE x\r\n",  # worked: WILL takes an option, or a careless reader thinks not
        b"\xffADELE x\r\n",  # no Telnet command at all
        b"NOOP\rDELE x\r\n",
        b"NOOP\0\nDELE x\r\n",
        b"\xff\xfa\xff\xf0DELE x\r\n",
        b"dElE x\n",
        b" \tDELE\tx\r\n",
        b"D\xff\xf1ELE x\r\n",
    ],
)
def test_a_denied_command_in_disguise(line: bytes) -> None:
    """No server, however it splits lines, obeys what the policy denies."""
    for start in (b"", b"NOOP\r\n"):
        stage = staged(DENY)
        stage.say(Side.CLIENT, start + line)
        stage.say(Side.SERVER, b"200 ok\r\n")
        stage.say(Side.CLIENT, b"QUIT\r\n")
        for reader in READERS:
            assert not set(reader(stage.heard[Side.SERVER])) & {b"DELE", b"SITE", b"STOR"}, reader.__name__


def test_a_refused_line_has_no_tail() -> None:
    """The rest of an over-long denied line isn't a command of its own."""
    stage = staged(DENY)
    stage.say(Side.CLIENT, b"DELE " + b"x" * 5000)
    stage.say(Side.CLIENT, b" NOOP\r\nPWD\r\n")
    assert stage.heard[Side.SERVER] == b"PWD\r\n"


@pytest.mark.parametrize(
    "line", [b"MDTM 20300101000000 x\r\n", b"COMB all a b\r\n", b"XMKD x\r\n", b"site chmod 0 x\r\n"]
)
def test_read_only_means_it(line: bytes) -> None:
    """MDTM with a time sets it on vsftpd; COMB joins files. Both once passed."""
    stage = staged(READ_ONLY)
    stage.say(Side.CLIENT, line + b"MDTM x\r\n")
    assert stage.heard[Side.SERVER] == b"MDTM x\r\n"


@pytest.mark.parametrize(
    "request_line",
    [
        b"POST / HTTP/1.1\r\n",
        b"pORT / HTTP/1.1\r\n",  # worked: a page chooses the method, and its letters
        b"LIST /x HTTP/1.1\r\n",  # worked: a method that is a command of FTP
        b"PORT /x HTTP/1.1\r\n",  # worked
        b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n",  # worked: too long to be read as HTTP
        b"\x00\x03\x00\x58\x21\x12\xa4\x42\r\n",  # worked: TURN, with its user name behind
    ],
)
@pytest.mark.parametrize("login", [b"", b"USER a\r\nPASS b\r\n"])
def test_slipstreaming(request_line: bytes, login: bytes) -> None:
    """A page makes a browser speak to a server that agrees to everything: nothing is opened to the browser's host."""
    stage = staged()
    stage.say(Side.CLIENT, request_line + b"Host: x\r\n\r\n" + login)
    for _ in range(8):
        stage.say(Side.SERVER, b"230 fine\r\n")
    for line in (PORT, b"EPRT |1|10.0.0.5|8080|\r\n"):
        stage.say(Side.CLIENT, line)
        stage.say(Side.SERVER, b"200 fine\r\n")
    assert not stage.expectations and not stage.reserved


@pytest.mark.parametrize(
    "odd, answers",
    [
        (b"NOOP\rNOOP\r\n", b"200 a\r\n200 b\r\n"),  # worked, as the next three: the second answer agreed to the PORT
        (b"NOOP\r\0NOOP\r\n", b"200 a\r\n200 b\r\n"),
        (b"NO\0OP\r\n", b"500 a\r\n200 b\r\n"),
        (b" \r\nNOOP\r\n", b"500 a\r\n200 b\r\n"),
    ],
)
def test_an_answer_too_many_agrees_to_nothing(odd: bytes, answers: bytes) -> None:
    """The server refuses the PORT, and an answer to something else comes in its place."""
    stage = staged()
    stage.say(Side.CLIENT, odd + PORT)
    stage.say(Side.SERVER, answers + b"500 Illegal PORT command.\r\n")
    assert not opened(stage)


@pytest.mark.parametrize(
    "between", [b"120 in a minute\r\n", b"110 MARK 1 = 2\r\n", b"150-text\r\n200 fine\r\n150 go\r\n"]
)
def test_marks_and_texts_agree_to_nothing(between: bytes) -> None:
    stage = staged()
    stage.say(Side.CLIENT, PORT)
    stage.say(Side.SERVER, between)
    assert not opened(stage)
    stage.say(Side.SERVER, b"200-fine\r\n227 (10,0,0,5,9,9)\r\n")
    assert not opened(stage)
    stage.say(Side.SERVER, b"200 fine\r\n")
    assert opened(stage)


def test_an_answer_in_two_halves_agrees_once_it_is_whole() -> None:
    stage = staged()
    stage.say(Side.CLIENT, PORT)
    for piece in (b"2", b"00", b" fin", b"e\r"):
        stage.say(Side.SERVER, piece)
        assert not opened(stage)
    stage.say(Side.SERVER, b"\n")
    assert opened(stage)


def test_login_again_and_rein_end_what_was_open() -> None:
    stage = staged()
    stage.say(Side.CLIENT, PORT)
    stage.say(Side.SERVER, b"200 fine\r\n")
    stage.say(Side.CLIENT, b"REIN\r\n")
    stage.say(Side.SERVER, b"220 again\r\n")
    assert not stage.expectations


def test_a_denied_command_between_does_not_shift_the_answers() -> None:
    """Pipelined PORT, denied, PORT: each 2xx agrees to its own, the gateway's answer to none."""
    stage = staged(DENY)
    stage.say(Side.CLIENT, PORT + b"DELE x\r\nPORT 10,0,0,5,31,145\r\n")
    stage.say(Side.SERVER, b"500 no\r\n")
    assert not stage.expectations or not opened(stage)
    stage.say(Side.SERVER, b"200 fine\r\n")
    (one,) = stage.expectations.values()
    assert one.open and one.public is not None and one.public.port == 31 * 256 + 145
    assert stage.heard[Side.CLIENT].count(b"502 algate") == 1


@pytest.mark.parametrize("said", [b"NOOP\r\n", b"LIST\r\n", b"STAT\r\n", b"HELP\r\n", b"EPSV ALL\r\n", b""])
def test_an_announcement_that_nobody_asked_for(said: bytes) -> None:
    """An outside client makes the inside server say 227 when no PASV is unanswered."""
    stage = staged(inside=Side.SERVER)
    if said:
        stage.say(Side.CLIENT, said)
    stage.say(Side.SERVER, ANNOUNCED)
    assert not stage.expectations and not stage.reserved


def test_one_question_one_answer() -> None:
    """A second 227 for one PASV opens nothing more."""
    stage = staged(inside=Side.SERVER)
    stage.say(Side.CLIENT, b"PASV\r\n")
    stage.say(Side.SERVER, ANNOUNCED + ANNOUNCED.replace(b"144", b"145"))
    (one,) = stage.expectations.values()
    assert one.public is not None and one.public.port == 31 * 256 + 144


def test_a_flood_of_announcements_holds_one_port() -> None:
    stage = staged(inside=Side.SERVER)
    for number in range(300):
        stage.say(Side.CLIENT, b"PASV\r\n")
        stage.say(Side.SERVER, b"227 (10,0,0,5,%d,%d)\r\n" % (40 + number // 250, number % 250))
        assert len(stage.expectations) == len(stage.reserved) == 1
