"""`algate kill`: end sessions."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from algate.alg.admin import filters
from algate.alg.errors import FAILED
from algate.alg.rows import SessionRow
from algate.cli import completion
from algate.cli.options import (  # fmt: skip
    DEFAULT_RUN_DIR,
    Age,
    AlgName,
    ForwardedBy,
    Idle,
    Inside,
    Json,
    Outside,
    Proto,
    RelatedTo,
    RunDir,
    State,
    Tsv,
)
from algate.cli.output import OutputForm, say, show_rows
from algate.client import Client


def kill(
    ids: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ID]...",
            help="Session ids; leave out to end sessions by filter.",
            autocompletion=completion.ids,
        ),
    ] = None,
    proto: Proto = None,
    state: State = None,
    inside: Inside = None,
    outside: Outside = None,
    alg: AlgName = None,
    related_to: RelatedTo = None,
    idle: Idle = None,
    age: Age = None,
    forward: ForwardedBy = None,
    reset: Annotated[bool, typer.Option("--reset", help="Send RST to both ends of control sessions.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list them.")] = False,
    as_json: Json = False,
    as_tsv: Tsv = False,
    run_dir: RunDir = DEFAULT_RUN_DIR,
) -> int:
    """End sessions by id or by filter, and list those that ended. Exits with 1 if there were none.

    A control session's expectations end with it; its data connections go on (--related-to ID ends them). The TCP
    connection of an ended session is stuck; UDP and ICMP may start a new session with their next packet.
    """
    values = (proto, state, inside, outside, alg, related_to)
    given: dict[str, Any] = {
        name: value for name, value in zip(filters.NAMES, values, strict=True) if value is not None
    }
    filters.parse(given)
    given |= {name: value for name, value in (("idle", idle), ("age", age), ("forward", forward)) if value is not None}
    voice = OutputForm.of(as_json, as_tsv)
    args = given | {"ids": ids or [], "reset": reset, "dry_run": dry_run}
    rows = [SessionRow.read(one) for one in Client(run_dir).ask("kill", args)]
    show_rows(rows, SessionRow, voice)
    say(f"algate: {len(rows)} session{'' if len(rows) == 1 else 's'} {'would end' if dry_run else 'ended'}")
    return 0 if rows else FAILED
