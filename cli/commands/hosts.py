"""`algate hosts`: who inside is using the connection."""

from __future__ import annotations

from typing import Annotated

import typer

from algate.alg.rows import HostRow
from algate.cli import completion
from algate.cli.listing import again, ordered, show
from algate.cli.options import DEFAULT_RUN_DIR, Count, Inside, Json, Limit, Reverse, RunDir, Tsv, Watch
from algate.cli.output import OutputForm

Sort = Annotated[
    str,
    typer.Option(
        "--sort",
        metavar="KEY",
        help="Largest first by rate (unless given), sessions, ports, new, refused or oldest.",
        autocompletion=completion.host_sorts,
    ),
]


def hosts(
    inside: Inside = None,
    limit: Limit = None,
    sort: Sort = "",
    reverse: Reverse = False,
    count: Count = False,
    watch: Watch = None,
    as_json: Json = False,
    as_tsv: Tsv = False,
    run_dir: RunDir = DEFAULT_RUN_DIR,
) -> None:
    """List inside hosts: sessions, ports, rate both ways, new sessions a second, refusals, limits, oldest session.

    The rates are those of one second, for which the answer waits. `algate sessions --by host`, which takes all filters,
    doesn't wait.
    """
    voice = OutputForm.of(as_json, as_tsv)
    args = {"inside": inside, **ordered(limit, sort, reverse, count)}
    again(watch, voice, lambda: show("hosts", HostRow, run_dir, args, voice))
