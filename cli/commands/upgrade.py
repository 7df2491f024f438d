"""`algate upgrade`: the running daemon starts what is installed now, which takes its place."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from algate.alg.errors import AlgateError
from algate.cli.options import DEFAULT_RUN_DIR, Json, RunDir
from algate.cli.output import OutputForm, say, show_object
from algate.client import Client

PREPARING = 310.0  # s; the daemon gives up before
SERVING = 60.0
LOOK = 0.05


def upgrade(as_json: Json = False, run_dir: RunDir = DEFAULT_RUN_DIR) -> None:
    """Replace the running daemon by the version that is installed now, without a pause that anybody notices.

    The new daemon compiles and loads while the old one serves. If it can't, the old one serves on, and this says why.
    """
    pid = Client(run_dir, PREPARING).ask("upgrade")["pid"]
    told = _serving(run_dir, pid)
    show = {"pid": pid, "pause": told["pause"]}
    if as_json:
        show_object(show, OutputForm.of(as_json))
    say(f"algate: pid {pid} serves on {run_dir}; no helper for {1e3 * told['pause']:.0f} ms")


def _serving(run_dir: Path, pid: int) -> dict[str, Any]:
    """What the new daemon says once it serves."""
    end = time.monotonic() + SERVING
    while time.monotonic() < end and Path(f"/proc/{pid}").exists():
        try:
            told: dict[str, Any] = Client(run_dir).ask("handover")
        except AlgateError:
            told = {}
        if told.get("pid") == pid and told["pause"] is not None:
            return told
        time.sleep(LOOK)
    raise AlgateError(f"pid {pid} had taken over and doesn't serve: see the daemon's log")
