"""`algate reload`: the daemon reads its configuration again."""

from __future__ import annotations

from typing import Annotated

import typer

from algate.alg.answers import ReloadAnswer
from algate.alg.errors import USAGE, AlgateError
from algate.cli.options import DEFAULT_RUN_DIR, Json, RunDir
from algate.cli.output import OutputForm, say, show_lines, show_object
from algate.client import Client


def reload(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change, key by key.")] = False,
    seconds: Annotated[
        float | None,
        typer.Option("--for", metavar="SECONDS", min=1, help="Undo it after that time unless it is confirmed."),
    ] = None,
    confirm: Annotated[bool, typer.Option("--confirm", help="Keep what `--for` applied.")] = False,
    as_json: Json = False,
    run_dir: RunDir = DEFAULT_RUN_DIR,
) -> None:
    """Read the configuration again and apply it, and say what changed. If anything in it is wrong, nothing changes.

    --for is for changes that may lock you out: the daemon undoes them by itself, whatever becomes of this command. The
    file stays as it is. `algate status` says what is unconfirmed and for how long, the log that it was undone.
    """
    if [dry_run, seconds is not None, confirm].count(True) > 1:
        raise AlgateError("--dry-run, --for and --confirm exclude each other", USAGE)
    answer = Client(run_dir).reload(dry_run=dry_run, seconds=seconds, confirm=confirm)
    if as_json:
        show_object(answer, OutputForm.JSON)
    else:
        from algate.cli import objects

        show_lines(objects.changes(answer["changes"]))
    say(f"algate: {_told(answer, confirm, run_dir)}")


def _told(answer: ReloadAnswer, confirm: bool, run_dir: object) -> str:
    what = f"configuration of {run_dir}"
    nothing = "" if answer["changed"] else ": nothing is different"
    if answer["dry_run"]:
        return f"this would change in the {what}; nothing was touched" if not nothing else what + nothing
    if confirm:
        return f"{what} confirmed"
    if (waiting := answer["unconfirmed"]) is not None:
        return f"{what} read again{nothing}; undone in {waiting['left']:.0f} s unless you `algate reload --confirm`"
    return f"{what} read again{nothing}"
