"""Who loses unanswered sessions, and which."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from algate.alg.gateway.reclaim import AGE_SHIFT, PART, Need, level

STEP = 1 << AGE_SHIFT
HOSTS = st.dictionaries(st.integers(1, 30), st.integers(1, 50), min_size=1)


@given(HOSTS, st.integers(1, 2000))
def test_those_who_have_most_give_until_they_are_equal(total: dict[int, int], wanted: int) -> None:
    given_ = level(total, wanted, {})
    assert sum(given_.values()) == min(wanted, sum(total.values()))
    assert all(0 <= number <= total[host] for host, number in given_.items())
    left = {host: number - given_.get(host, 0) for host, number in total.items()}
    givers = [left[host] for host, number in given_.items() if number]
    assert max(givers) - min(givers) <= 1
    assert all(left[host] <= min(givers) + 1 for host in total if not given_.get(host))


def test_a_flood_pays_before_anybody_else() -> None:
    assert level({1: 1000, 2: 10, 3: 8}, 500, {}) == {1: 500}
    assert level({1: 1000, 2: 900}, 500, {}) == {1: 300, 2: 200}
    assert level({1: 1, 2: 1, 3: 1}, 2, {1: 5, 2: 9, 3: 7}) == {2: 1, 3: 1, 1: 0}


def taken(need: Need, sessions: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    need.tally(sessions)
    need.choose()
    return [one for one in sessions if need.takes(*one)]


def test_the_longest_idle_first() -> None:
    sessions = [(1, age * STEP, 0) for age in range(100)] + [(2, 500 * STEP, 0)]
    assert taken(Need(wanted=30), sessions) == sessions[70:100], "not the other host's, though it is idle for longer"


def test_of_one_age_as_many_as_are_wanted() -> None:
    assert len(taken(Need(wanted=3), [(1, 5 * STEP, 0)] * 10)) == 3


def test_of_a_block_of_ports_alone() -> None:
    sessions = [(1, 9 * STEP, 0x10005)] * 4 + [(1, 99 * STEP, 0x5)] * 4
    assert taken(Need(wanted=2, block=1), sessions) == sessions[:2]


def test_a_refused_host_gives_a_quarter_of_its_own() -> None:
    sessions = [(host, STEP, 0) for host in (1, 2, 3) for _ in range(8)]
    assert Counter(host for host, _, _ in taken(Need(hosts={1, 3}), sessions)) == {1: 8 // PART, 3: 8 // PART}
    assert taken(Need(hosts={9}), sessions) == []
