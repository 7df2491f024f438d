"""`algate top`: a live view."""

from __future__ import annotations

from typing import Annotated

import typer

from algate.cli.options import DEFAULT_RUN_DIR, RunDir


def top(
    interval: Annotated[
        float, typer.Option("--interval", metavar="SECONDS", min=0.1, max=60, help="Seconds between frames.")
    ] = 0.4,
    once: Annotated[bool, typer.Option("--once", help="Print one frame and exit.")] = False,
    columns: Annotated[int | None, typer.Option("--columns", min=40, max=1000, help="Width of --once.")] = None,
    lines: Annotated[int, typer.Option("--lines", min=8, max=1000, help="Height of --once.")] = 24,
    run_dir: RunDir = DEFAULT_RUN_DIR,
) -> int:
    """Watch rates, sessions with their expectations and data connections, drops and events live. `?` shows the keys."""
    from algate.cli.top import top as live

    return live.once(run_dir, columns, lines) if once else live.top(run_dir, interval)
