"""`algate export`: write what a gateway holds to a file."""

from __future__ import annotations

from typing import Annotated

import typer

from algate.cli.options import DEFAULT_RUN_DIR, RunDir
from algate.cli.output import say


def export(
    target: Annotated[str, typer.Argument(metavar="FILE|-", help="File to write; -: standard output.")],
    run_dir: RunDir = DEFAULT_RUN_DIR,
) -> int:
    """Write all sessions, with what belongs to them, as lines of JSON: for `algate import` by another version or host.

    Works with and without a daemon, and changes nothing. What happens after it was begun may not be in it. The file
    tells who talks to whom, so only its owner may read it.
    """
    from algate.alg.admin import moving

    lines = moving.export(run_dir, target)
    say(f"algate: exported {lines - 2} entries")
    return 0
