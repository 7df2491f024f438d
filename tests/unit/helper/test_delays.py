"""How long segments are held, also those that wait for the other side."""

from __future__ import annotations

import pytest

from algate.alg.helper.delays import Delays

OUT, IN = 0, 1


class Kept(list[float]):
    """A histogram that keeps what it is told."""

    def observe(self, seconds: float) -> None:
        self.append(round(seconds, 6))


class Clock:
    """Delays with what it has told, and the directions that the engine says wait."""

    def __init__(self) -> None:
        self.held = Kept()
        self.stuck: set[tuple[int, int]] = set()
        self.delays = Delays(lambda session, direction: (session, direction) in self.stuck)
        self.delays.tell(self.held)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_what_is_let_go_at_once_was_held_for_a_moment(clock: Clock) -> None:
    clock.delays.came(7, OUT, 1.0, 1.0001)
    assert clock.held == [0.0001]


def test_a_line_that_comes_in_parts_was_held_since_the_first(clock: Clock) -> None:
    clock.stuck = {(7, OUT)}
    clock.delays.came(7, OUT, 1.0, 1.001)
    clock.delays.came(7, OUT, 2.0, 2.001)
    clock.delays.came(8, OUT, 2.0, 2.002)
    assert clock.held == [0.002], "the other session's alone"
    clock.stuck = set()
    clock.delays.came(7, OUT, 3.0, 3.5)
    assert clock.held == [0.002, 2.5]
    clock.delays.came(7, OUT, 4.0, 4.001)
    assert clock.held[2:] == [0.001]


def test_a_line_that_waits_for_the_other_side_was_held_until_that_spoke(clock: Clock) -> None:
    clock.stuck = {(7, OUT)}
    clock.delays.came(7, OUT, 1.0, 1.001)
    clock.stuck = set()
    clock.delays.came(7, IN, 5.0, 5.001)
    assert sorted(clock.held) == [0.001, 4.001]


def test_a_session_that_is_gone_is_forgotten(clock: Clock) -> None:
    clock.stuck = {(7, OUT)}
    clock.delays.came(7, OUT, 1.0, 1.001)
    clock.delays.forget(7)
    clock.stuck = set()
    clock.delays.came(7, OUT, 9.0, 9.001)
    assert clock.held == [0.001]


def test_without_metrics_nothing_is_kept() -> None:
    Delays(lambda session, direction: True).came(7, OUT, 1.0, 2.0)
