"""`algate follow`: events as they happen."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Annotated

import typer

from algate.alg.admin import filters
from algate.alg.errors import FAILED
from algate.alg.rows import LOST, EventRow
from algate.cli.options import DEFAULT_RUN_DIR, AlgName, Inside, Json, Outside, RelatedTo, RunDir, Tsv
from algate.cli.output import OutputForm, json_object, say, show_lines, tsv_line
from algate.client import Client


def follow(
    event: Annotated[
        str | None,
        typer.Option(
            "--event",
            metavar="E[,E]",
            help="Only these events, by name or first words: command, transfer, expectation.",
        ),
    ] = None,
    reason: Annotated[
        str | None,
        typer.Option(
            "--reason", metavar="R[,R]", help="Only events with this reason; `any`: everything refused or failed."
        ),
    ] = None,
    inside: Inside = None,
    outside: Outside = None,
    alg: AlgName = None,
    related_to: RelatedTo = None,
    count: Annotated[int | None, typer.Option("--count", metavar="N", min=1, help="Stop after N events.")] = None,
    as_json: Json = False,
    as_tsv: Tsv = False,
    run_dir: RunDir = DEFAULT_RUN_DIR,
) -> int:
    """Print events of the ALGs as they happen. With --json, or if stdout isn't a terminal, one JSON object per line.

    Passwords are masked (PASS, ACCT, security data, passwords in SITE). A reader that is too slow is told what it lost.
    """
    voice = OutputForm.of(as_json, as_tsv)
    if voice is OutputForm.HUMAN and not sys.stdout.isatty():
        voice = OutputForm.JSON
    given = {"event": event, "reason": reason, "inside": inside, "outside": outside, "alg": alg}
    wanted = {name: value for name, value in (given | {"related_to": related_to}).items() if value is not None}
    chosen = filters.parse(wanted)
    seen = 0
    if voice is OutputForm.TSV:
        sys.stdout.write("\t".join(EventRow.names()) + "\n")
    for data in Client(run_dir).told("follow", wanted):
        row = EventRow.read(data)
        if row.event == LOST:
            say(f"algate: {row.detail}")
        elif not chosen.matches(row):
            continue
        show(row, voice)
        seen += 1
        if seen == count:
            return 0
    say(f"algate: the daemon on {run_dir} has stopped")
    return FAILED


def show(row: EventRow, voice: OutputForm) -> None:
    """Print one event at once."""
    if voice is OutputForm.JSON:
        sys.stdout.write(json_object(row.as_dict()) + "\n")
    elif voice is OutputForm.TSV:
        sys.stdout.write(tsv_line(row))
    else:
        from algate.cli import view

        show_lines([view.event(row, datetime.fromtimestamp(row.time).strftime("%H:%M:%S.%f")[:-3])])
    sys.stdout.flush()
