"""Where lines end, what isn't trusted in them, and that offsets stay right with Telnet commands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algate.alg.protocols.lines import Flaw, Line, LineReader

LIMIT = 64


def lines(data: bytes, end: bool = False, strict: bool = False) -> list[Line]:
    """All lines of `data`, read as a driver would."""
    reader = LineReader(LIMIT, strict=strict)
    found: list[Line] = []
    at = 0
    while (line := reader.next(data, at, end)) is not None:
        reader.accept(line)
        found.append(line)
        at += len(line.raw)
    return found


def test_cr_lf_and_bare_lf_both_end_a_line_ftp_15() -> None:
    assert [line.text for line in lines(b"A\r\nB\nC")] == [b"A", b"B"]
    assert [line.raw for line in lines(b"A\r\nB\nC")] == [b"A\r\n", b"B\n"]


def test_strict_mode_marks_a_bare_lf_ftp_15() -> None:
    assert [line.flaw for line in lines(b"A\r\nB\n", strict=True)] == [None, Flaw.BARE_LF]


def test_cr_nul_is_data_and_a_lone_cr_is_a_flaw_ftp_15() -> None:
    assert [(line.text, line.flaw) for line in lines(b"A\r\0B\r\nC\rD\r\nE\r\r\n")] == [
        (b"A\r\0B", None),
        (b"C\rD", Flaw.BARE_CR),
        (b"E\r", Flaw.BARE_CR),
    ]


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"\xff\xf4\xff\xf2ABOR\r\n", b"ABOR"),
        (b"AB\xff\xfb\x06OR\r\n", b"ABOR"),
        (b"RETR \xff\xffy\r\n", b"RETR \xffy"),
        (b"RETR \xff\xff\xff\xf1y\r\n", b"RETR \xffy"),
    ],
)
def test_telnet_commands_are_left_out_of_the_text_ftp_16_17(raw: bytes, text: bytes) -> None:
    (line,) = lines(raw)
    assert (line.raw, line.text, line.flaw) == (raw, text, None)


def test_a_replacement_keeps_telnet_commands_around_it_ftp_16() -> None:
    (line,) = lines(b"\xff\xf4PO\xff\xf2RT 1,2\xff\xf1\r\n")
    assert line.text == b"PORT 1,2"
    assert line.replaced(5, 8, b"333") == b"\xff\xf4PO\xff\xf2RT 333\xff\xf1\r\n"


def test_a_replacement_never_swallows_a_telnet_command_ftp_16() -> None:
    (line,) = lines(b"PORT 1,\xff\xf12\r\n")
    assert line.text == b"PORT 1,2"
    assert line.replaced(5, 8, b"333") is None


@pytest.mark.parametrize("raw", [b"A\xff\r\n", b"A\xff\xfb\r\n", b"A\xff\xfd\n", b"A\xff\xfax\r\n"])
def test_a_telnet_command_cut_by_the_line_end_taints_the_next_line_too(raw: bytes) -> None:
    flaws = [line.flaw for line in lines(raw + b"PORT 1\r\nNOOP\r\n")]
    assert flaws == [Flaw.TELNET, Flaw.TELNET, None]


def test_nul_is_a_flaw_and_is_seen_before_the_line_ends_ftp_18() -> None:
    assert [(line.text, line.flaw) for line in lines(b"PORT\0 1\r\nA\r\n")] == [(b"PORT", Flaw.NUL), (b"A", None)]
    assert [(line.raw, line.flaw, line.open_ended) for line in lines(b"ab\0c")] == [(b"ab\0c", Flaw.NUL, True)]


def test_a_line_of_just_the_limit_is_read_ftp_19() -> None:
    assert [line.flaw for line in lines(b"a" * (LIMIT - 2) + b"\r\n")] == [None]
    assert [line.flaw for line in lines(b"a" * (LIMIT - 1) + b"\r\n")] == [Flaw.TOO_LONG]
    assert lines(b"a" * LIMIT) == []


def test_an_overlong_line_passes_in_parts_until_lf_ftp_19() -> None:
    reader = LineReader(LIMIT)
    first = reader.next(b"a" * (LIMIT + 1), 0, False)
    assert first is not None and (first.flaw, first.open_ended) == (Flaw.TOO_LONG, True)
    reader.accept(first)
    second = reader.next(b"bbb", 0, False)
    assert second is not None and (second.flaw, second.open_ended) == (Flaw.REST, True)
    reader.accept(second)
    third = reader.next(b"c\r\nPORT\r\n", 0, False)
    assert third is not None and (third.raw, third.flaw, third.open_ended) == (b"c\r\n", Flaw.REST, False)
    reader.accept(third)
    fourth = reader.next(b"PORT\r\n", 0, False)
    assert fourth is not None and (fourth.text, fourth.flaw) == (b"PORT", None)


def test_a_line_that_was_not_accepted_is_seen_again() -> None:
    reader = LineReader(LIMIT)
    first = reader.next(b"x\0y", 0, False)
    again = reader.next(b"x\0y", 0, False)
    assert first == again and first is not None and first.flaw is Flaw.NUL


def test_the_end_hands_out_what_is_left() -> None:
    assert [(line.raw, line.flaw) for line in lines(b"A\r\nPORT 1", end=True)] == [
        (b"A\r\n", None),
        (b"PORT 1", Flaw.UNFINISHED),
    ]
    assert lines(b"", end=True) == []


@given(st.text("AB\r\n\0\xff\t ", max_size=8), st.booleans(), st.booleans())
def test_a_line_alone_is_read_as_behind_another(text: str, strict: bool, end: bool) -> None:
    """What is one usual line is found to be so by a shorter way."""
    data = text.encode("latin-1") + b"\r\n"
    alone = LineReader(LIMIT, strict=strict).next(data, 0, end)
    assert alone == LineReader(LIMIT, strict=strict).next(b"X\r\n" + data, 3, end)


def test_a_long_line_alone_is_too_long() -> None:
    exact = b"A" * (LIMIT - 2) + b"\r\n"
    assert [line.flaw for line in lines(exact)] == [None]
    assert [line.flaw for line in lines(b"A" + exact)][:1] == [Flaw.TOO_LONG]
