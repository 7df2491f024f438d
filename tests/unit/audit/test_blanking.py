"""Passwords never get into a capture: however the stream is cut, repeated, reordered or incomplete; lengths stay."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algate.alg.audit.blanking import Blanker
from algate.alg.plugin.words import Words
from algate.alg.protocols.ftp.words import FtpWords

pytestmark = pytest.mark.unit
SECRET = b"hunter2"
LINES = (
    b"USER bob\r\nPASS hunter2\r\nacct hunter2\r\nSITE CHPASS hunter2\r\nUSER bob:hunter2\r\nXPWDX hunter2\r\n"
    b"SITE CHMOD 644 x\r\nRETR file\r\nADAT hunter2\r\n"
)
SHOWN = (
    b"USER bob\r\nPASS *******\r\nacct *******\r\nSITE CHPASS *******\r\nUSER bob:*******\r\nXPWDX *******\r\n"
    b"SITE CHMOD 644 x\r\nRETR file\r\nADAT *******\r\n"
)
FIRST = 0xFFFFFFF0  # the stream's numbers wrap


def blanker() -> Blanker:
    made = Blanker(FtpWords().secret)
    made.begin(FIRST)
    return made


def at(place: int) -> int:
    return (FIRST + 1 + place) % (1 << 32)


@given(st.lists(st.integers(0, len(LINES)), max_size=12))
def test_any_cut_shows_the_same(cuts: list[int]) -> None:
    made, shown, places = blanker(), b"", [0, *sorted(cuts), len(LINES)]
    for start, end in pairwise(places):
        shown += made.segment(at(start), LINES[start:end])
    assert shown == SHOWN


@given(st.lists(st.tuples(st.integers(0, len(LINES) - 1), st.integers(1, 60)), max_size=20))
def test_in_any_order_nothing_secret_is_shown(pieces: list[tuple[int, int]]) -> None:
    """Pieces may repeat, overlap, come early or not at all: no byte is shown that isn't shown of the whole."""
    made = blanker()
    for start, size in pieces:
        data = LINES[start : start + size]
        got = made.segment(at(start), data)
        assert len(got) == len(data)
        for place, byte in enumerate(got):
            assert byte in (ord("*"), SHOWN[start + place])


def test_a_repetition_is_shown_as_the_first_time_unless_it_says_something_else() -> None:
    made = blanker()
    made.segment(at(0), LINES)
    assert made.segment(at(0), LINES[:24]) == SHOWN[:24]
    assert made.segment(at(0), b"PASS hunter2") == b"*" * 12


def test_midstream_the_first_line_is_blanked() -> None:
    made = Blanker(FtpWords().secret)
    assert made.segment(700, b"S hunter2\r\nNOOP\r\n") == b"*********\r\nNOOP\r\n"


def test_behind_a_gap_the_line_is_blanked() -> None:
    made = blanker()
    made.segment(at(0), b"USER bob\r\nPA")
    assert made.segment(at(16), b"nter2\r\nNOOP\r\n") == b"*****\r\nNOOP\r\n"


def test_tls_is_left_as_it_is() -> None:
    made = blanker()
    hello = b"\x16\x03\x01\x00\x05 a b c\r\n PASS x"
    assert made.segment(at(0), b"AUTH TLS\r\n") == b"AUTH TLS\r\n"
    assert made.segment(at(10), hello) == hello
    assert made.segment(at(10), hello) == hello, "its repetition too"


def test_other_protocols_have_the_usual_words() -> None:
    made = Blanker(Words().secret)
    made.begin(0)
    assert made.segment(1, b"NICK bob\r\nPASS hunter2\r\n") == b"NICK bob\r\nPASS********\r\n"
    assert SECRET not in made.segment(24, b"PRIVMSG NickServ :IDENTIFY hunter2\r\n")
