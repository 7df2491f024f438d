"""`algate follow`: events as they happen."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from algate.alg.admin import filters
from algate.alg.errors import FAILED, USAGE, AlgateError
from algate.alg.rows import LOST, EventRow, Row, SessionEventRow
from algate.cli.options import (  # fmt: skip
    DEFAULT_RUN_DIR,
    AlgName,
    Inside,
    Json,
    Outside,
    Proto,
    RelatedTo,
    RunDir,
    State,
    Tsv,
)
from algate.cli.output import OutputForm, json_object, say, show_lines, tsv_line
from algate.client import Client

OF_SESSIONS = ("proto", "state")  # filters that only sessions have


def follow(
    sessions: Annotated[
        bool, typer.Option("--sessions", help="Sessions as they are made and ended, instead of events of the ALGs.")
    ] = False,
    event: Annotated[
        str | None,
        typer.Option(
            "--event",
            metavar="E[,E]",
            help="Only these events, by name or first words: command, transfer, expectation, session-ended.",
        ),
    ] = None,
    reason: Annotated[
        str | None,
        typer.Option(
            "--reason", metavar="R[,R]", help="Only events with this reason; `any`: everything refused or failed."
        ),
    ] = None,
    proto: Proto = None,
    state: State = None,
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
    given = {"event": event, "reason": reason, "proto": proto, "state": state, "inside": inside, "outside": outside}
    given |= {"alg": alg, "related_to": related_to}
    wanted: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    kind = SessionEventRow if sessions else EventRow
    if voice is OutputForm.TSV:
        sys.stdout.write("\t".join(kind.names()) + "\n")
    for seen, row in enumerate(rows(run_dir, wanted, kind), 1):
        show(row, voice)
        if seen == count:
            return 0
    say(f"algate: the daemon on {run_dir} has stopped")
    return FAILED


def rows(run_dir: Path, wanted: Mapping[str, Any], kind: type[Row]) -> Iterator[Row]:
    """What the daemon tells, and what matches; a row of kind LOST for what it couldn't."""
    chosen = filters.parse(wanted)
    if kind is EventRow:
        for name in OF_SESSIONS:
            if name in wanted:
                raise AlgateError(f"--{name}: only sessions have one: add --sessions", USAGE)
    more = {"sessions": True} if kind is SessionEventRow else {}
    for data in Client(run_dir).told("follow", {**wanted, **more}):
        for one in data if isinstance(data, list) else (data,):
            lost = one["event"] == LOST
            row = EventRow.read(one) if lost else kind.read(one)
            if lost:
                say(f"algate: {one['detail']}")
            elif not chosen.matches(row):
                continue
            yield row


def show(row: Row, voice: OutputForm) -> None:
    """Print one event at once."""
    if voice is OutputForm.JSON:
        sys.stdout.write(json_object(row.as_dict()) + "\n")
    elif voice is OutputForm.TSV:
        sys.stdout.write(tsv_line(row))
    else:
        from algate.cli import view

        if isinstance(row, SessionEventRow):
            show_lines([view.session_event(row, _clock(row.time))])
        elif isinstance(row, EventRow):
            show_lines([view.event(row, _clock(row.time))])
    sys.stdout.flush()


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%H:%M:%S.%f")[:-3]
