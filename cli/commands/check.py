"""`algate check`: check a configuration file without a daemon, or a gateway's tables with or without one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from algate.alg.errors import DONE, FAILED, USAGE, AlgateError
from algate.alg.findings import BrokenRow, ProblemRow
from algate.alg.rows import Row
from algate.cli.options import DEFAULT_RUN_DIR, Json, RunDir, Tsv
from algate.cli.output import OutputForm, say, show_rows


def check(
    config: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", readable=False, help="Configuration file (TOML).")
    ] = None,
    lan: Annotated[
        list[str] | None, typer.Option("--lan", metavar="IF", help="Inside device, as for `run`; may be repeated.")
    ] = None,
    wan: Annotated[str | None, typer.Option("--wan", metavar="IF", help="Outside device, as for `run`.")] = None,
    host: Annotated[bool, typer.Option("--host/--no-host", help="Check this host's devices and ports too.")] = True,
    live: Annotated[bool, typer.Option("--live", help="Check the tables of a gateway instead of a file.")] = False,
    both: Annotated[
        bool, typer.Option("--both", help="With --live: check what the two nodes of a pair have against each other.")
    ] = False,
    peer: Annotated[
        Path | None,
        typer.Option("--peer", metavar="DIR", help="With --both: the other node's run directory, on the same host."),
    ] = None,
    pins: Annotated[
        bool, typer.Option("--pins", help="Check whether this version can go on with the state on --run-dir.")
    ] = False,
    as_json: Json = False,
    as_tsv: Tsv = False,
    run_dir: RunDir = DEFAULT_RUN_DIR,
) -> int:
    """Report every error in a configuration at once, and what on this host stands in its way. Changes nothing.

    Exit 0: `algate run` would accept it; 2: the file has errors; 1: the file is right, but the host isn't ready for it.
    If `run` gets --lan and --wan on its command line, give them here too.

    --live: look whether the tables of the gateway on --run-dir agree with each other (sessions, mappings, ports,
    expectations, decisions and all else), and report what is still broken at a second look. Exit 1 if anything is.

    --live --both, on a node of a pair: whether the other node was told what the leading one has (sessions older than
    2 s, rewritten numbers, expectations), and whether any public port has two owners. Both nodes
    are held against the same log, so run it on each; two in namespaces of one host can be looked at at once (--peer).
    Exit 1 if anything doesn't agree.

    --pins: before an upgrade or a way back, whether this version's `run` goes on with the sessions that another one
    left on --run-dir. Exit 1 if it would refuse.
    """
    voice = OutputForm.of(as_json, as_tsv)
    if [config is not None, live, pins].count(True) != 1:
        raise AlgateError("check what? give one configuration file, --live or --pins", USAGE)
    if (both and not live) or (peer is not None and not both):
        raise AlgateError("--both goes with --live, and --peer with --both", USAGE)
    if config is None:
        return _pins(run_dir, voice) if pins else _both(run_dir, peer, voice) if both else _live(run_dir, voice)
    from algate.alg.admin import check as judge

    overrides = {"gateway.lan": lan or None, "gateway.wan": wan}
    rows = judge.check(config, overrides, host)
    _tell(rows, ProblemRow, voice, f"{config} is right")
    errors = sum(row.kind == "error" for row in rows)
    return USAGE if errors else FAILED if rows else 0


def _tell(rows: Sequence[Row], kind: type[Row], voice: OutputForm, well: str) -> None:
    """What was found; for people `well` if that is nothing."""
    if rows or voice is not OutputForm.HUMAN:
        show_rows(rows, kind, voice)
    if not rows:
        say(f"algate: {well}")


def _pins(run_dir: Path, voice: OutputForm) -> int:
    """What another version left."""
    from algate.alg.admin import moving

    found = moving.check_pins(run_dir)
    _tell(found, ProblemRow, voice, "no other version's maps are there")
    return FAILED if any(row.kind == "refused" for row in found) else DONE


def _live(run_dir: Path, voice: OutputForm) -> int:
    """A gateway's tables."""
    from algate.alg.admin import live

    broken = live.check(run_dir)
    _tell(broken, BrokenRow, voice, "the tables agree")
    return FAILED if broken else DONE


def _both(run_dir: Path, peer: Path | None, voice: OutputForm) -> int:
    """What two nodes have."""
    from algate.alg.admin import both

    broken = both.check(run_dir, peer)
    _tell(broken, BrokenRow, voice, "the nodes agree" if peer else "the log agrees with this node's tables")
    return FAILED if broken else DONE
