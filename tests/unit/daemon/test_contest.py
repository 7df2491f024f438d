"""How often one thing is put back: at once, then ever more rarely, and at once again after a quiet time."""

from __future__ import annotations

from itertools import pairwise

from algate.alg.daemon.contest import FREE, MOST, WINDOW, Contest


def test_the_first_ones_at_once() -> None:
    one = Contest()
    assert [one.may(0.1 * turn) for turn in range(FREE)] == [True] * FREE
    assert one.left(0.1 * FREE) > 0


def test_a_fight_is_bounded() -> None:
    """Tried fifty times a second for five minutes, it is put back a dozen times."""
    one = Contest()
    times = [turn / 50 for turn in range(50 * 300) if one.may(turn / 50)]
    gaps = [round(later - sooner, 3) for sooner, later in pairwise(times)]
    assert len(times) <= FREE + 10
    assert gaps[FREE:] == sorted(gaps[FREE:])
    assert max(gaps) <= MOST + 1


def test_after_quiet_it_begins_anew() -> None:
    one = Contest()
    for turn in range(FREE):
        one.may(turn)
    assert not one.may(FREE - 0.5)
    later = FREE + WINDOW
    assert one.may(later) and one.may(later + 0.1)
    assert one.times == 2
