"""Lines between two IP families that go on in the other one's words without waiting (lines.h, retell.h).

The sessions here are of IPv4, on the programs for NAT64: how packets are turned is told elsewhere, and the gate sees
both as IPv4."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algate.alg.plugin.model import Control, EndPoint, Side
from algate.alg.protocols.ftp.families import FtpTranslation
from algate.bpf import abi
from tests import packets
from tests.bpf.rig import REDIRECT, REMOTE, Rig
from tests.bpf.test_lines import INTEREST, fill, say, state
from tests.bpf.test_named import LASTS, lasts, opening, rows
from tests.bpf.watched import FIRST, IN, OUT, Watched, watch

pytestmark = pytest.mark.bpf
SIX = REMOTE.replace(".", ",")
EPSV, PASV = b"EPSV\r\n", b"PASV\r\n"
NAMES = f"227 Entering Passive Mode ({SIX},195,80).\r\n".encode()


@pytest.fixture
def told(rig64: Rig) -> Iterator[Watched]:
    """A session at rest, in which EPSV and 227 may go on in other words, and NOOP and 200 pass."""
    yield begin(rig64)
    opening(rig64, abi.Opening())


def begin(rig: Rig) -> Watched:
    session = watch(rig)
    kind = abi.Line.COPIED | abi.Line.RETOLD
    words = {b"EPSV": kind, b"227\0": kind | abi.Line.NAMES, b"NOOP": abi.Line.PASSES, b"200\0": abi.Line.PASSES}
    for word, what in words.items():
        key = abi.PassableKey(interest=INTEREST, reply=word[:1].isdigit())
        key.word[:4] = list(word)
        rig.gateway.passable.put(key, what)
    lasts(rig, LASTS)
    state(session)
    rig.taken()
    return session


def retold(session: Watched, line: bytes, other: bytes, side: abi.Direction = OUT, at: int = 0) -> abi.Punt:
    """It leaves at once in other words, the helper gets what its sender said, and a repetition leaves as it did."""
    frame = session.frame(side, line, at=at)
    out = session.send(side, frame)
    assert (out.action, out.drops) == (REDIRECT, {}) and out.counts["LINES_COPIED"] == 1
    left = session.expected(side, session.frame(side, other, at=at))
    packets.same(out.data[12:], left[12:])
    ((punt, copy),) = session.rig.taken()
    packets.same(copy, frame, "copy")
    assert (punt.kind, punt.seq, punt.payload_size) == (abi.PuntKind.RETOLD, FIRST[side] + at, len(line))
    again = session.send(side, frame)
    packets.same(again.data[12:], left[12:])
    assert again.action == REDIRECT and session.rig.taken() == [] and not again.counts.get("LINES_COPIED")
    assert again.counts["DECISIONS_REPLACE"] == 1
    return punt


def by_the_helper(line: bytes, port: int) -> bytes:
    nobody = EndPoint(ip_address("192.0.2.1"), 1)
    inside = EndPoint(IPv6Address("2001:db8::5"), 40000)
    return FtpTranslation(Control(1, inside, nobody, nobody, Side.CLIENT), 0).tells(EndPoint(nobody.ip, port), line)


def test_epsv_leaves_as_pasv_and_its_227_as_a_229(told: Watched) -> None:
    assert not retold(told, EPSV, PASV).expectation_id
    other = b"229 Entering Extended Passive Mode  (|||50000|).\r\n"
    assert len(other) == len(NAMES)
    punt = retold(told, NAMES, other, IN)
    ((port, made),) = rows(told).items()
    assert port == 50000 and made.id == punt.expectation_id and made.state == abi.ExpectationState.OPEN


TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60).map(lambda text: text.encode())
BEHIND = st.sampled_from((b"", b".", b". ", b"!!"))
NUMBERS = st.sampled_from((b"%d", b"%03d"))


@settings(deadline=None)
@given(TEXTS, st.sampled_from((SIX, "0,0,0,0")), st.integers(1024, 65535), NUMBERS, BEHIND)
def test_it_says_what_the_helper_would_say(
    loaded64: Rig, text: bytes, ip: str, port: int, form: bytes, behind: bytes
) -> None:
    """And where the kernel doesn't, the line is held, with nothing left behind."""
    loaded64.reset()
    told = begin(loaded64)
    numbers = b"%s,%s,%s" % (ip.encode(), form % (port >> 8), form % (port & 255))
    line = b"227 %s(%s)%s\r\n" % (text, numbers, behind)
    retold(told, EPSV, PASV)
    other = by_the_helper(line, port)
    if len(line) < 36:
        assert not say(told, line, IN) and not rows(told)
        return
    assert len(other) == len(line) and b"(|||%d|)" % port in other
    retold(told, line, other, IN)


