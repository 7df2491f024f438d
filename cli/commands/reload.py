"""`algate reload`: the daemon reads its configuration again."""

from __future__ import annotations

from algate.cli.options import DEFAULT_RUN_DIR, Json, RunDir
from algate.cli.output import OutputForm, say, show_object
from algate.client import Client


def reload(as_json: Json = False, run_dir: RunDir = DEFAULT_RUN_DIR) -> None:
    """Read the configuration again and apply it. If anything in it is wrong, nothing changes."""
    outcome = Client(run_dir).reload()
    show_object(outcome, OutputForm.of(as_json))
    say(f"algate: configuration of {run_dir} read again")
