"""`algate ports`: what is left of the public ports."""

from __future__ import annotations

from typing import Annotated

import typer

from algate.alg.rows import PortRow
from algate.cli import completion
from algate.cli.listing import again, ordered, show
from algate.cli.options import DEFAULT_RUN_DIR, Count, Json, Limit, Outside, Proto, Reverse, RunDir, Tsv, Watch
from algate.cli.output import OutputForm

Sort = Annotated[
    str,
    typer.Option(
        "--sort",
        metavar="KEY",
        help="Largest first by fill, used, free, held_down or reserved.",
        autocompletion=completion.port_sorts,
    ),
]


def ports(
    proto: Proto = None,
    outside: Outside = None,
    limit: Limit = None,
    sort: Sort = "",
    reverse: Reverse = False,
    count: Count = False,
    watch: Watch = None,
    as_json: Json = False,
    as_tsv: Tsv = False,
    run_dir: RunDir = DEFAULT_RUN_DIR,
) -> None:
    """Show for each public address and protocol how many ports are used, free, held down and reserved.

    They run out after the time that is shown if their use goes on growing as it did in the last day. Ports that are
    held down were freed in the last [nat] hold_down seconds, and are kept from other hosts meanwhile.
    """
    voice = OutputForm.of(as_json, as_tsv)
    args = {"proto": proto, "outside": outside, **ordered(limit, sort, reverse, count)}
    again(watch, voice, lambda: show("ports", PortRow, run_dir, args, voice))
