"""README's table of questions is of the present format, and is what one run of the bench says."""

from __future__ import annotations

from typing import Any

import pytest

from algate.cli.bench import asking, million
from tests import asked

pytestmark = pytest.mark.unit


def record() -> dict[str, Any]:
    """A run in which every figure of its own kind has a value of its own."""
    figures: dict[str, Any] = {}
    for number, one in enumerate(million.figures(1_000_000).values(), 1):
        gateways = {name: {"median": number / 10} for name in (asked.ALGATE, asked.CONNTRACK)}
        figures[one.key] = {"title": one.title, "gateways": gateways}
    figures["listing.there"]["gateways"][asked.ALGATE]["median"] = 999_876.0
    return {"machine": {"cpus": 2, "load": [0.5, 0, 0]}, "figures": figures}


def test_each_row_has_its_question_of_the_bench() -> None:
    assert {mine for _, mine, _ in asked.ROWS} <= set(asking.QUESTIONS)
    assert {theirs for _, _, theirs in asked.ROWS if theirs} == set(asking.CONNTRACK)


def test_readme_is_as_it_would_be_written() -> None:
    """But for the figures."""
    written = asked.BLOCK.search(asked.README.read_text())
    assert written is not None
    made = asked.text(record())
    assert [line.partition("|")[2].partition("|")[0] for line in written[2].splitlines()] == [
        line.partition("|")[2].partition("|")[0] for line in made.splitlines()
    ]
    assert "999,876 sessions" in made and "load 0.5" in made
