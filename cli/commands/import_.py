"""`algate import`: make a gateway's state from an export."""

from __future__ import annotations

from typing import Annotated

import typer

from algate.cli.options import DEFAULT_RUN_DIR, RunDir
from algate.cli.output import say


def import_(
    source: Annotated[str, typer.Argument(metavar="FILE|-", help="What `algate export` wrote; -: standard input.")],
    max_sessions: Annotated[
        int, typer.Option("--max-sessions", min=1, metavar="N", help="Room for sessions, as [nat] max_sessions.")
    ] = 1048576,
    run_dir: RunDir = DEFAULT_RUN_DIR,
) -> int:
    """Pin maps with the sessions of an export; the next `algate run` on this run directory goes on with them.

    Refused while a daemon runs there or has left its state (`algate down --purge` ends it). A file that isn't whole
    changes nothing. The public addresses must be the exporting gateway's, in the same order.
    """
    from algate.alg.admin import moving

    came, lost = moving.import_(run_dir, source, max_sessions)
    say(f"algate: imported {came} sessions" + (f"; {lost} had lost their port" if lost else ""))
    return 0


VERBS = {"import": import_}
