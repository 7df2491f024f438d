"""How far a line walks through the engine's modules, and what the engine's page says about it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import walk
from tests.imports import ROOT
from tests.unit.test_build import listed

pytestmark = pytest.mark.pure
PAGE = Path(__file__).parents[3] / "alg/engine/README.md"


def test_the_page_shows_the_walks_as_they_are() -> None:
    assert walk.report() in PAGE.read_text()


def test_a_move_is_a_change_of_room() -> None:
    room = walk.Room("engine")
    room.inner = [walk.Room("frames"), walk.Room("session")]
    room.inner[1].inner = [walk.Room("flow")]
    assert str(room) == "engine(frames session(flow))"
    assert room.moves == len(["frames", "engine", "session", "flow", "session", "engine"])


def test_what_calls_back_through_the_standard_library_is_seen() -> None:
    from algate.alg.engine.stream import Stream

    seen = walk.walk(lambda: [*map(Stream, sorted([1, 2]))])
    assert str(seen) == "(stream stream)"


def test_a_port_line_walks_less_than_132_moves() -> None:
    """It was once 178; eight are for the question what passes behind it, four for what the answer opens by itself, ten
    for addresses, end points and sums. A line that passes must be far below that."""
    port, passing = (walk.Dialogue().watched(line) for line in walk.LINES.values())
    assert port.moves < 132 and passing.moves < 70


def test_every_room_on_the_way_is_compiled_in_the_compiled_build() -> None:
    """But for Script, which third parties derive from: setup.py says why."""
    entered = {name for line in walk.LINES.values() for name in walk.Dialogue().watched(line).names()}
    compiled = {walk.room_of(str(ROOT / path)) for path in listed()}
    assert entered - compiled == {"base"}


def test_the_page_names_every_module() -> None:
    table = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    named = re.findall(r"`(\w+\.py)`", " ".join(line.split(" | ")[0] for line in table))
    modules = [path.name for path in PAGE.parent.glob("*.py") if path.name != "__init__.py"]
    assert sorted(named) == sorted(modules)
