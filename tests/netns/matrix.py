"""The matrix of real programs: which cells there are, which of them CI runs, and how the outcome is written down.

The representative part (CI): every server × client × mode × side once, with operations taking turns from cell to cell,
so that each client gets, puts and lists on each server. `--all` runs every operation in every cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

from algate.cli.lab.judge import InsideEnd, Mode
from algate.cli.lab.servers import KINDS
from algate.cli.lab.transfers import CLIENTS, Operation
from algate.cli.lab.trial import Result

FOLDER = Path(__file__).parents[2] / "build"


class Cell(NamedTuple):
    """One cell of the matrix."""

    server: str
    side: InsideEnd
    client: str
    mode: Mode
    operation: Operation


def cells(whole: bool) -> Iterator[Cell]:
    """All cells, or the representative part."""
    operations = list(Operation)
    for number, (server, side) in enumerate(product(KINDS, InsideEnd)):
        for turn, (client, mode) in enumerate(product(CLIENTS, Mode)):
            for index, operation in enumerate(operations):
                if whole or (number + turn + turn // len(Mode)) % len(operations) == index:
                    yield Cell(server, side, client, mode, operation)


def write(gateway: str, results: dict[Cell, Result], whole: bool) -> Path:
    """The table of one gateway's run; returns where it is."""
    FOLDER.mkdir(exist_ok=True)
    part = "whole" if whole else "representative part (dev.sh test --all runs it whole)"
    lines = [f"# FTP matrix through {gateway}: {part}", "", "A cell: get put list. `+` right on the wire, `F` failed,"]
    lines += ["`r` refused by the client program (its words below), `.` not in this run.", ""]
    lines += [f"| server | inside | client | {' | '.join(Mode)} |", "| --- " * (3 + len(Mode)) + "|"]
    for server, side, client in product(KINDS, InsideEnd, CLIENTS):
        marks = [
            " ".join(_mark(results.get(Cell(server, side, client, mode, operation))) for operation in Operation)
            for mode in Mode
        ]
        lines.append(f"| {server} | {side} | {client} | {' | '.join(marks)} |")
    lines += ["", "## Refusals, in the programs' own words", ""]
    said = {(c.client, c.mode, c.operation): r.refusal for c, r in results.items() if r.refusal}
    lines += [f"- {client} {mode} {operation}: `{words}`" for (client, mode, operation), words in sorted(said.items())]
    lines += ["", "## Failures", ""]
    failures = [f"- {' '.join(cell)}: {'; '.join(r.problems)}" for cell, r in results.items() if r.problems]
    lines += failures or ["None."]
    path = FOLDER / f"matrix-{gateway}.md"
    path.write_text("\n".join(lines) + "\n")
    return path


def _mark(result: Result | None) -> str:
    if result is None:
        return "."
    return "r" if result.refusal else "+" if result.ok else "F"
