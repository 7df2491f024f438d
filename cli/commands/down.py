"""`algate down`: take the gateway off its devices."""

from __future__ import annotations

from typing import Annotated

import typer

from algate.cli.options import DEFAULT_RUN_DIR, RunDir


def down(
    purge: Annotated[
        bool, typer.Option("--purge", help="Also remove the pinned maps, which ends all sessions.")
    ] = False,
    run_dir: RunDir = DEFAULT_RUN_DIR,
) -> int:
    """Detach the gateway from its devices and restore what it changed. Works with or without a daemon."""
    from algate.alg.admin.down import down as detach

    return detach(run_dir, purge)
