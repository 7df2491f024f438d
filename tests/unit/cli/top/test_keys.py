"""Keys: what each of them does to what is chosen, the filter line, and what the daemon is asked for then."""

from __future__ import annotations

import pytest

from algate.alg.admin.filters import Filter
from algate.cli import completion
from algate.cli.top import flows, keys
from algate.cli.top.all import VIEWS
from algate.cli.top.choices import ROWS_MOST, TopChoices, request
from algate.cli.top.flows import TopFlow
from algate.cli.top.keys import decode, filtered
from tests.top_states import (
    DOWN,
    END,
    HOME,
    MANY,
    PAGE_DOWN,
    UP,
    at,
    frame,
    typed,
)


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b"q", ["q"]), (b"\x1b[A\x1b[B", ["up", "down"]), (b"\x1bOA", ["up"]), (b"\x1b", ["escape"]),
        (b"\x1b[5~x", ["page-up", "x"]), (b"\x1b[1;5Cs", ["s"]), (b"\x1b[", []), (b"\xc3\xbcq", ["q"]),
        (b"/ab\x7f\r", ["/", "a", "b", "backspace", "enter"]), (b"\x00\x01", []), (b"\x1bq", ["escape", "q"]),
        (b"\x0c", ["redraw"]),
    ],
)  # fmt: skip
def test_decoding_keys(data: bytes, names: list[str]) -> None:
    assert decode(data) == names


def test_keys_choose() -> None:
    sorts = list(flows.VIEW.sorts)
    assert typed(b"s").here.sort == sorts[(sorts.index("rate") + 1) % len(sorts)]
    assert typed(b"sS") == TopChoices()
    assert typed(b"s" * len(sorts)) == TopChoices()
    assert typed(b"r").here.reverse
    assert typed(b"p").paused
    assert typed(b"pp") == TopChoices()
    assert typed(b"?").help
    assert typed(b"?x") == TopChoices()
    assert all(typed(one).done for one in (b"q", b"\x03", b"?q", b"/\x03"))


def test_each_number_shows_its_view_and_each_view_has_its_own_choices() -> None:
    assert [typed(view.key.encode()).name for view in VIEWS.values()] == list(VIEWS)
    state = typed(b"s/udp\r2r/inside=10.0.0.0/24\r1")
    assert (state.here.sort, state.here.text, state.here.reverse) == (typed(b"s").here.sort, "udp", False)
    assert (state.views["hosts"].text, state.views["hosts"].reverse) == ("inside=10.0.0.0/24", True)


def test_the_selection_moves_stays_on_its_row_and_is_kept_in_sight() -> None:
    assert at(typed(DOWN + DOWN + UP)) == (1, 0)
    assert at(typed(UP)) == (0, 0)
    assert at(typed(DOWN * 12)) == (12, 3)
    assert at(typed(PAGE_DOWN)) == (10, 1)
    assert at(typed(END)) == (99, 90)
    assert at(typed(END + DOWN)) == (99, 90)
    assert at(typed(END + HOME)) == (0, 0)
    assert at(typed(END, rows=[TopFlow(one) for one in MANY[:3]])) == (2, 0)
    assert at(typed(DOWN, rows=[])) == (0, 0)
    state = typed(DOWN * 5)
    rows = [TopFlow(one) for one in reversed(MANY)]
    assert at(typed(DOWN, state, rows=rows)) == (95, 86), "the same row, which is elsewhere now, and one further"
    assert at(typed(DOWN, state, rows=rows[-3:])) == (2, 0), "gone: near to where it was"


def test_a_filter_is_typed() -> None:
    state = typed(b"/proto=tcp ftq\x7fp\r")
    assert (state.here.text, state.here.chosen.proto, state.here.words) == ("proto=tcp ftp", ("tcp",), ("ftp",))
    assert state.entry is None
    assert typed(b"/\x15\r", state) == TopChoices()
    assert typed(b"\x1b", state) == TopChoices()
    assert typed(b"/zzz\x1b", state) == state
    assert typed(b"/qsrp1k").entry == "qsrp1k"
    wrong = typed(b"/proto=tpc\r")
    assert wrong.entry == "proto=tpc"
    assert "nearest is tcp" in wrong.fault
    assert typed(b"\x7f", wrong).fault == ""
    assert len(typed(b"/" + b"a" * 500).entry or "") == keys.ENTRY_MAX


@pytest.mark.parametrize(
    ("view", "text", "fault"),
    [
        (b"1", b"idle=soon", "not a number of seconds"), (b"1", b"inside=x", "not a network"),
        (b"2", b"proto=tcp", "the nearest is inside"), (b"1", b"reason=x", "nearest"),
        (b"4", b"proto=tcp", "no filter"), (b"5", b"reason=any", ""), (b"1", b"--idle=60 --proto=tcp", ""),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_filter_stands_on_its_line(view: bytes, text: bytes, fault: str) -> None:
    state = typed(view + b"/" + text + b"\r")
    assert fault in state.fault
    assert bool(state.fault) == bool(fault)
    if fault:
        assert fault in frame(160, 24, state).lines[2].plain


def test_what_is_asked_of_the_daemon() -> None:
    asked = request(typed(b"/proto=tcp idle=60 x\rr"), 1.0, 20)
    assert asked == {
        "interval": 1.0, "view": "sessions", "events": 20, "limit": 100, "sort": "rate", "reverse": True,
        "proto": "tcp", "idle": 60.0, "words": ["x"],
    }  # fmt: skip
    assert request(typed(b"4"), 1.0, 20) == {"interval": 1.0, "view": "drops", "events": 200}
    assert request(typed(b"3"), 1.0, 20) == {"interval": 1.0, "view": "ports", "events": 0}
    assert request(typed(DOWN * 90), 1.0, 20)["limit"] == 300
    assert request(TopChoices().with_here(at=10**6, offset=10**6), 1.0, 20)["limit"] == ROWS_MOST
    assert request(typed(b"\r"), 1.0, 20)["keep"] == [["udp", "10.0.0.0:7", "192.0.2.53:53"]]


def test_an_empty_filter_is_everything() -> None:
    assert filtered(TopChoices(), "  ").here.chosen == Filter()


def test_the_views_that_are_completed_are_those_there_are() -> None:
    assert completion.views(None, None, "") == list(VIEWS)
