"""Python's collector: full collections only at quiet moments; and sessions come and go without it."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import count
from random import Random

import pytest

from algate.alg.admin.build import build
from algate.alg.daemon.garbage import AT_LAST, GROWN, LITTLE, MUCH, QUIET_AFTER, Garbage
from algate.alg.engine.session import Session
from tests.dialogues import random_dialogue
from tests.ftplab import FtpLab

pytestmark = pytest.mark.unit


@pytest.fixture
def garbage() -> Iterator[Garbage]:
    made = Garbage()
    made.settle(0.0)
    yield made
    made.unsettle()


def test_what_the_start_made_is_never_looked_at_again() -> None:
    before = gc.get_threshold()
    made = Garbage()
    made.settle(0.0)
    assert gc.get_freeze_count() > 10_000
    assert gc.get_threshold()[0] > 1 << 20, "no collection comes by itself"
    made.unsettle()
    assert gc.get_freeze_count() == 0 and gc.get_threshold() == before


def test_a_full_collection_waits_for_a_quiet_moment(garbage: Garbage) -> None:
    for second in range(1, 200):
        garbage.look(second, float(second))
    assert garbage.collections == 0, "there were turns in every second"
    garbage.look(199, 200.0)
    assert garbage.collections == 1
    for second in range(201, 300):
        garbage.look(199, float(second))
    assert garbage.collections == 1, "nothing has happened since"
    garbage.look(200, 300.0)
    garbage.look(200, 301.0)
    assert garbage.collections == 2
    garbage.look(201, 302.0)
    garbage.look(201, 301.0 + QUIET_AFTER / 2)
    assert garbage.collections == 2, "not so soon"


def test_without_any_quiet_moment_it_comes_at_last_if_memory_grew(
    garbage: Garbage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for second in range(1, 2 * round(AT_LAST)):
        garbage.look(second, float(second))
    assert garbage.collections == 0, "there is nothing to win"
    there = sys.getallocatedblocks()
    monkeypatch.setattr(sys, "getallocatedblocks", lambda: there + 2 * GROWN)
    for second in range(2 * round(AT_LAST), 3 * round(AT_LAST) + 1):
        garbage.look(second, float(second))
    assert garbage.collections == 1, "once: it starts from there again"


def test_what_timers_leave_on_an_idle_gateway_goes_too(garbage: Garbage, monkeypatch: pytest.MonkeyPatch) -> None:
    garbage.look(5, 100.0)
    garbage.look(5, 200.0)
    assert garbage.collections == 1
    there = sys.getallocatedblocks()
    monkeypatch.setattr(sys, "getallocatedblocks", lambda: there + 2 * LITTLE)
    garbage.look(5, 300.0)
    assert garbage.collections == 2


def test_a_quiet_moment_is_not_for_what_a_crowd_has_just_left(
    garbage: Garbage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be looked at whole, for nothing: sessions are gone minutes after their end."""
    there, more = sys.getallocatedblocks(), [2 * MUCH]
    monkeypatch.setattr(sys, "getallocatedblocks", lambda: there + more[0])
    garbage.look(5, 100.0)
    garbage.look(5, 200.0)
    assert garbage.collections == 0
    more[0] = 0
    garbage.look(5, 300.0)
    assert garbage.collections == 1, "they are gone"
    more[0] = 2 * MUCH
    garbage.look(6, 400.0)
    garbage.look(6, 300.0 + AT_LAST - 1)
    assert garbage.collections == 1
    garbage.look(6, 300.0 + AT_LAST)
    assert garbage.collections == 2


def session(number: int) -> None:
    """A whole FTP session, with dialogues that all differ."""
    random, ports = Random(number), count(2000)
    dialogue = random_dialogue(random, "10.0.0.5", "198.51.100.2", lambda: next(ports), 1 + number % 3)
    lab = FtpLab(dialogue, number % 2 == 0)
    lab.finish()
    lab.do(lab.engine.ended(77, lab.now))
    for once in (lab.engine, lab):  # these have cycles, but there is one engine per run, and no session is in them
        if hasattr(once, "__dict__"):
            vars(once).clear()


def test_sessions_come_and_go_without_the_collector() -> None:
    """2,000 of them: none is left, none waits in a cycle, and memory grows at most by what Python keeps for later."""
    for number in range(100):
        session(number)
    gc.collect()
    gc.disable()
    try:
        before, tracked = sys.getallocatedblocks(), len(gc.get_objects())
        for number in range(2000):
            session(number)
            if build() == "compiled" and number % 100 == 99:
                gc.collect()  # a compiled engine can't be emptied: it and its parts are a circle, once per run
        blocks, more = sys.getallocatedblocks() - before, len(gc.get_objects()) - tracked
        alive = sum(isinstance(one, Session) for one in gc.get_objects())
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        circles = Counter(type(one).__qualname__ for one in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert not alive and not circles, f"{alive} sessions alive; in circles: {circles}"
    assert more < 1000 and blocks < 20_000, f"{more} objects and {blocks} blocks more: a session takes hundreds"
