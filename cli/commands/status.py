"""`algate status`: one object about the daemon."""

from __future__ import annotations

from algate.cli.options import DEFAULT_RUN_DIR, Json, RunDir, Tsv
from algate.cli.output import OutputForm, show_object
from algate.client import Client


def status(as_json: Json = False, as_tsv: Tsv = False, run_dir: RunDir = DEFAULT_RUN_DIR) -> None:
    """Show the daemon, its devices and addresses, the plug-ins and the key figures."""
    show_object(Client(run_dir).status(), OutputForm.of(as_json, as_tsv))
