"""One row in full with its explanation, and the question before anything ends."""

from __future__ import annotations

from dataclasses import replace

from algate.alg.rows import EventRow
from algate.cli.top import details, drops
from algate.cli.top.choices import TopChoices, TopErrand
from algate.cli.top.flows import tree
from algate.cli.top.history import History
from tests.fake_daemon import CONTROL, HOSTS, explanation
from tests.top_states import (
    MANY,
    crowd,
    frame,
    history,
    typed,
)


def test_enter_opens_a_session_with_its_explanation() -> None:
    state = typed(b"\r")
    assert state.errand == TopErrand("explain", "explain", {"subject": [MANY[0].id]}, MANY[0].id)
    assert "asking" in str(frame(80, 24, state).lines)
    answered = details.answered(state, state.errand, explanation({"subject": [MANY[0].id]}), crowd())
    text = "\n".join(line.plain for line in frame(80, 30, answered, made=crowd()).lines)
    assert f"session {MANY[0].id}" in text
    assert "- a SYN is missing evil\\x1b]0;owned" in text
    assert typed(b"\x1b", answered).detail is None
    refused = details.failed(state, state.errand, "no daemon on /run/algate")
    assert "no daemon on" in "\n".join(line.plain for line in frame(80, 30, refused).lines)
    other = TopErrand("explain", "explain", {}, "another")
    assert details.answered(answered, other, explanation({"subject": ["x"]}), crowd()) == answered


def test_enter_on_a_host_shows_its_sessions_and_on_others_their_own() -> None:
    state = typed(b"2\r", rows=HOSTS)
    assert (state.name, state.here.args) == ("sessions", {"inside": "10.0.0.2"})
    event = EventRow(1.0, "refused", CONTROL, "acme", "what", "own-reason", {"bytes": 7})
    opened = typed(b"5\r", rows=[event])
    assert opened.errand is not None
    assert opened.errand.args == {"subject": [CONTROL]}
    assert "own-reason" in "\n".join(line.plain for line in frame(80, 24, opened).lines)
    assert typed(b"4\r", rows=list(drops.drops(history(0, 1, view="drops")))).errand is None
    assert typed(b"\r", rows=[]) == TopChoices()


def test_a_session_ends_only_after_yes() -> None:
    made = history(0, 1)
    control = made.now.sessions[0]
    asked = typed(b"k", rows=tree(made, TopChoices().here))
    assert asked.errand is not None
    assert (asked.errand.verb, asked.errand.args["dry_run"]) == ("kill", True), "first find out what would end"
    question = details.answered(replace(asked, errand=None), asked.errand, (1, [control]), made)
    shown = frame(160, 24, question).lines[-1].plain
    assert "End ftp 10.0.0.2:40001 → 198.51.100.2:21 and 2 expectations (1 data connection goes on)?" in shown
    for no in (b"n", b"x", b"\r", b" "):
        assert typed(no, question).errand is None
        assert "nothing was ended" in typed(no, question).note
    yes = typed(b"y", question).errand
    assert yes is not None
    assert yes.args == {"ids": [control.id], "proto": "tcp", "inside": control.inside, "outside": control.outside}
    reset = typed(b"r", question).errand
    assert reset is not None
    assert reset.args["reset"] is True
    ended = details.answered(typed(b"y", question), yes, (1, [control]), made)
    assert "1 session ended: ftp 10.0.0.2:40001" in frame(80, 24, ended).lines[-1].plain
    gone = details.answered(replace(asked, errand=None), asked.errand, (0, []), made)
    assert gone.question is None
    assert "nothing to end" in gone.note
    assert "no session" in details.failed(asked, asked.errand, "no session 1").note


def test_all_sessions_of_a_host_end_after_yes() -> None:
    asked = typed(b"2k", rows=HOSTS)
    assert asked.errand is not None
    assert (asked.errand.verb, asked.errand.args) == ("sessions", {"inside": "10.0.0.2", "count": True})
    question = details.answered(replace(asked, errand=None), asked.errand, {"count": 1530}, History())
    assert "End all 1,530 sessions of 10.0.0.2?" in frame(80, 24, question).lines[-1].plain
    yes = typed(b"y", question).errand
    assert yes is not None
    assert (yes.verb, yes.args) == ("kill", {"inside": "10.0.0.2"})
    assert details.answered(replace(asked, errand=None), asked.errand, {"count": 0}, History()).question is None


def test_nothing_ends_where_it_may_not() -> None:
    barred = replace(TopChoices(), barred="you may only read: run `sudo algate top`")
    for state in (typed(b"k", barred), typed(b"2k", barred, rows=HOSTS)):
        assert state.errand is None
        assert "you may only read" in frame(80, 24, state).lines[-1].plain
    for data, row in ((b"4k", next(drops.drops(history(0)))), (b"3k", history(0, view="ports").now.ports[0])):
        assert "only sessions can be ended" in typed(data, rows=[row]).note
