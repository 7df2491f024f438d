"""Lines that pass without the helper (issue 5, item 3): which do, and that nobody notices."""

from __future__ import annotations

from dataclasses import replace

import pytest

from algate.alg.engine import effects as fx
from algate.alg.engine.account import Account, copies, counted, is_older, passed
from algate.alg.engine.frames import ACK, PSH
from algate.alg.engine.limits import Limits
from algate.alg.engine.session import Session
from algate.alg.plugin.model import Lines
from tests.dialogues import GREETING, LOGIN, QUIT, pasv, port
from tests.ftplab import FtpLab
from tests.textbook import Exchange
from tests.wire import INFO, INSIDE, REMOTE

IN_IP, OUT_IP = (".".join(map(str, ip)) for ip in (INSIDE, REMOTE))
NOOP = Exchange(b"NOOP\r\n", b"200 Nothing done.\r\n")
SYST = Exchange(b"syst\r\n", b"215 UNIX Type: L8\r\n")
FEAT = Exchange(b"FEAT\r\n", b"211-Features:\r\n EPSV\r\n211 End\r\n")


def lab_of(*said: Exchange, classify: bool = True) -> FtpLab:
    lab = FtpLab([GREETING, *LOGIN, *said], True, limits=Limits(classify=classify))
    lab.finish()
    lab.check()
    return lab


def word(lab: FtpLab, text: bytes, flags: int = ACK | PSH) -> list[bytes]:
    """The client sends more in one segment; returns the payloads that leave at once, without the helper."""
    end = lab.client
    end.stream += text
    lab.kernel.segment(end.direction, end.send(end.sent, len(text))._replace(flags=flags))
    return [packet.payload for _, packet, past in lab.queue if past]


def test_of_ten_commands_two_matter() -> None:
    said = [NOOP, SYST, NOOP, pasv(OUT_IP, 50000), SYST, NOOP, NOOP, port(IN_IP, 5001), NOOP, SYST]
    lab = lab_of(*said)
    assert lab.kernel.account.number >= 6
    assert lab.opened == lab.agreed and len(lab.opened) == 2
    assert lab_of(*said, classify=False).kernel.account.number == 0


def test_the_rest_of_a_reply_of_many_lines_is_attended() -> None:
    lab = lab_of(FEAT, NOOP)
    assert lab.kernel.account.number == 7  # the greeting, USER and its reply, PASS, FEAT, NOOP and its reply
    assert lab.toys == [] and not lab.engine.counts["line-unknown"]


@pytest.mark.parametrize(
    "text",
    [
        b"PORT 10,0,0,5,19,137\r\n", b"NOOP\r\nPORT 10,0,0,5,19,137\r\n", b"NOO", b"NOOP\n", b"NOOP x\r",
        b"XYZZ\r\n", b" NOOP\r\n", b"NOOP\t\r\n", b"\xff\xf4NOOP\r\n", b"NOOP a\0\r\n", b"NOOPS\r\n", b"\r\n",
        b"CWD " + b"x" * 260 + b"\r\n", b"200 NOOP\r\n", b"NOOP\r\n\r\n",
    ],
)  # fmt: skip
def test_what_is_not_one_plain_line_of_no_interest_is_punted(text: bytes) -> None:
    lab = lab_of(NOOP)
    assert word(lab, text) == [] and len(lab.punts) == 1


def test_a_statement_ends_with_the_next_punt() -> None:
    lab = lab_of()
    assert word(lab, b"NOOP\r\n") == [b"NOOP\r\n"]
    assert word(lab, b"PORT 10,0,0,5,19,137\r\n") == [b"NOOP\r\n"] and len(lab.punts) == 1
    assert word(lab, b"NOOP\r\n") == [b"NOOP\r\n"] and len(lab.punts) == 2, "while the helper thinks"


def test_the_reply_of_a_passed_command_is_not_taken_for_that_of_pasv() -> None:
    """Pipelined: NOOP passes, PASV is read afterwards; the 200 answers NOOP and the 227 PASV, however they passed."""
    lab = lab_of()
    word(lab, b"NOOP\r\n")
    word(lab, b"PASV\r\n")
    lab.run()
    for text in (b"200 ok\r\n", b"227 (198,51,100,2,200,10)\r\n"):
        end = lab.server
        end.stream += text
        lab.submit(end.send(end.sent, len(text)))
    assert [one.to.port for one in lab.kernel.opened] == [51210]


