"""What the audit is told about commands and transfers: who, what, verdict, reason; never a secret."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from algate.alg.plugin.model import Audience, Event, Pass, Purpose, Side, Terse
from algate.alg.protocols.base import READ_MOST
from algate.alg.protocols.ftp import PLUGIN
from algate.alg.protocols.ftp.audit import _VERB, parsed, shown
from algate.alg.protocols.ftp.dialogue import COMMANDS, UNATTENDED, UNATTENDED_64, Kind
from algate.alg.protocols.ftp.policy import FtpPolicy
from algate.alg.testing import Stage, control

pytestmark = pytest.mark.unit


def audited(policy: FtpPolicy | None = None, room: int = 1000) -> tuple[Stage, Audience]:
    """A logged-in session that somebody listens to."""
    audience = Audience(room)
    stage = Stage(PLUGIN, policy or FtpPolicy(), replace(control(), audience=audience))
    stage.say(Side.SERVER, b"220 ready\r\n")
    for command, reply in ((b"USER alice\r\n", b"331 go on\r\n"), (b"PASS hunter2\r\n", b"230 in\r\n")):
        stage.say(Side.CLIENT, command)
        stage.say(Side.SERVER, reply)
    return stage, audience


def commands(stage: Stage) -> list[tuple[str, object, object, str]]:
    """Detail, verdict, user and reason of each command event."""
    told = [one for one in stage.events if one.event in ("command", "command-refused")]
    return [(one.detail, dict(one.fields)["verdict"], dict(one.fields)["user"], one.reason) for one in told]


def test_each_command_is_told_once_with_its_verdict() -> None:
    stage, _ = audited(FtpPolicy(deny=("DELE",)))
    for line, reply in (
        (b"PORT 10,0,0,5,100,0\r\n", b"200 ok\r\n"),
        (b"PORT 10,0,0,9,100,0\r\n", b"200 ok\r\n"),
        (b"DELE x\r\n", b""),
        (b"NOOP\r\n", b"200 ok\r\n"),
    ):
        stage.say(Side.CLIENT, line)
        if reply:
            stage.say(Side.SERVER, reply)
    assert commands(stage) == [
        ("USER alice", "pass", "", ""),
        ("PASS ****", "pass", "alice", ""),
        ("PORT 10,0,0,5,100,0", "rewrite", "alice", ""),
        ("PORT 10,0,0,9,100,0", "pass", "alice", "port-not-client"),
        ("DELE x", "refuse", "alice", "denied-command"),
        ("NOOP", "pass", "alice", ""),
    ]


def test_without_room_nothing_is_made_and_it_is_counted() -> None:
    stage, audience = audited(room=1)
    stage.say(Side.CLIENT, b"NOOP\r\nNOOP\r\n")
    assert [one[0] for one in commands(stage)] == ["USER alice"]
    assert (audience.room, audience.missed) == (0, 3)


def test_without_an_audience_actions_are_as_ever() -> None:
    stage = Stage(PLUGIN, FtpPolicy())
    stage.say(Side.SERVER, b"220 ready\r\n")
    assert not any(isinstance(one, Event | Purpose) for one in stage.say(Side.CLIENT, b"NOOP\r\nRETR x\r\n"))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"PASS hunter2", "PASS ****"),
        (b"  pass\thunter2", "PASS ****"),
        (b"PASShunter2", "PASS ****"),
        (b"PASS:hunter2", "PASS ****"),
        (b"ACCT hunter2", "ACCT ****"),
        (b"ADAT aHVudGVyMg==", "ADAT ****"),
        (b"MIC hunter2", "MIC ****"),
        (b"SITE PSWD hunter1 hunter2", "SITE PSWD ****"),
        (b"site  gpass hunter2", "SITE gpass ****"),
        (b"SITE CHMOD 644 x", "SITE CHMOD 644 x"),
        (b"SITE FILETYPE=SEQ LRECL=80", "SITE FILETYPE=SEQ LRECL=80"),
        (b"SITE HELP", "SITE HELP"),
        (b"SITE", "SITE"),
        (b"SITE CHPASS alice hunter2", "SITE CHPASS ****"),
        (b"SITE chpass\thunter2", "SITE chpass ****"),
        (b"SITE PASSWD hunter1 hunter2", "SITE PASSWD ****"),
        (b"SITE PASS hunter2", "SITE PASS ****"),
        (b"SITE CPWD hunter2", "SITE CPWD ****"),
        (b"SITE NOVICE hunter2", "SITE NOVICE ****"),
        (b"SITE ADDUSER bob hunter2 *@*", "SITE ADDUSER ****"),
        (b"USER alice", "USER alice"),
        (b"USER alice hunter2", "USER alice ****"),
        (b"USER alice:hunter2", "USER alice ****"),
        (b"USER alice@198.51.100.7", "USER alice@198.51.100.7"),
        (b"QUOTE PASS hunter2", "QUOTE ****"),
        (b"XPASS hunter2", "XPASS ****"),
        (b"SIZE hunter.txt", "SIZE hunter.txt"),
        (b"RETR pass", "RETR pass"),
        (b"PASV", "PASV"),
        (b"", ""),
    ],
)
def test_secrets_are_masked(line: bytes, told: str) -> None:
    assert shown(*parsed(line)) == told
    assert "hunter" not in told.replace("hunter.txt", "")


def test_no_secret_in_any_event_however_it_is_sent() -> None:
    stage, _ = audited(FtpPolicy(deny=("PASS",)))
    for line in (
        b"PASS secret\x00\r\n",
        b"\rPASS secret\r\n",
        b"PASS " + b"secret" * 900 + b"\r\n",
        b"PASS secret\r\n",
        b"\xff\xf4\xff\xf2PASS secret\r\n",
        b"SITE CHPASS alice secret\r\n",
        b"SITE CHPASS alice secret\x00\r\n",
        b"P\x08ASS secret\r\n",
        b"USER alice:secret\r\n",
    ):
        stage.say(Side.CLIENT, line)
        stage.say(Side.SERVER, b"500 what?\r\n")
    assert len(stage.events) > 4
    assert "secret" not in repr(stage.events)


def purposes(stage: Stage, side: Side, line: bytes) -> list[Purpose]:
    return [one for one in stage.say(side, line) if isinstance(one, Purpose)]


def test_a_transfer_is_tied_to_its_connection() -> None:
    stage, _ = audited()
    stage.say(Side.CLIENT, b"PASV\r\n")
    stage.say(Side.SERVER, b"227 (198,51,100,2,200,0)\r\n")
    (tag,) = stage.expectations
    stage.outcome(tag, "used")
    (made,) = purposes(stage, Side.CLIENT, b"RETR \xe9t\xe9 1.bin\r\n")
    assert (made.tag, made.detail) == (tag, "RETR \xe9t\xe9 1.bin")
    assert dict(made.fields) == {"verb": "RETR", "name": "\xe9t\xe9 1.bin", "user": "alice", "reply": ""}
    stage.say(Side.SERVER, b"150 here it comes\r\n")
    (done,) = purposes(stage, Side.SERVER, b"226 done\r\n")
    assert (done.tag, dict(done.fields)["reply"]) == (tag, "226")
    assert purposes(stage, Side.CLIENT, b"RETR other\r\n") == [], "that connection is spent"


def test_a_refused_transfer_says_so_and_the_connection_serves_the_next() -> None:
    stage, _ = audited()
    stage.say(Side.CLIENT, b"PORT 10,0,0,5,100,0\r\n")
    stage.say(Side.SERVER, b"200 ok\r\n")
    (tag,) = stage.expectations
    stage.say(Side.CLIENT, b"RETR none\r\n")
    stage.say(Side.SERVER, b"550 no such file\r\n")
    (failed,) = [one for one in stage.events if one.event == "transfer-failed"]
    assert (failed.detail, failed.reason, dict(failed.fields)["answer"]) == (
        "RETR none",
        "reply-550",
        "550 no such file",
    )
    assert [one.tag for one in purposes(stage, Side.CLIENT, b"STOR some\r\n")] == [tag]


def test_a_good_reply_that_passed_unread_spends_the_connection() -> None:
    stage, _ = audited()
    stage.say(Side.CLIENT, b"PASV\r\n")
    stage.say(Side.SERVER, b"227 (198,51,100,2,200,0)\r\n")
    (tag,) = stage.expectations
    stage.outcome(tag, "used")
    assert [one.tag for one in purposes(stage, Side.CLIENT, b"RETR one\r\n")] == [tag]
    cast(Terse, stage.conversation).skipped(0, 1)
    assert purposes(stage, Side.CLIENT, b"RETR other\r\n") == [], "that connection carried the first"


def test_what_names_a_transfer_is_read_though_nobody_waits_for_it() -> None:
    """And so is each reply that says why there was none; a good one isn't."""
    verbs = {verb for verb, kind in COMMANDS.items() if kind is Kind.TRANSFER}
    assert verbs <= UNATTENDED.copied
    failed = {one for one in UNATTENDED.replies if one[:1] in b"45" and not one.startswith(b"50")}
    assert failed - UNATTENDED.copied == {b"530", b"532"}, "these two are about the log-in"
    assert not {b"150", b"226"} & UNATTENDED.copied