@pytest.mark.parametrize("line", [b"EPSV 2\r\n", b"EPSV ALL\r\n", b"EPSV \r\n", b"EPSV 1\r\n"])
def test_an_epsv_that_says_more_waits(told: Watched, line: bytes) -> None:
    assert not say(told, line)


def test_in_small_letters_it_is_the_same(told: Watched) -> None:
    retold(told, b"epsv\r\n", PASV)


def test_behind_what_is_unanswered_it_waits(told: Watched) -> None:
    assert say(told, b"NOOP\r\n")
    assert not say(told, EPSV, at=6)


def test_what_was_unanswered_before_counts(told: Watched) -> None:
    state(told, unanswered=1)
    assert not say(told, EPSV)


def test_a_227_that_nothing_asked_for_waits(told: Watched) -> None:
    state(told, unanswered=1)
    assert not say(told, NAMES, IN) and not rows(told)


def test_a_227_behind_anything_else_waits(told: Watched) -> None:
    retold(told, EPSV, PASV)
    assert told.send(OUT, told.frame(OUT, b"NOOP\r\n", at=6)).action == REDIRECT
    assert not say(told, NAMES, IN) and not rows(told)


def test_a_second_227_waits(told: Watched) -> None:
    retold(told, EPSV, PASV)
    retold(told, NAMES, by_the_helper(NAMES, 50000), IN)
    assert not say(told, NAMES, IN, at=len(NAMES))


@pytest.mark.parametrize(
    "line",
    [
        NAMES.replace(b").", b"]."), NAMES.replace(b").", b" )"), NAMES.replace(b").", b""), NAMES.replace(b",80", b""),
        NAMES.replace(SIX.encode(), b"203,0,113,9"), NAMES.replace(b"195,80", b"0,80"),
        b"227 Entering Extended Passive Mode (|||50000|)\r\n", NAMES.replace(b"195", b"999"), NAMES[:-2] + b"1)\r\n",
    ],
)  # fmt: skip
def test_a_227_of_another_form_waits(told: Watched, line: bytes) -> None:
    retold(told, EPSV, PASV)
    assert not say(told, line, IN) and not rows(told)


def test_where_the_server_is_inside_all_wait(told: Watched) -> None:
    session = told.rig.gateway.sessions[told.key]
    session.flags |= abi.SessionFlag.FORWARD
    told.rig.gateway.sessions.put(told.key, session)
    assert not say(told, EPSV, IN) and not say(told, NAMES, OUT)


@pytest.mark.usefixtures("one_cpu")
def test_where_the_ring_has_no_room_nothing_is_left(told: Watched) -> None:
    fill(told)
    state(told)
    assert told.send(OUT, told.frame(OUT, EPSV)).drops == {"punt-lost": 1}
    assert not [*told.rig.gateway.decisions.items()] and not [*told.rig.gateway.replacements.items()]


def test_its_decision_goes_with_its_replacement(told: Watched) -> None:
    """When its receiver has it, and lines come that need the place."""
    retold(told, EPSV, PASV)
    assert len([*told.rig.gateway.replacements.items()]) == 1
    ack = FIRST[OUT] + 6
    for number in range(2):
        assert told.send(IN, told.frame(IN, b"200 ok\r\n", at=8 * number, ack=ack)).action == REDIRECT
        ack += 6
        assert told.send(OUT, told.frame(OUT, b"NOOP\r\n", at=6 + 6 * number)).action == REDIRECT
    assert not [*told.rig.gateway.replacements.items()]


def test_shifted_numbers_are_the_others_own(told: Watched) -> None:
    """Corrections of what the helper replaced before shift it as any line."""
    record = told.rig.gateway.adjusts[told.key]
    record.base[OUT] = 7
    told.rig.gateway.adjusts.put(told.key, record)
    out = told.send(OUT, told.frame(OUT, EPSV))
    left = told.expected(OUT, told.frame(OUT, PASV), TCP_seq=FIRST[OUT] + 7)
    packets.same(out.data[12:], left[12:])
    ((key, _),) = [*told.rig.gateway.replacements.items()]
    assert key.seq == FIRST[OUT], "the sender's own number"
