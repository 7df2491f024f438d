"""The table that the rung writes: tests/faults.md.

The law of this file: rows in, text out. A fault that this run left out keeps the row of the last run that had it; one
that no test declares any more loses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.faults.fault import Row

DOCUMENT = Path(__file__).parents[1] / "faults.md"

HEAD = """# What happens to gateways, and what becomes of it

Written by `pytest -m faults tests/faults` (the rung `faults`; `--all` has the long ones too): each fault was done to a
running gateway between a client and a server in network namespaces, with traffic in old and new TCP sessions, UDP and
an FTP control session with transfers. Seconds count from the fault: until it was told (`status`, `/health` or the log,
as "seen" says) and until all was as before. They are those of one run, on a machine that did other things too; the
tests' own bounds are wide. "Lost" counts sessions that ended or never began; "silence" is the longest time without an
answer.

"""
COLUMNS = "| fault | what was seen | noticed | mended | lost |"


def table(rows: Mapping[str, Row], declared: Iterable[str], former: str = "") -> str:
    """The whole document: a line for each declared fault in that order, from this run or else from the former text."""
    kept = {line.split(" | ")[0].removeprefix("| "): line for line in former.splitlines() if line.startswith("| ")}
    lines = [COLUMNS, "| --- | --- | --- | --- | --- |"]
    for name in dict.fromkeys(map(cell, declared)):
        row = next((one for one in rows.values() if cell(one.fault) == name), None)
        if row is not None:
            lines.append(line(row))
        elif name in kept:
            lines.append(kept[name])
    return HEAD + "\n".join(lines) + "\n"


def line(row: Row) -> str:
    cells = (row.fault, row.seen, seconds(row.noticed), seconds(row.mended), row.lost)
    return "| " + " | ".join(map(cell, cells)) + " |"


def seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
