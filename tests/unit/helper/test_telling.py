"""What the audit is told waits for the end of a turn, in its order (helper/telling.py)."""

from __future__ import annotations

from typing import Any, cast

from algate.alg.audit.events import Events
from algate.alg.engine.effects import Announce, Describe
from algate.alg.helper.telling import Telling
from algate.alg.plugin.model import Event, Purpose


def event(word: str) -> Announce:
    return Announce(7, None, Event("login", word))


def told(events: Events) -> list[str]:
    return [row.detail for row in events.latest]


def test_events_of_a_turn_are_told_at_its_end_in_their_order() -> None:
    events = Events()
    telling = Telling(events, lambda _: "ftp")
    telling.announce(event("before"))
    telling.keep()
    telling.announce(event("one"))
    telling.announce(Describe(7, cast(Any, None), Purpose(3, "RETR file")))
    telling.announce(event("two"))
    assert told(events) == ["before"]
    assert telling.tell_all() == 0
    telling.announce(event("behind"))
    assert told(events) == ["before", "one", "two", "behind"]
    assert telling.tell_all() == 0
    assert len(told(events)) == 4


def test_one_that_cannot_be_told_takes_no_other_with_it() -> None:
    events = Events()
    telling = Telling(events, {7: "ftp"}.__getitem__)
    telling.keep()
    telling.announce(Announce(8, None, Event("login", "of a session that nobody knows")))
    telling.announce(event("one"))
    assert telling.tell_all() == 1
    assert told(events) == ["one"]


def test_an_event_bears_the_moment_at_which_it_happened() -> None:
    events = Events()
    telling = Telling(events, lambda _: "ftp")
    telling.keep()
    telling.announce(event("one"))
    kept = telling._kept[0][1]
    telling.tell_all()
    assert events.latest[0].time == kept
