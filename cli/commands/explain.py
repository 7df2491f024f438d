"""`algate explain`: why a transfer hangs or was refused."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from algate.alg.admin import control
from algate.cli import completion
from algate.cli.options import DEFAULT_RUN_DIR, Json, RunDir
from algate.cli.output import show_lines


def explain(
    subject: Annotated[
        list[str],
        typer.Argument(
            metavar="ID | [tcp|udp] IP:PORT [IP:PORT]",
            help="A session id, one end point, or both.",
            autocompletion=completion.subjects,
        ),
    ],
    as_json: Json = False,
    run_dir: RunDir = DEFAULT_RUN_DIR,
) -> None:
    """Say in plain words what a control session or a connection is waiting for, or why it was refused.

    Looks at the gateway's state, its counters and the control session's latest events, even if that has ended.
    """
    answer = control.request(run_dir, "explain", {"subject": subject})
    if as_json:
        sys.stdout.write(json.dumps(answer, indent=1) + "\n")
        return
    from algate.cli import view

    show_lines(view.explanation(answer))
