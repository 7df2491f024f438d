"""The table of host faults: what this run saw, what it left out, what no test declares any more."""

from __future__ import annotations

from tests.faults.fault import Row
from tests.faults.report import table

FORMER = """| a | old | 0.10 s | 0.20 s | nothing |
| gone | old | - | - | - |
| long one | old | 9.00 s | - | nothing |
"""


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("| ")][2:]


def test_this_run_before_the_former() -> None:
    row = Row("a", "seen", 0.014, None, "0 of 3")
    assert lines(table({"a": row}, ["long one", "a"], FORMER)) == [
        "| long one | old | 9.00 s | - | nothing |",
        "| a | seen | 0.01 s | - | 0 of 3 |",
    ]


def test_what_has_no_row_yet_is_left_out() -> None:
    assert lines(table({}, ["never run"], FORMER)) == []


def test_a_bar_in_a_cell() -> None:
    row = Row("a | b", "x\ny", None, 1.0, "")
    text = table({"a | b": row}, ["a | b"])
    assert lines(text) == [r"| a \| b | x y | - | 1.00 s |  |"]
    assert lines(table({}, ["a | b"], text)) == lines(text)
