"""What the operator forbids never reaches the server, both streams stay in step, and no password is shown."""

from __future__ import annotations

import pytest

from algate.alg.plugin.model import Side
from algate.alg.protocols.ftp import PLUGIN
from algate.alg.protocols.ftp.policy import TOO_FAST, WRITING, FtpPolicy, Gate
from algate.alg.testing import Stage

CLIENT, SERVER = Side.CLIENT, Side.SERVER
READ_ONLY = FtpPolicy(read_only=True)


def stage(policy: FtpPolicy) -> Stage:
    made = Stage(PLUGIN, policy)
    made.say(SERVER, b"220 ready\r\n")
    made.heard = {CLIENT: b"", SERVER: b""}
    return made


@pytest.mark.parametrize(
    ("policy", "line", "code", "reason"),
    [
        (FtpPolicy(deny=("SITE", "DELE")), b"DELE f", b"502", "denied-command"),
        (FtpPolicy(deny=("dele",)), b"dElE f", b"502", "denied-command"),
        (FtpPolicy(deny=("DELE",)), b" \tDELE f", b"502", "denied-command"),
        (FtpPolicy(deny=("DELE",)), b"DE\xff\xf1LE f", b"502", "denied-command"),
        (FtpPolicy(deny=("MKD",)), b"XMKD d", b"502", "denied-command"),
        (FtpPolicy(deny=("XMKD",)), b"MKD d", b"502", "denied-command"),
        (FtpPolicy(deny=("PORT",)), b"PORT 10,0,0,5,19,137", b"502", "denied-command"),
        (FtpPolicy(allow=("USER", "PASS")), b"NOOP", b"502", "denied-command"),
        (READ_ONLY, b"STOR f", b"550", "read-only"),
        (READ_ONLY, b"XMKD d", b"550", "read-only"),
        (READ_ONLY, b"SITE CHMOD 777 f", b"550", "read-only"),
        (FtpPolicy(anonymous_only=True), b"USER root", b"530", "anonymous-only"),
        (FtpPolicy(tls="refuse"), b"AUTH TLS", b"534", "tls-refused"),
        (FtpPolicy(tls="refuse"), b"auth SSL", b"534", "tls-refused"),
        (FtpPolicy(deny=("DELE",)), b"DELE\0 f", b"500", "unreadable-line"),
        (FtpPolicy(deny=("DELE",)), b"NOOP\rDELE f", b"500", "unreadable-line"),
        (FtpPolicy(deny=("DELE",)), b"NOOP" + b"x" * 9000, b"500", "unreadable-line"),
    ],
)
def test_the_server_never_sees_what_is_refused_ftp_88(policy: FtpPolicy, line: bytes, code: bytes, reason: str) -> None:
    made = stage(policy)
    made.say(CLIENT, line + b"\r\n")
    assert made.heard[SERVER] == b""
    answer = made.heard[CLIENT]
    assert answer.startswith(code + b" algate: ") and answer.endswith(b".\r\n") and answer.count(b"\r\n") == 1
    assert made.reasons("command-refused") == [reason]
    made.say(CLIENT, b"USER ftp\r\n")
    made.say(SERVER, b"331 next\r\n")
    assert made.heard == {CLIENT: answer + b"331 next\r\n", SERVER: b"USER ftp\r\n"}


@pytest.mark.parametrize(
    ("policy", "line"),
    [
        (FtpPolicy(deny=("SITE",)), b"RETR SITE"),
        (FtpPolicy(allow=("RETR",)), b"retr f"),
        (FtpPolicy(allow=("CWD",)), b"XCWD f"),
        (READ_ONLY, b"RETR f"),
        (FtpPolicy(anonymous_only=True), b"USER Anonymous "),
        (FtpPolicy(anonymous_only=True), b"user ftp"),
        (FtpPolicy(), b"DELE\0 f"),
        (FtpPolicy(), b"NOOP\rDELE f"),
    ],
)
def test_what_is_not_refused_passes(policy: FtpPolicy, line: bytes) -> None:
    made = stage(policy)
    made.say(CLIENT, line + b"\r\n")
    assert made.heard == {CLIENT: b"", SERVER: line + b"\r\n"}


def test_a_refusal_waits_its_turn_ftp_88() -> None:
    """The client counts answers: ours must not come before those to earlier commands, nor before the greeting."""
    made = Stage(PLUGIN, FtpPolicy(deny=("DELE",)))
    made.say(CLIENT, b"DELE a\r\nNOOP\r\nDELE b\r\nNOOP\r\n")
    assert made.heard == {CLIENT: b"", SERVER: b""}
    made.say(SERVER, b"220 ready\r\n")
    made.say(SERVER, b"200 first\r\n")
    codes = [line[:3] for line in made.heard[CLIENT].splitlines()]
    assert codes == [b"220", b"502", b"200", b"502"]
    assert made.heard[SERVER] == b"NOOP\r\nNOOP\r\n"


def test_the_rest_of_a_refused_overlong_line_is_refused_too_ftp_19() -> None:
    made = stage(READ_ONLY)
    for _ in range(5):
        made.say(CLIENT, b"x" * 3000)
    made.say(CLIENT, b"\nNOOP\r\n")
    assert made.heard[SERVER] == b"NOOP\r\n"
    assert made.heard[CLIENT].count(b"500 ") == 1


def test_an_unfinished_denied_command_does_not_slip_out_before_a_fin() -> None:
    made = stage(READ_ONLY)
    made.say(CLIENT, b"NOOP\r\nDELE f\r\nDELE g", end=True)
    assert made.heard[SERVER] == b"NOOP\r\n" and made.undecided[CLIENT] == b""