def test_what_is_told_is_what_names_a_transfer_and_nothing_else() -> None:
    """What follows it in a session at rest needn't be read: `unattended` says the same before and behind it."""
    verbs = {verb for verb, kind in COMMANDS.items() if kind is Kind.TRANSFER}
    assert verbs == UNATTENDED.told == UNATTENDED_64.told
    for verb in sorted(verbs):
        stage, _ = audited()
        terse = cast(Terse, stage.conversation)
        before = terse.unattended()
        assert before is not None and not before.read
        stage.say(Side.CLIENT, verb + b" x\r\n")
        after = terse.unattended()
        assert after is not None and (after.lines, after.read) == (before.lines, False)
        assert after.unanswered == before.unanswered + 1


@pytest.mark.parametrize("before", range(14))
def test_room_for_what_is_told_and_what_passes_between(before: int) -> None:
    """Seven transfers whose copies nobody has judged yet, each with a command behind it that was only counted."""
    stage, _ = audited()
    terse = cast(Terse, stage.conversation)

    def transfers(number: int) -> None:
        for _ in range(number):
            assert list(stage.conversation.feed(Side.CLIENT, b"RETR x\r\n", 0.0))[-1:] == [Pass(8)]
            terse.skipped(1, 0)

    transfers(before)
    while (said := terse.unattended()) is not None and not said.read:
        transfers(READ_MOST)


@given(st.lists(st.sampled_from(("P", "a", "1", " ", " ", "\t", "\r", "\xe9")), max_size=6).map("".join))
@example("A \t1")
@example("A\t1 ")
@example(" A 1")
def test_usual_commands_are_parsed_as_odd_ones_are(said: str) -> None:
    text = said.encode("latin-1")
    match = _VERB.match(text)
    assert match is not None
    assert parsed(text) == (match[1].upper(), text[match.end() :])
