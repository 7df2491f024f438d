"""What all listings of the daemon's tables do: ask with filters, show.

The law of this file: one function; a verb adds its options and names its row.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from algate.alg import control, filters
from algate.alg.rows import ForwardRow, MappingRow, Row
from algate.cli.output import Voice, say, show_rows

R = TypeVar("R", bound=Row)
LACKING: Mapping[type[Row], tuple[str, ...]] = {
    MappingRow: ("state", "alg", "related_to"),
    ForwardRow: ("state", "related_to"),
}


def show(verb: str, kind: type[R], run_dir: Path, args: Mapping[str, str | None], voice: Voice) -> None:
    """Rows of `kind` that the daemon has for `verb` and `args` (the filters). A bad filter is told before asking."""
    filters.parse(args)
    for name in LACKING.get(kind, ()):
        if args.get(name):
            say(f"algate: {verb} have no {name.replace('_', ' ')}: --{name.replace('_', '-')} matches none of them")
    given = {name: value for name, value in args.items() if value is not None}
    rows = [kind.read(one) for one in control.request(run_dir, verb, given)]
    show_rows(rows, kind, voice)