def test_what_is_stored_until_it_is_acknowledged_keeps_no_line_from_passing_unread() -> None:
    lab = FtpLab([GREETING, *LOGIN, pasv(IN_IP, 50000)], False, limits=Limits())
    lab.finish()
    assert lab.kernel.held, "the 227 was rewritten, and nothing has told the helper that the client has it"
    number, copied = lab.kernel.account.number, lab.kernel.account.copied
    assert word(lab, b"NOOP\r\n") == [b"NOOP\r\n"]
    assert (lab.kernel.account.number, lab.kernel.account.copied) == (number + 1, copied)
    lab.tick(Limits().idle + 1)
    assert not lab.kernel.held, "a silent session is looked at, copies or not"


def test_an_unasked_reply_is_read() -> None:
    lab = lab_of(NOOP)
    end = lab.server
    end.stream += b"200 Nobody asked.\r\n"
    lab.kernel.segment(end.direction, end.send(end.sent, 19))
    assert [one.copied for one in lab.punts] == [True] and len(lab.queue) == 1


def test_lines_repeated_in_one_segment_are_known_by_their_digests() -> None:
    lab = lab_of()
    word(lab, b"NOOP\r\n")
    word(lab, b"SYST\r\n")
    lab.queue.clear()
    lab.submit(lab.client.send(lab.client.una, 12))
    assert lab.engine.counts["line-again"] == 2
    lab.run()
    assert bytes(lab.server.got).endswith(b"NOOP\r\nSYST\r\n")


def test_other_bytes_in_the_place_of_a_passed_line_never_leave() -> None:
    lab = lab_of()
    word(lab, b"CWD aaaaaaaaaaaaaaaa\r\n")
    lab.queue.clear()
    packet = lab.client.send(lab.client.una, 22)
    forged = b"PORT 10,0,0,5,19,13\r\nX"
    lab.submit(packet._replace(payload=forged[:22]))
    assert lab.engine.counts["line-unknown"] == 1
    assert not any(b"PORT" in sent.payload for _, sent, _ in lab.queue) and not lab.kernel.expectations


def test_whoever_follows_every_command_gets_every_line() -> None:
    lab = lab_of(NOOP)
    lab.do(lab.engine.attend(True))
    assert word(lab, b"NOOP\r\n") == []
    lab.think()
    lab.do(lab.engine.attend(False))
    assert not lab.kernel.adjust or not lab.kernel.adjust.flags & fx.ADJUST_LINES


def test_a_denied_command_of_no_interest_does_not_exist() -> None:
    lab = FtpLab([GREETING, *LOGIN, NOOP], True, deny=("DELE",))
    lab.finish()
    assert lab.kernel.account.number == 0


def test_a_statement_ends_with_the_helper_that_made_it() -> None:
    """The next helper may have another policy, or somebody who wants every line."""
    lab = lab_of(NOOP)
    lab.policy = replace(lab.policy, deny=("DELE",))
    lab.restart()
    assert word(lab, b"DELE important\r\n") == []
    lab.run()
    assert not lab.server.got.endswith(b"important\r\n") and b"502 algate" in lab.client.got


def test_a_punt_that_another_overtook_tells_an_old_account() -> None:
    """Each CPU has its own ring: the older of two may be read later, and lines may have passed between."""
    lab = lab_of()
    for _ in range(3):
        lab.client.stream += b"XYZZ\r\n"
        lab.submit(lab.client.send(lab.client.sent, 6))
    lab.run()
    lab.client.stream += b"SITE\r\n"
    lab.kernel.segment(lab.client.direction, lab.client.send(lab.client.sent, 6))
    late = lab.punts.pop()
    for line in (b"299 one\r\n", b"200 two\r\n", b"299 three\r\n"):
        lab.server.stream += line
        lab.submit(lab.server.send(lab.server.sent, len(line)))
        assert lab.kernel.adjust and not lab.kernel.adjust.flags & fx.ADJUST_LINES, "there is one under way"
    lab.punts.append(late)
    lab.run()
    lab.server.stream += b"299 four\r\n"
    lab.submit(lab.server.send(lab.server.sent, 10))
    lab.run()
    assert lab.client.got.endswith(b"299 four\r\n") and lab.server.got.endswith(b"SITE\r\n")
    assert not lab.kernel.adjust or lab.kernel.adjust.flags & fx.ADJUST_LINES, "nothing is missing any more"


def test_a_lost_punt_is_missed_for_a_moment_only() -> None:
    account = Account()
    told = [(account.punted(word, at), account.missing) for word, at in ((1, 10.0), (3, 10.1), (2, 10.2), (6, 10.3))]
    assert told == [(True, 0), (True, 1), (False, 0), (True, 2)]
    assert account.punted(7, 12.0) and not account.missing


