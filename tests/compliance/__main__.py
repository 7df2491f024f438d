"""`python -m tests.compliance [--json] [algate|kernel|tayga] [ROW|PROFILE|PREFIX* ...]`: some rows, one line each.

With `--json`, stdout is one object: row to answer. test_compliance.py runs the kernel's column this way, next to its
own.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from tests.compliance.rows import ROWS
from tests.compliance.run import Run
from tests.compliance.verdict import Answer, Requirement


def chosen(words: list[str]) -> list[Requirement]:
    """The rows that the words name; all rows if there are no words."""
    return [row for row in ROWS if not words or any(_named(row, word) for word in words)]


def _named(row: Requirement, word: str) -> bool:
    return word in (row.id, row.config) or (word.endswith("*") and row.id.startswith(word[:-1]))


def show(name: str, rows: list[Requirement], answers: dict[str, Answer]) -> None:
    for row in rows:
        one = answers[row.id]
        word = "yes" if one.yes else "BROKEN" if one.broken else "no"
        print(f"{name} {row.id} {row.level}: {word} {one.seconds:.1f} s {one.why}")


def main(words: list[str]) -> int:
    as_json = "--json" in words
    names = [word for word in words if word in ("algate", "kernel", "tayga")]
    rows = chosen([word for word in words if word not in names and word != "--json"])
    for name in names or ["algate"]:
        answers = Run(name, rows, say=lambda line: print(line, file=sys.stderr)).go()
        if as_json:
            print(json.dumps({number: asdict(one) for number, one in answers.items()}))
        else:
            show(name, rows, answers)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
