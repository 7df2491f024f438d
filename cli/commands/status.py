"""`algate status`: one object about the daemon, or its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from algate.alg.errors import DONE, FAILED
from algate.alg.rows import SettingRow
from algate.cli.options import DEFAULT_RUN_DIR, Json, RunDir, Tsv
from algate.cli.output import OutputForm, say, show_lines, show_object, show_rows
from algate.client import Client, SilentError


def status(
    settings: Annotated[
        bool, typer.Option("--settings", help="Every key of the configuration, its value and where it comes from.")
    ] = False,
    as_json: Json = False,
    as_tsv: Tsv = False,
    run_dir: RunDir = DEFAULT_RUN_DIR,
) -> int:
    """Show the daemon, its devices and addresses, the plug-ins, the key figures and what was dropped.

    Counts are the kernel's of this moment; drops are counted since the gateway's tables were made. If the daemon
    doesn't answer within 2 s: what the kernel knows of it, and exit code 1.
    """
    voice = OutputForm.of(as_json, as_tsv)
    if settings:
        show_rows(Client(run_dir).settings(), SettingRow, voice)
        return DONE
    try:
        data = Client(run_dir).status()
    except SilentError:
        return _silent(run_dir, voice)
    if voice is OutputForm.HUMAN:
        from algate.cli import objects

        show_lines(objects.status(data))
    else:
        show_object(data, voice)
    return DONE


def _silent(run_dir: Path, voice: OutputForm) -> int:
    """A daemon that hangs."""
    from algate.alg.admin import silence

    found = silence.known(run_dir)
    if voice is OutputForm.HUMAN:
        from algate.cli import objects

        show_lines(objects.silent(found))
    else:
        show_object(found, voice)
    say(f"algate: {silence.sentence(found)} ({silence.FIX})")
    return FAILED
