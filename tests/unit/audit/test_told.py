"""Events as people read them: who, towards whom, as which user, what and why."""

from __future__ import annotations

import pytest

from algate.alg.audit.events import line
from algate.alg.audit.told import told
from algate.alg.rows import EventRow
from algate.cli import view

pytestmark = pytest.mark.unit
ENDS = {"inside": "10.50.0.2:40001", "outside": "203.0.113.10:21", "client": "inside", "user": "bob"}


def row(event: str, detail: str = "", reason: str = "", **fields: str) -> EventRow:
    return EventRow(0.0, event, "a1", "ftp", detail, reason, {**ENDS, **fields})


@pytest.mark.parametrize(
    ("one", "sentence"),
    [
        (
            row("command-refused", "DELE x", "denied-command"),
            "10.50.0.2 → 203.0.113.10 bob: DELE x refused (denied-command)",
        ),
        (row("command", "PORT 10,50,0,2,1,2", verdict="rewrite"),
         "10.50.0.2 → 203.0.113.10 bob: PORT 10,50,0,2,1,2 rewritten"),
        (row("command", "NOOP", verdict="pass", user=""), "10.50.0.2 → 203.0.113.10: NOOP"),
        (row("transfer", "RETR x: 3 bytes in in 0.01 s", client="outside"),
         "203.0.113.10 → 10.50.0.2 bob: RETR x: 3 bytes in in 0.01 s"),
        (row("transfer-failed", "RETR x", "reply-550"), "10.50.0.2 → 203.0.113.10 bob: RETR x failed (reply-550)"),
        (row("expectation-expired", "229 1.2.3.4:5"), "10.50.0.2 → 203.0.113.10 bob: 229 1.2.3.4:5 never came"),
        (row("violation", "", "too-long"), "10.50.0.2 → 203.0.113.10 bob: a line breaks the protocol (too-long)"),
        (row("somebody-elses", "text"), "10.50.0.2 → 203.0.113.10 bob: somebody-elses text"),
        (row("command", "NOOP", inside="[2001:db8::1]:4", outside="[2001:db8::2]:21"),
         "2001:db8::1 → 2001:db8::2 bob: NOOP"),
    ],
)  # fmt: skip
def test_a_sentence_names_who_did_what_and_why(one: EventRow, sentence: str) -> None:
    assert str(told(one)) == sentence


def test_log_follow_and_top_say_it_so() -> None:
    said = "10.50.0.2 → 203.0.113.10 bob: DELE x refused (denied-command)"
    one = row("command-refused", "DELE x", "denied-command")
    assert line(one) == f"{said} [ftp a1]"
    assert view.event(one, "12:00", control=False).plain == f"12:00 {said}"
    assert view.event(one, "12:00").plain == f"12:00 {said} ftp a1"


def test_an_event_of_nobody_is_still_said() -> None:
    assert str(told(EventRow(0.0, "events-lost", None, None, "7 too many"))) == "events-lost 7 too many"
    assert line(EventRow(0.0, "events-lost", None, None, "7 too many", "event-rate")) == (
        "events-lost 7 too many (event-rate)"
    )
