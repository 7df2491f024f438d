"""Listings of small tables: what they can be sorted, counted and filtered by, and that nothing else is passed over."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from algate.alg.admin import orders, tables
from algate.alg.admin.messages import Rows
from algate.alg.errors import USAGE, AlgateError
from algate.alg.rows import AllowRow, ExpectationRow, ForwardRow, MappingRow, Row

MAPPINGS = (
    MappingRow("tcp", "10.0.0.1:1", "203.0.113.1:1", 3, 60.0, 5.0, False),
    MappingRow("tcp", "10.0.0.2:1", "203.0.113.1:2", 9, 10.0, None, True),
    MappingRow("udp", "10.0.0.1:2", "203.0.113.1:3", 1, 0.0, 7.0, True),
)
EXPECTATIONS = (
    ExpectationRow("1", "open", "tcp", "198.51.100.2", "203.0.113.1:4", "10.0.0.2:5", 9.0, "a1", "ftp"),
    ExpectationRow("2", "pending", "tcp", "10.0.0.1", None, "198.51.100.2:6", 90.0, "a1", "ftp"),
)
FORWARDS = (
    ForwardRow("tcp", "80", "10.0.0.1:80", (), None, "live", 2),
    ForwardRow("tcp", "21", "10.0.0.1:21", (), "ftp", "config", 7),
)
ALLOWED = (AllowRow("tcp", "80", "2001:db8::5", (), "live", 1),)
ROWS = {"mappings": MAPPINGS, "expectations": EXPECTATIONS, "forward-list": FORWARDS, "allow-list": ALLOWED}


def ask(verb: str, rows: Sequence[Row], **args: Any) -> Any:
    answer = asyncio.run(tables.listed(verb, rows, args))
    return [row for piece in answer.pieces for row in piece] if isinstance(answer, Rows) else answer


@pytest.mark.parametrize(
    ("verb", "sort", "places"),
    [("mappings", "age", [0, 1, 2]), ("mappings", "sessions", [1, 0, 2]), ("mappings", "expires", [2, 0, 1]),
     ("expectations", "expires", [1, 0]), ("forward-list", "hits", [1, 0]), ("allow-list", "hits", [0])],
)  # fmt: skip
def test_each_is_sorted_by_what_its_rows_have(verb: str, sort: str, places: list[int]) -> None:
    rows = ROWS[verb]
    assert ask(verb, rows, sort=sort) == [rows[at] for at in places]
    assert ask(verb, rows, sort=sort, reverse=True, limit=1) == [rows[places[-1]]]


def test_every_word_of_every_table_is_answered() -> None:
    for verb, rows in ROWS.items():
        words = orders.LISTINGS[verb]
        for sort in words.sorts:
            assert len(ask(verb, rows, sort=sort)) == len(rows)
        for by in words.keys:
            assert sum(row.sessions for row in ask(verb, rows, by=by)) == len(rows)
        assert ask(verb, rows, count=True) == {"count": len(rows)}


def test_counts_by_a_key() -> None:
    def counted(verb: str, rows: Sequence[Row], by: str) -> dict[str, int]:
        return {row.key: row.sessions for row in ask(verb, rows, by=by)}

    assert counted("mappings", MAPPINGS, "host") == {"10.0.0.1": 2, "10.0.0.2": 1}
    assert counted("expectations", EXPECTATIONS, "state") == {"open": 1, "pending": 1}
    assert counted("forward-list", FORWARDS, "alg") == {"ftp": 1, "none": 1}
    assert counted("allow-list", ALLOWED, "host") == {"2001:db8::5": 1}, "which has no port behind it"


def test_mappings_of_an_age() -> None:
    assert ask("mappings", MAPPINGS, age=30) == [MAPPINGS[0]]
    assert ask("mappings", MAPPINGS, age=30, count=True) == {"count": 1}


@pytest.mark.parametrize(
    ("verb", "args", "told"),
    [
        ("mappings", {"idle": 5}, "--idle: only sessions are idle"),
        ("forward-list", {"age": 5}, "--age: these rows have no age"),
        ("expectations", {"forward": "any"}, "--forward: only sessions come by a forward"),
        ("mappings", {"sort": "rate"}, "--sort: these rows have no rate, only age, sessions, expires; sessions do"),
        ("mappings", {"by": "alg"}, "--by: these rows have no alg, only host; sessions do"),
        ("mappings", {"sort": "agee"}, "--sort: 'agee' is not one of age, sessions, expires; the nearest is age"),
        ("allow-list", {"age": "x"}, "--age: these rows have no age"),
        ("mappings", {"age": "x"}, "--age: 'x' is not a number of seconds"),
    ],
)
def test_what_only_sessions_have_is_refused(verb: str, args: dict[str, Any], told: str) -> None:
    with pytest.raises(AlgateError) as refused:
        ask(verb, ROWS[verb], **args)
    assert (str(refused.value), refused.value.exit_code) == (told, USAGE)
