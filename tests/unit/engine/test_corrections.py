"""Sequence shifts: the algorithm shared with seqadj.h."""

from __future__ import annotations

import pytest

from algate.alg.engine.corrections import (
    MASK,
    MAX_CORRECTIONS,
    Correction,
    Corrections,
    distance,
    shift_seq,
    unshift_ack,
)


def test_distance_is_signed_and_wraps() -> None:
    assert distance(5, 3) == 2
    assert distance(3, 5) == -2
    assert distance(1, 0xFFFF_FFFF) == 2
    assert distance(0xFFFF_FFFF, 1) == -2
    assert distance(0x8000_0000, 0) == -0x8000_0000


def test_growth_shifts_what_follows_and_hides_partial_acknowledgements() -> None:
    grown = [Correction(100, 110, 0, 3)]
    assert [shift_seq(0, grown, s) for s in (99, 100, 105, 109, 110, 200)] == [99, 100, 105, 109, 113, 203]
    assert [unshift_ack(0, grown, a) for a in (99, 100, 101, 110, 112, 113, 114)] == [99, 100, 100, 100, 100, 110, 111]


def test_shrinking_never_maps_beyond_the_new_end() -> None:
    shrunk = [Correction(100, 110, 0, -8)]
    assert [shift_seq(0, shrunk, s) for s in (100, 101, 102, 105, 110)] == [100, 101, 102, 102, 102]
    assert [unshift_ack(0, shrunk, a) for a in (100, 101, 102, 103)] == [100, 100, 110, 111]


def test_an_insertion_moves_what_starts_at_it() -> None:
    inserted = [Correction(100, 100, 0, 20)]
    assert shift_seq(0, inserted, 99) == 99
    assert shift_seq(0, inserted, 100) == 120
    assert [unshift_ack(0, inserted, a) for a in (99, 100, 110, 119, 120, 121)] == [99, 100, 100, 100, 100, 101]


def test_a_removal_is_acknowledged_with_what_stands_before_it() -> None:
    removed = [Correction(100, 130, 0, -30)]
    assert unshift_ack(0, removed, 99) == 99
    assert unshift_ack(0, removed, 100) == 130


def test_history_survives_a_shift_that_returns_to_zero() -> None:  # FTP-65
    back = [Correction(100, 110, 0, 3), Correction(200, 210, 3, 0)]
    assert shift_seq(0, back, 150) == 153
    assert shift_seq(0, back, 300) == 300
    assert unshift_ack(0, back, 153) == 150
    assert unshift_ack(0, back, 300) == 300


def test_numbers_wrap() -> None:  # FTP-64
    over = [Correction(0xFFFF_FFFA, 4, 0, 5)]
    assert shift_seq(0, over, 0xFFFF_FFFA) == 0xFFFF_FFFA
    assert shift_seq(0, over, 4) == 9
    assert unshift_ack(0, over, 9) == 4
    assert unshift_ack(0, over, 3) == 0xFFFF_FFFA


def test_fold_keeps_the_unacknowledged_ones() -> None:
    changes = Corrections()
    changes.add(100, 110, 3)
    changes.add(200, 210, -1)
    assert not changes.fold(109)
    assert changes.folds(110) and changes.fold(110)
    assert (changes.base, changes.items) == (3, (Correction(200, 210, 3, 2),))
    assert changes.latest == 2
    assert changes.shift(150) == 153 and changes.unshift(153) == 150


def test_there_is_room_for_eight() -> None:
    changes = Corrections()
    for n in range(MAX_CORRECTIONS):
        changes.add(100 * n, 100 * n + 10, 1)
    assert changes.full
    with pytest.raises(ValueError, match="no room"):
        changes.add(1000, 1010, 1)


def test_results_are_32_bit() -> None:
    assert shift_seq(-5, [], 2) == MASK - 2
    assert unshift_ack(5, [], 2) == MASK - 2
