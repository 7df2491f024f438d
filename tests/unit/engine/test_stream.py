"""Reassembly: first bytes win, gaps wait, memory is bounded."""

from __future__ import annotations

from algate.alg.engine.stream import AHEAD_MAX, LATER_SEGMENTS, Stream


def test_in_order() -> None:
    stream = Stream(10)
    assert stream.accept(10, b"abc") == 3
    assert (bytes(stream.pending), stream.start, stream.next) == (b"abc", 10, 13)
    assert stream.take(2) == b"ab"
    assert (bytes(stream.pending), stream.start) == (b"c", 12)


def test_a_repetition_adds_nothing_and_changes_nothing() -> None:
    stream = Stream(0)
    stream.accept(0, b"abc")
    assert stream.accept(0, b"XYZ") == 0
    assert stream.accept(1, b"YZd") == 1
    assert stream.pending == b"abcd"


def test_a_gap_waits() -> None:  # FTP-49
    stream = Stream(0)
    assert stream.accept(3, b"def") == 0
    assert stream.accept(0, b"abc") == 6
    assert stream.pending == b"abcdef"
    assert stream.later == [] and stream.later_size == 0


def test_the_first_bytes_win_beyond_a_gap_too() -> None:  # FTP-50
    stream = Stream(0)
    stream.accept(2, b"CD")
    stream.accept(4, b"EF")
    assert stream.accept(0, b"abcdefgh") == 8
    assert stream.pending == b"abCDEFgh"


def test_pieces_that_overlap_each_other() -> None:
    stream = Stream(0)
    stream.accept(6, b"GH")
    stream.accept(1, b"bc")
    stream.accept(2, b"xdefxxi")
    assert stream.accept(0, b"a") == 9
    assert stream.pending == b"abcdefGHi"


def test_what_lies_beyond_a_gap_is_bounded() -> None:
    stream = Stream(0)
    for n in range(1000):
        stream.accept(10 + 3 * n, b"x")
    assert len(stream.later) == LATER_SEGMENTS
    stream = Stream(0)
    for n in range(10):
        stream.accept(1 + 20000 * n, bytes(20000))
    assert stream.later_size <= AHEAD_MAX


def test_fin_ends_the_stream_and_cuts_what_claims_to_follow() -> None:
    stream = Stream(0)
    stream.accept(0, b"abc")
    stream.finish(5)
    assert bool(stream.ended) is False
    stream.finish(9)
    assert stream.fin == 5
    assert stream.accept(3, b"defg") == 2
    assert stream.ended and stream.pending == b"abcde"


def test_a_fin_inside_what_came_is_ignored() -> None:
    stream = Stream(0)
    stream.accept(0, b"abc")
    stream.finish(1)
    assert stream.fin is None


def test_positions_count_on_beyond_32_bits() -> None:  # FTP-64
    stream = Stream(0xFFFF_FFFE)
    stream.accept(0xFFFF_FFFE, b"abcd")
    assert stream.next == 0x1_0000_0002
    assert stream.position(2) == stream.next
    assert stream.position(0xFFFF_FFFF) == 0xFFFF_FFFF
