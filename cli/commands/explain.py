"""`algate explain`: why a transfer hangs or was refused."""

from __future__ import annotations

from typing import Annotated

import typer

from algate.alg.errors import DONE, FAILED
from algate.cli import completion
from algate.cli.options import DEFAULT_RUN_DIR, Json, RunDir
from algate.cli.output import OutputForm, show_lines, show_object
from algate.client import Client


def explain(
    subject: Annotated[
        list[str],
        typer.Argument(
            metavar="ID | IP | [tcp|udp] IP:PORT [IP:PORT]",
            help="A session id, a host, one end point, or both.",
            autocompletion=completion.subjects,
        ),
    ],
    as_json: Json = False,
    run_dir: RunDir = DEFAULT_RUN_DIR,
) -> int:
    """Say in plain words what a control session or a connection is waiting for, or why it was refused.

    Of a host, the verdict on each of its sessions, the worst first. Looks at the gateway's state, its counters and the
    control session's latest events, even if that has ended. Exits with 1 if nothing is known.
    """
    answer = Client(run_dir).explain(*subject)
    code = FAILED if answer["verdict"] == "unknown" else DONE
    if as_json:
        show_object(answer, OutputForm.JSON)
        return code
    from algate.cli import view

    show_lines(view.explanation(answer))
    return code
