"""What all listings of the daemon's tables do: take the filters, ask, show.

The law of this file: the only place that declares a listing's options; a verb names its row and says what it lists.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from algate.alg.admin import control, filters
from algate.alg.rows import ForwardRow, MappingRow, Row
from algate.cli.options import DEFAULT_RUN_DIR, AlgName, Inside, Json, Outside, Proto, RelatedTo, RunDir, State, Tsv
from algate.cli.output import OutputForm, say, show_rows

R = TypeVar("R", bound=Row)
LACKING: Mapping[type[Row], tuple[str, ...]] = {
    MappingRow: ("state", "alg", "related_to"),
    ForwardRow: ("state", "related_to"),
}


def lister(verb: str, kind: type[Row], help_text: str) -> Callable[..., None]:
    """The command that lists what the daemon returns for `verb`, with all filters; `help_text` is its help."""

    def listed(
        proto: Proto = None,
        state: State = None,
        inside: Inside = None,
        outside: Outside = None,
        alg: AlgName = None,
        related_to: RelatedTo = None,
        as_json: Json = False,
        as_tsv: Tsv = False,
        run_dir: RunDir = DEFAULT_RUN_DIR,
    ) -> None:
        values = (proto, state, inside, outside, alg, related_to)
        show(verb, kind, run_dir, dict(zip(filters.NAMES, values, strict=True)), OutputForm.of(as_json, as_tsv))

    listed.__doc__ = help_text
    return listed


def show(verb: str, kind: type[R], run_dir: Path, args: Mapping[str, str | None], voice: OutputForm) -> None:
    """Rows of `kind` from the daemon for `verb` and `args` (the filters). A bad filter is an error before asking."""
    filters.parse(args)
    for name in LACKING.get(kind, ()):
        if args.get(name):
            say(f"algate: {verb} have no {name.replace('_', ' ')}: --{name.replace('_', '-')} matches none of them")
    given = {name: value for name, value in args.items() if value is not None}
    show_rows(map(kind.read, control.rows(run_dir, verb, given)), kind, voice)
