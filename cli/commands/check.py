"""`algate check`: check a configuration file without a daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from algate.alg.errors import FAILED, USAGE
from algate.alg.rows import ProblemRow
from algate.cli.options import Json, Tsv
from algate.cli.output import OutputForm, say, show_rows


def check(
    config: Annotated[Path, typer.Argument(metavar="FILE", help="Configuration file (TOML).")],
    lan: Annotated[
        list[str] | None, typer.Option("--lan", metavar="IF", help="Inside device, as for `run`; may be repeated.")
    ] = None,
    wan: Annotated[str | None, typer.Option("--wan", metavar="IF", help="Outside device, as for `run`.")] = None,
    host: Annotated[bool, typer.Option("--host/--no-host", help="Check this host's devices and ports too.")] = True,
    as_json: Json = False,
    as_tsv: Tsv = False,
) -> int:
    """Report every error in a configuration at once, and what on this host stands in its way. Changes nothing.

    Exit 0: `algate run` would accept it; 2: the file has errors; 1: the file is right, but the host isn't ready for it.
    If `run` gets --lan and --wan on its command line, give them here too.
    """
    from algate.alg.admin import check as judge

    overrides = {"gateway.lan": lan or None, "gateway.wan": wan}
    voice = OutputForm.of(as_json, as_tsv)
    rows = judge.check(config, overrides, host)
    if rows or voice is not OutputForm.HUMAN:
        show_rows(rows, ProblemRow, voice)
    errors = sum(row.kind == "error" for row in rows)
    if not rows:
        say(f"algate: {config} is right")
    return USAGE if errors else FAILED if rows else 0