@pytest.mark.parametrize("verb", [b"PASS", b"ACCT", b"pass", b" PASS"])
def test_secrets_are_masked_ftp_85(verb: bytes) -> None:
    made = stage(FtpPolicy(allow=("USER",)))
    made.say(CLIENT, verb + b" hunter2\r\n")
    assert made.reasons("command-refused") == ["denied-command"]
    assert "hunter2" not in repr(made.events) and "****" in made.events[-1].detail


@pytest.mark.parametrize("line", [b"PASS hun\0ter2", b"PASS hunter2\rx", b"PASS " + b"hunter2" * 1000])
@pytest.mark.parametrize("policy", [FtpPolicy(), READ_ONLY])
def test_secrets_in_unreadable_lines_are_not_shown_ftp_85(line: bytes, policy: FtpPolicy) -> None:
    made = stage(policy)
    made.say(CLIENT, line + b"\r\n")
    assert made.events and "hun" not in repr(made.events)


def test_what_can_not_be_read_is_ended_where_reading_is_relied_on_ftp_81() -> None:
    for said in (b"SSH-2.0-x\r\n", b"\x16\x03\x03\x00"):
        made = Stage(PLUGIN, READ_ONLY)
        made.say(SERVER, said)
        assert made.reset and made.heard[CLIENT] == b""
    for said in (b"\x16\x03\x01\x00", b"GET / HTTP/1.0\r\n"):
        made = Stage(PLUGIN, READ_ONLY)
        made.say(CLIENT, said)
        assert made.reset and made.heard[SERVER] == b""


def test_a_client_that_hurries_is_told_so() -> None:
    made = stage(FtpPolicy(commands_per_second=2.0))
    for _ in range(4):
        made.say(CLIENT, b"NOOP\r\n")
        if made.heard[SERVER].count(b"NOOP") > made.heard[CLIENT].count(b"200 "):
            made.say(SERVER, b"200 ok\r\n")
    assert made.heard[SERVER].count(b"NOOP") == 2
    assert made.heard[CLIENT].count(TOO_FAST.answer) == 2
    made.now = 1.0
    made.say(CLIENT, b"NOOP\r\n")
    assert made.heard[SERVER].count(b"NOOP") == 3


def test_the_bucket_holds_a_second_and_leaks() -> None:
    gate = Gate(FtpPolicy(commands_per_second=10.0))
    assert [gate.hurries(5.0) for _ in range(12)] == [False] * 10 + [True] * 2
    assert [gate.hurries(5.25) for _ in range(3)] == [False, False, True]
    assert not Gate(FtpPolicy()).hurries(0.0)


def test_only_who_asks_for_it_pays_for_reading() -> None:
    assert not Gate(FtpPolicy()).strict
    assert Gate(READ_ONLY).strict and Gate(FtpPolicy(tls="refuse")).strict and Gate(FtpPolicy(allow=("USER",))).strict


def test_read_only_knows_every_writing_command_of_the_rfcs() -> None:
    rfc959 = {b"STOR", b"STOU", b"APPE", b"ALLO", b"RNFR", b"RNTO", b"DELE", b"RMD", b"MKD", b"SITE"}
    assert rfc959 <= WRITING and not WRITING & {b"RETR", b"LIST", b"NLST", b"CWD", b"PORT", b"PASV", b"TYPE", b"REST"}


def test_lprt_and_lpsv_get_502_where_that_is_wanted_ftp_22() -> None:
    for line in (b"LPRT 4,4,10,0,0,5,2,19,137", b"lpsv"):
        made = stage(FtpPolicy(lprt="refuse"))
        made.say(CLIENT, line + b"\r\n")
        assert made.heard[SERVER] == b"" and made.heard[CLIENT].startswith(b"502 algate: ")
        assert made.reasons("command-refused") == ["rfc1639"]
        made = stage(FtpPolicy())
        made.say(CLIENT, line + b"\r\n")
        assert made.heard[SERVER] == line + b"\r\n" and not made.expectations
    assert not Gate(FtpPolicy(lprt="refuse")).strict, "nobody relies on it: unreadable lines still pass"


@pytest.mark.parametrize(("low", "opens"), [((), False), ((989,), True), ((990,), False)])
def test_a_port_below_min_port_only_where_it_is_listed_ftp_6(low: tuple[int, ...], opens: bool) -> None:
    made = stage(FtpPolicy(low_ports=low, before_login=True))
    made.say(CLIENT, b"PORT 10,0,0,5,3,221\r\n")
    made.say(SERVER, b"200 ok\r\n")
    assert bool(made.expectations) is opens
    assert made.reasons("expectation-refused") == ([] if opens else ["port-too-low"])


@pytest.mark.parametrize("strict", [False, True])
def test_strict_lines_let_no_bare_lf_open_anything_ftp_15(strict: bool) -> None:
    made = stage(FtpPolicy(strict_lines=strict, before_login=True))
    made.say(CLIENT, b"PORT 10,0,0,5,19,137\n")
    made.say(SERVER, b"200 ok\r\n")
    assert bool(made.expectations) is not strict
    assert made.reasons("violation") == (["bare-lf"] if strict else [])
    made = stage(FtpPolicy(strict_lines=strict, read_only=True))
    made.say(CLIENT, b"NOOP\n")
    assert made.heard[SERVER] == (b"" if strict else b"NOOP\n")
