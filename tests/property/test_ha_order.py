"""Which list of effects waits for which: the law of the outbox, with several sessions, whatever comes when.

What is written down leaves in its order and not before it is acknowledged. What changes nothing waits for what is
before it of its own session, and for no other: with `when_alone = "hold"` lines of one don't wait for another's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import count
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from algate.alg.admin.build import build
from algate.alg.engine import effects as fx
from algate.alg.ha import concerns
from algate.alg.ha.entries import Entry, EntryKind
from algate.alg.ha.outbox import Outbox

MARK = Entry(EntryKind.END, b"")


class Given(NamedTuple):
    """A list that was offered. `session` 0: a frame of which nobody says whose it is."""

    number: int
    session: int
    changes: bool

    def effects(self) -> list[fx.Effect]:
        frame = fx.Inject(0, self.number.to_bytes(4, "big"))
        return [fx.DropHeld(self.session, 0), frame] if self.changes else [frame]


def number_of(effects: list[fx.Effect]) -> int:
    return next(int.from_bytes(one.frame, "big") for one in effects if isinstance(one, fx.Inject))


def changing(effects: list[fx.Effect]) -> bool:
    return isinstance(effects[0], fx.DropHeld)


class Play:
    """An outbox whose effects are numbered lists: what was offered, what left, and how far all is acknowledged."""

    def __init__(self, go_on: bool) -> None:
        self.go_on, self.alone = go_on, True
        self.offered: dict[int, Given] = {}
        self.done: list[int] = []
        self.tickets: dict[int, int] = {}  # of lists that change something and were sent
        self.reached = 0
        self.sent: list[int] = []
        self.box = Outbox(
            lambda effects: [MARK] if changing(effects) else [], lambda ticket, _: self.sent.append(ticket),
            self._carry, go_on, self._prepare,
        )  # fmt: skip

    def _prepare(self, effects: list[fx.Effect], early: int) -> Callable[[], object]:
        alone = [one.number for one in self.waiting()] == [number_of(effects)]
        assert early == (alone and changing(effects)), "nothing that waits is before it"
        return partial(self._carry, effects)

    def _carry(self, effects: list[fx.Effect]) -> None:
        """The law, at the moment that a list leaves."""
        one = self.offered[number_of(effects)]
        free = self.alone and self.go_on
        for other in self.waiting():
            if other.number < one.number:
                assert other.session != one.session, "behind its own session"
                assert not (other.changes and one.changes), "behind what was written down before"
                assert one.session, "what is nobody's waits for all"
        assert not one.changes or free or 0 < self.tickets.get(one.number, 0) <= self.reached, "acknowledged"
        self.done.append(one.number)

    def waiting(self) -> list[Given]:
        there = set(self.done)
        return [one for one in self.offered.values() if one.number not in there]

    def offer(self, session: int, changes: bool) -> None:
        one = Given(len(self.offered) + 1, session, changes and session > 0)
        before = self.waiting()
        self.offered[one.number] = one
        self.tickets[one.number] = self.box.sent + 1  # if it is sent at all
        self.box.offer(one.effects(), session)
        if not one.changes and session not in {other.session for other in before} and (session or not before):
            assert one.number in self.done, "nothing of its session waits"

    def do(self, what: int, amount: int, session: int) -> None:
        if what < 7:
            self.offer(session, bool(amount % 2))
        elif what < 9 and not self.alone:
            self.acknowledge(max(self.reached, self.box.sent - amount))
        elif what == 11:
            self.box.prepare()
        elif what == 9:
            self.alone = True
            self.box.alone()
        else:
            self.together()

    def acknowledge(self, ticket: int) -> None:
        self.reached = ticket
        self.box.acknowledged(ticket)

    def together(self) -> None:
        """All is told anew: what waits is sent in its order."""
        self.alone = False
        ticket = self.box.sent
        for one in self.waiting():
            ticket += one.changes
            self.tickets[one.number] = ticket
        self.box.together()


STEPS = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 3), st.integers(0, 3)), max_size=60)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS, st.booleans())
def test_lists_wait_for_their_own_session_and_for_the_acknowledgement(
    steps: list[tuple[int, int, int]], go_on: bool
) -> None:
    play = Play(go_on)
    for step in steps:
        play.do(*step)
    play.together()
    play.acknowledge(play.box.sent)
    assert sorted(play.done) == sorted(play.offered) and play.box.waiting == 0
    assert not play.box._about


NUMBERS = count(-1, -1)


def overtaking(_effects: Iterable[fx.Effect], _known: int = 0) -> frozenset[int]:
    """A planted fault: what changes nothing waits for nobody."""
    return frozenset((next(NUMBERS),))


def behind(_effects: Iterable[fx.Effect], _known: int = 0) -> frozenset[int]:
    """A planted fault, as it was: whatever comes waits for all that is there."""
    return concerns.ANYBODY


@pytest.mark.parametrize("fault", [overtaking, behind])
def test_the_law_sees_a_fault(fault: Callable[..., frozenset[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    if build() == "compiled":  # it calls what it was compiled with
        return
    monkeypatch.setattr(concerns, "sessions", fault)
    play = Play(False)
    play.together()
    play.offer(1, True)
    with pytest.raises(AssertionError):
        play.offer(1 if fault is overtaking else 2, False)
        play.acknowledge(play.box.sent)
        play.offer(3, False)


def test_a_session_that_ends_is_forgotten_behind_its_own_lists_alone() -> None:
    play, gone = Play(False), list[int]()
    play.together()
    play.offer(1, True)
    for session in (1, 2):
        play.box.after(session, partial(gone.append, session))
    assert gone == [2]
    play.acknowledge(play.box.sent)
    assert gone == [2, 1]


def test_frames_and_ports_of_a_timer_are_nobodys() -> None:
    frame = fx.Inject(0, b"")
    spoken = fx.DropDecisions(3, ())
    assert concerns.sessions([spoken, frame], 3) == {3}
    assert concerns.sessions([spoken]) == {3}
    assert concerns.sessions([spoken, frame]) == concerns.ANYBODY
    assert concerns.sessions([fx.DropHeld(4, 0), spoken], 5) == {3, 4, 5}
