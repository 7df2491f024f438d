"""What all listings of the daemon's tables do: take filters and an order, ask, show.

The law of this file: the only place that declares a listing's options; a verb names its row and says what it lists.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from algate.alg.admin import filters
from algate.alg.rows import AllowRow, ExpectationRow, ForwardRow, GroupRow, MappingRow, Row, SessionRow
from algate.cli.options import (  # fmt: skip
    DEFAULT_RUN_DIR,
    Age,
    AlgName,
    Count,
    ForwardedBy,
    Idle,
    Inside,
    Json,
    Limit,
    Outside,
    Proto,
    RelatedTo,
    Reverse,
    RunDir,
    State,
    Tsv,
    Watch,
    by_of,
    sort_of,
)
from algate.cli.output import OutputForm, json_object, say, show_json, show_lines, show_rows, show_text, width
from algate.client import Client

R = TypeVar("R", bound=Row)
LACKING: Mapping[type[Row], tuple[str, ...]] = {
    MappingRow: ("state", "alg", "related_to"),
    ForwardRow: ("state", "related_to"),
    AllowRow: ("state", "alg", "related_to"),
}
TITLES: Mapping[type[Row], str] = {
    MappingRow: "MAPPINGS",
    ExpectationRow: "EXPECTATIONS",
    ForwardRow: "FORWARDS",
    AllowRow: "ALLOWED",
}
CLEAR = "\x1b[H\x1b[2J"
PLAIN = ("", "dumb", "unknown")  # kinds of terminal that would show it


def lister(verb: str, kind: type[Row], help_text: str) -> Callable[..., None]:
    """The command that lists what the daemon returns for `verb`, with all filters; `help_text` is its help."""

    def listed(
        proto: Proto = None,
        state: State = None,
        inside: Inside = None,
        outside: Outside = None,
        alg: AlgName = None,
        related_to: RelatedTo = None,
        idle: Idle = None,
        age: Age = None,
        forward: ForwardedBy = None,
        limit: Limit = None,
        sort: str = "",
        reverse: Reverse = False,
        count: Count = False,
        by: str = "",
        watch: Watch = None,
        as_json: Json = False,
        as_tsv: Tsv = False,
        run_dir: RunDir = DEFAULT_RUN_DIR,
    ) -> None:
        chosen = dict(zip(filters.NAMES, (proto, state, inside, outside, alg, related_to), strict=True))
        more = {"idle": idle, "age": age, "forward": forward}
        order = ordered(limit, sort, reverse, count, by)
        voice = OutputForm.of(as_json, as_tsv)
        again(watch, voice, lambda: show(verb, kind, run_dir, {**chosen, **more, **order}, voice))

    listed.__doc__ = help_text
    listed.__annotations__ |= {"sort": sort_of(verb), "by": by_of(verb)}
    return listed


def ordered(limit: int | None, sort: str, reverse: bool, count: bool, by: str = "") -> dict[str, Any]:
    """What is wanted of the rows, as args of a request."""
    flags = {name: True for name, given in (("reverse", reverse), ("count", count)) if given}
    return {"limit": limit, "sort": sort or None, "by": by or None, **flags}


def again(watch: float | None, voice: OutputForm, act: Callable[[], None]) -> None:
    """Do it once or, with --watch, every so many seconds until interrupted, on a cleared screen if there is one."""
    while True:
        if watch is not None and voice is OutputForm.HUMAN and sys.stdout.isatty():
            sys.stdout.write(CLEAR if os.environ.get("TERM", "dumb") not in PLAIN else "\n")
        act()
        if watch is None:
            return
        sys.stdout.flush()
        time.sleep(watch)


def show(verb: str, kind: type[R], run_dir: Path, args: Mapping[str, Any], voice: OutputForm) -> None:
    """Rows of `kind` from the daemon, for filters and order in `args`. A bad filter is an error before asking."""
    filters.parse(args)
    for name in LACKING.get(kind, ()):
        if args.get(name):
            say(f"algate: {verb} have no {name.replace('_', ' ')}: --{name.replace('_', '-')} matches none of them")
    given = {name: value for name, value in args.items() if value is not None}
    gateway = Client(run_dir)
    if given.get("count"):
        number = gateway.ask(verb, given)["count"]
        if voice is OutputForm.JSON:
            sys.stdout.write(json_object({"count": number}) + "\n")
        else:
            sys.stdout.write(f"{number}\n")
    elif given.get("by"):
        groups = gateway.listed(verb, GroupRow, given)
        if voice is OutputForm.HUMAN and kind is not SessionRow:
            from algate.cli import view

            show_lines(view.counted(list(groups), TITLES[kind], width()))
        else:
            show_rows(groups, GroupRow, voice)
    elif kind is SessionRow:
        show_sessions(gateway.packed(verb, given), voice)
    else:
        show_rows(gateway.listed(verb, kind, given), kind, voice)


def show_sessions(answer: Iterator[Any], voice: OutputForm) -> None:
    """Sessions from an answer asked for as packed: lines are made of them without a row in between."""
    from algate.alg.admin.columns import Columns, Moment

    head = next(answer)
    if head is None:  # a daemon of an older version
        show_rows(map(SessionRow.read, answer), SessionRow, voice)
        return
    columns, split = Columns(head), head["key"]
    parts = (
        (raw[: split * about["sessions"]], raw[split * about["sessions"] :],
         Moment(about["tick"], about["ns"], {int(child): parent for child, parent in about["parents"].items()},
                {int(number): text for number, text in about.get("addresses", {}).items()}))
        for about, raw in answer
    )  # fmt: skip
    if voice is OutputForm.TSV:
        show_text(chain(["\t".join(SessionRow.names()) + "\n"], (columns.tsv(*part) for part in parts)))
    elif voice is OutputForm.JSON:
        show_json(columns.json(*part) for part in parts)
    else:
        show_rows((row for part in parts for row in columns.rows(*part)), SessionRow, voice)
