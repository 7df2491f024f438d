"""How long turns wait for an engine: what a slow one can cost at most, and that a quick one is found again."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from algate.alg.ha.patience import BOUND, FIRST, LAST, Patience


def spent(patience: Patience, took: float) -> float:
    """s of the turn that a commit costs with an engine that takes so long."""
    asked = patience.seconds()
    if asked:
        patience.waited(took <= asked)
    return min(asked, took)


def test_a_quick_engine_is_always_waited_for() -> None:
    patience = Patience()
    assert all(spent(patience, BOUND / 4) == BOUND / 4 for _ in range(100))


def test_a_slow_one_costs_less_and_less() -> None:
    patience, lost = Patience(), [0.0, 0.0]
    for turn in range(20 * LAST):
        lost[turn >= 4 * LAST] += spent(patience, 1.0)
    assert lost[0] < 20 * BOUND, "it gives up soon"
    assert lost[1] <= 17 * BOUND, "once for each LAST commits, or a little more"


@given(st.lists(st.booleans(), max_size=300))
def test_whatever_came_before_a_quick_one_is_found_again(before: list[bool]) -> None:
    patience = Patience()
    for quick in before:
        spent(patience, BOUND / 2 if quick else 1.0)
    waited = [spent(patience, BOUND / 2) > 0 for _ in range(LAST + 2)]
    first = waited.index(True)
    assert all(waited[first:]), "and from then on each commit is waited for"


@given(st.lists(st.booleans(), min_size=1, max_size=2000))
def test_an_engine_that_is_slow_now_and_then_costs_no_more_than_its_share(answers: list[bool]) -> None:
    """Between two waits in vain without success there are FIRST commits at least."""
    patience, vain = Patience(), list[int]()
    for turn, quick in enumerate(answers):
        asked = patience.seconds()
        if asked:
            patience.waited(quick)
            vain += [] if quick else [turn]
    assert all(later - sooner > FIRST for sooner, later in pairwise(vain))
