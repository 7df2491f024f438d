"""`algate explain`: why a transfer hangs or was refused."""

from __future__ import annotations

from typing import Annotated

import typer

from algate.cli import completion
from algate.cli.options import DEFAULT_RUN_DIR, Json, RunDir
from algate.cli.output import OutputForm, show_lines, show_object
from algate.client import Client


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
    answer = Client(run_dir).explain(*subject)
    if as_json:
        show_object(answer, OutputForm.JSON)
        return
    from algate.cli import view

    show_lines(view.explanation(answer))
