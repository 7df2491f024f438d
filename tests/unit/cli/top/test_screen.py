"""Frames: exactly their size, as approved for each view, true counts, the selected row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from rich.cells import cell_len

from algate.alg.rows import HostRow
from algate.cli.top import details, plain, screen
from algate.cli.top.all import VIEWS
from algate.cli.top.choices import TopChoices
from algate.cli.top.history import History, TopSnapshot
from algate.cli.top.keys import filtered
from algate.cli.top.picture import svg
from tests import golden_text
from tests.fake_daemon import SESSIONS, snapshot
from tests.top_states import (
    END,
    crowd,
    frame,
    history,
    typed,
)

WRONG = TopChoices(entry="proto=tpc", fault="--proto: 'tpc' is not one of tcp")


@pytest.mark.parametrize(
    ("look", "text", "words"),
    [
        ({"matching": 100, "total": 100}, "", []),
        ({"matching": 153_000, "total": 153_000}, "", ["100 of 153,000 shown"]),
        ({"matching": 4_312, "total": 153_000}, "proto=udp", ["100 of 4,312 shown", "(153,000 in all)"]),
        ({"matching": 100, "total": 100, "every": 14.0}, "", ["looks every 14s"]),
        ({"matching": 100, "total": 100, "rated": False}, "", ["rates come soon"]),
    ],
)
def test_the_counts_are_true(look: dict[str, Any], text: str, words: list[str]) -> None:
    made = crowd(**look)
    shown = screen.counts(made, filtered(TopChoices(), text).here, 1.0)
    assert all(one in shown for one in words)
    assert bool(shown) == bool(words)
    assert f"sessions {look['total']:,}" in frame(80, 24, made=made).lines[1].plain


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 60)])
@pytest.mark.parametrize("name", VIEWS)
def test_each_view_looks_as_approved(name: str, width: int, height: int) -> None:
    made = frame(width, height, TopChoices(name))
    assert len(made.lines) == height
    assert max(cell_len(line.plain) for line in made.lines) <= width
    golden_text.check(f"top-{name}-{width}x{height}.txt", made.lines)


@pytest.mark.parametrize(("width", "whole"), [(80, False), (200, True)])
def test_ipv6_end_points_get_the_room_that_is_left(width: int, whole: bool) -> None:
    """And show their port in any case."""
    remote = "[2001:db8:113:0:5054:ff:fe12:3456]:65535"
    made = History()
    row = replace(SESSIONS[0], inside="[2001:db8:1::5]:40001", outside=remote, mapped=None)
    made.add(TopSnapshot.read({**snapshot(0), "sessions": [row.as_dict()], "expectations": []}))
    lines = [line.plain for line in frame(width, 24, made=made).lines]
    assert max(map(len, lines)) <= width
    (shown,) = [line for line in lines if "[2001:db8:1::5]:40001" in line]
    assert (remote in shown, "3456]:65535" in shown) == (whole, True)


@pytest.mark.parametrize(
    ("name", "state", "trouble"),
    [
        ("help", TopChoices(help=True), ""),
        ("entry", WRONG, ""),
        ("gone", TopChoices(paused=True), "retrying: no daemon on /run/algate"),
        ("detail", details.opened(TopChoices(), SESSIONS[1]), ""),
    ],
)
def test_other_frames_look_as_approved(name: str, state: TopChoices, trouble: str) -> None:
    golden_text.check(f"top-{name}.txt", frame(80, 24, state, trouble).lines)


@pytest.mark.parametrize("width", [1, 20, 40, 41, 60, 79, 81, 119, 250])
@pytest.mark.parametrize("height", [1, 2, 8, 9, 15, 16, 17, 23, 60])
def test_a_frame_has_exactly_its_size(width: int, height: int) -> None:
    states = [TopChoices(name) for name in VIEWS] + [TopChoices(name, help=True) for name in VIEWS]
    states += [TopChoices(entry="x" * 100, fault="y" * 100), TopChoices().with_here(at=999, mark="x", offset=999)]
    states += [details.opened(TopChoices(), SESSIONS[0]), replace(TopChoices(), note="\x1b[31m" + "n" * 300)]
    for state in states:
        made = frame(width, height, state, "z" * 100)
        assert len(made.lines) == height
        assert all(cell_len(line.plain.rstrip("\n")) <= width for line in made.lines)
        assert all(line.plain.replace("\n", "").isprintable() for line in made.lines)


def test_the_selected_row_is_marked_and_the_lines_below_are_scrolled_to() -> None:
    made = crowd()
    state = TopChoices().with_here(sort="inside")
    first = frame(80, 24, state, made=made)
    assert len(first.rows) == 100
    assert "10.0.0.0:7" in first.lines[4].plain
    assert any("reverse" in str(span.style) for span in first.lines[4].spans)
    below = frame(80, 24, typed(END, state, first.page, first.rows), made=made)
    assert "10.0.0.99:7" in below.lines[3 + below.page].plain
    assert any("reverse" in str(span.style) for span in below.lines[3 + below.page].spans)
    assert "of 100" in below.lines[2].plain


def test_a_table_without_a_screen_has_what_the_screen_has() -> None:
    lines = plain.page(history(0, 1, 2), TopChoices(), 79, 24, 2.0)
    assert "12:00:00 sessions, by rate, 7 of 7 lines" in lines[2].plain
    assert lines[4].plain.startswith("ftp    established 10.0.0.2:40001")
    assert all(len(line.plain) <= 79 and line.plain.isprintable() for line in lines)
    assert len(plain.page(crowd(), TopChoices(), 79, 24, 2.0)) <= 24


def test_a_picture_needs_nothing_from_elsewhere() -> None:
    made = svg(frame(80, 24).lines, 80, "algate top: sessions")
    assert made.startswith("<svg")
    assert "http" not in made.replace("http://www.w3.org/2000/svg", "").replace("https://www.textualize.io", "")
    assert "10.0.0.2:40001" in made.replace("&#160;", " ")


def test_a_host_near_its_limit_is_marked() -> None:
    fields = {one.sort: one.column for one in VIEWS["hosts"].fields}
    row = HostRow("10.0.0.9", 100, 41, 0.0, 0.0, 0.0, 0, 100, 50, None)
    assert (fields["sessions"].cell(row), fields["ports"].cell(row)) == ("100/100", "41/50")
    styles = [one.style(row) if callable(one.style) else one.style for one in (fields["sessions"], fields["ports"])]
    assert styles == ["bold red", "yellow"]
