"""`algate status`: one object about the daemon, or its settings."""

from __future__ import annotations

from typing import Annotated

import typer

from algate.alg.rows import SettingRow
from algate.cli.options import DEFAULT_RUN_DIR, Json, RunDir, Tsv
from algate.cli.output import OutputForm, show_lines, show_object, show_rows
from algate.client import Client


def status(
    settings: Annotated[
        bool, typer.Option("--settings", help="Every key of the configuration, its value and where it comes from.")
    ] = False,
    as_json: Json = False,
    as_tsv: Tsv = False,
    run_dir: RunDir = DEFAULT_RUN_DIR,
) -> None:
    """Show the daemon, its devices and addresses, the plug-ins, the key figures and what was dropped.

    Counts are the kernel's of this moment; drops are counted since the gateway's tables were made.
    """
    voice = OutputForm.of(as_json, as_tsv)
    if settings:
        show_rows(Client(run_dir).settings(), SettingRow, voice)
        return
    data = Client(run_dir).status()
    if voice is OutputForm.HUMAN:
        from algate.cli import objects

        show_lines(objects.status(data))
    else:
        show_object(data, voice)
