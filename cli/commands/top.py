"""`algate top`: a live view."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from algate.cli import completion
from algate.cli.options import DEFAULT_RUN_DIR, RunDir


def top(
    view: Annotated[
        str,
        typer.Option(
            "--view",
            metavar="VIEW",
            help="Begin with sessions, hosts, ports, drops or events.",
            autocompletion=completion.views,
        ),
    ] = "sessions",
    sort: Annotated[str, typer.Option("--sort", metavar="COLUMN", help="Begin with this order of the view.")] = "",
    reverse: Annotated[bool, typer.Option("--reverse", help="Begin with the order reversed.")] = False,
    filter_: Annotated[
        str, typer.Option("--filter", metavar="TEXT", help="Begin with this filter, as typed after `/`.")
    ] = "",
    interval: Annotated[
        float, typer.Option("--interval", metavar="SECONDS", min=0.1, max=60, help="Seconds between frames.")
    ] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Print one frame and exit.")] = False,
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="Write one frame to this file, as a picture.")
    ] = None,
    columns: Annotated[
        int | None, typer.Option("--columns", metavar="N", min=40, max=1000, help="Width of --once and --svg.")
    ] = None,
    lines: Annotated[
        int, typer.Option("--lines", metavar="N", min=8, max=1000, help="Height of --once and --svg.")
    ] = 24,
    run_dir: RunDir = DEFAULT_RUN_DIR,
) -> int:
    """Watch sessions, hosts, ports, drops and events live: keys 1 to 5 change the view, `?` shows all keys.

    Where the cursor can't be moved (TERM=dumb), it prints a table every two seconds. NO_COLOR leaves colours out.
    """
    from algate.cli.top import top as live

    chosen = live.Options(run_dir, interval, view, sort, reverse, filter_, columns, lines, svg)
    return live.once(chosen) if once or svg is not None else live.top(chosen)