def test_what_the_kernel_says_now_leaves_out_punts_that_are_on_their_way() -> None:
    session = Session(INFO)
    session.account.punted(1, 10.0)
    session.flows[0].start(1000)
    told = session.catch_up(6 << 36 | 1 << 16 | 4)
    assert told is not None and told.commands == 1 and session.account.word == 6 << 36 | 1 << 16 | 1


@pytest.mark.parametrize("classify", [True, False])
def test_nothing_opens_behind_a_quit_that_passed_unattended(classify: bool) -> None:
    lab = lab_of(QUIT, classify=classify)
    word(lab, b"PORT 10,0,0,5,19,137\r\n")
    lab.run()
    lab.server.stream += b"200 ok\r\n"
    lab.submit(lab.server.send(lab.server.sent, 8))
    assert not lab.kernel.opened and lab.server.got.endswith(b"PORT 10,0,0,5,19,137\r\n")


def test_a_session_ends_as_any_other() -> None:
    lab = lab_of(NOOP, QUIT)
    assert lab.engine.counts["line-unknown"] == 0


def account_of(punts: int, commands: int = 0, replies: int = 0, read: int = 0, out: int = 0, back: int = 0) -> int:
    """The kernel's word with these counts."""
    return punts | commands << 16 | replies << 23 | read << 30 | out << 36 | back << 50


def test_the_account_is_modular() -> None:
    before = account_of(0xFFFF, 126, 127, 63, 3, 0x3FF0)
    after = account_of(2, 1, 1, 1, 3, 5)
    told = passed(before, after)
    assert (told.commands, told.replies, told.size) == (3, 2, (0, 21))
    assert (copies(before, after), copies(after, before)) == (2, -2)


def test_a_copy_is_counted_with_its_line() -> None:
    before = account_of(7, 127, 3, 63, 0x3FFE, 9)
    after = counted(before, fx.OUT, 6, True, False)
    assert after == account_of(7, 0, 3, 0, 4, 9) and counted(after, fx.OUT, 6, True, False, -1) == before


def test_the_same_words_have_the_same_number() -> None:
    one = Lines(frozenset((b"NOOP", b"CWD")), frozenset((b"200",)))
    assert one.number == Lines(frozenset((b"CWD", b"NOOP")), frozenset((b"200",))).number
    assert one.number != Lines(frozenset((b"CWD",)), frozenset((b"200",))).number
    others = {Lines(one.commands, one.replies, then=then).number for then in (None, one)}
    assert len(others | {Lines(one.commands, one.replies, one.replies, settling=one.replies).number}) == 3


@pytest.mark.parametrize(
    ("word", "than", "older"),
    [
        (account_of(5, 2, 2, 0, 16, 16), account_of(5, 2, 2, 0, 16, 16), False),
        (account_of(5, 3, 3, 0, 22, 22), account_of(5, 2, 2, 0, 16, 16), False),
        (account_of(5, 2, 2, 0, 16, 16), account_of(5, 3, 3, 0, 22, 22), True),
        (account_of(4, 2, 2, 0, 16, 16), account_of(5, 3, 3, 0, 22, 22), True),
        (account_of(2, 3, 3, 0, 22, 22), account_of(0xFFFF, 2, 2, 0, 16, 16), False),
        (account_of(0xFFFF, 2, 2, 0, 16, 16), account_of(2, 3, 3, 0, 22, 22), True),
        (account_of(5, 1, 0, 0, 6), account_of(5), False),
        (account_of(5), account_of(5, 1, 0, 0, 6), True),
    ],
)
def test_an_older_account_is_told_from_a_newer_one(word: int, than: int, older: bool) -> None:
    assert is_older(word, than) is older


def test_a_sample_that_waited_in_its_ring_moves_nothing() -> None:
    """There is one ring per CPU: a copy may be read after copies of what came later."""
    lab = lab_of()
    end = lab.server

    def answer(text: bytes) -> None:
        end.stream += text
        lab.submit(end.send(end.sent, len(text)))
        lab.run()

    word(lab, b"PASV\r\n")
    late = lab.punts[0]
    lab.run()
    answer(b"227 (198,51,100,2,200,10)\r\n")
    word(lab, b"NOOP\r\n")
    lab.run()
    answer(b"200 ok\r\n")
    word(lab, b"PASV\r\n")
    lab.run()
    lab.punts.append(late)
    answer(b"227 (198,51,100,2,200,11)\r\n")
    lab.finish()
    assert [one.to.port for one in lab.kernel.opened] == [51210, 51211]
