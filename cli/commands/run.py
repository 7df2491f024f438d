"""`algate run`: the daemon, in the foreground."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from algate.cli import completion
from algate.cli.options import DEFAULT_RUN_DIR, RunDir
from algate.cli.text import printable


class HarmlessFormatter(logging.Formatter):
    """Log lines that can't affect a terminal, whatever a peer sent."""

    def format(self, record: logging.LogRecord) -> str:
        """The record, line by line, with anything unprintable escaped."""
        return "\n".join(printable(line) for line in super().format(record).split("\n"))


def log_to_stderr(verbose: bool) -> None:
    """Set up the daemon's log on stderr; stdout is for `ready` only."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(HarmlessFormatter("%(asctime)s %(levelname)s %(message)s"))
    logging.raiseExceptions = False  # a full disk behind stderr is no reason for a traceback
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler], force=True)


def run(
    lan: Annotated[
        list[str] | None, typer.Option("--lan", metavar="IF", help="Inside device; may be repeated.")
    ] = None,
    wan: Annotated[str | None, typer.Option("--wan", metavar="IF", help="Outside device.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", readable=False, help="Configuration file (TOML).")
    ] = None,
    datapath: Annotated[
        str | None,
        typer.Option(
            "--datapath",
            metavar="WHICH",
            help="auto, tc, xdp or xdp-generic.",
            autocompletion=completion.datapaths,
        ),
    ] = None,
    wait: Annotated[
        float | None,
        typer.Option("--wait", metavar="SECONDS", min=0, help="How long to wait for the WAN's address; 0: don't wait."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take over from the daemon that serves there once all is loaded.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
    run_dir: RunDir = DEFAULT_RUN_DIR,
) -> int:
    """Translate between the inside devices and the outside one until stopped. Prints `ready` once traffic passes.

    SIGTERM only stops the helper: established sessions go on in the kernel, and the next `run` takes over.
    `algate down` detaches everything.
    """
    from algate.alg.admin import run as daemon
    from algate.alg.config import load as configuration
    from algate.alg.plugin import policy, registry

    overrides = {"gateway.lan": lan or None, "gateway.wan": wan, "gateway.datapath": datapath}
    loaded = configuration.load(config, overrides, policy.kinds(registry.discover()))
    log_to_stderr(verbose)
    return daemon.run(loaded, run_dir, wait, replace)
