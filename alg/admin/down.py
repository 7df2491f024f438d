"""Taking a gateway off its devices, whether or not its daemon is alive.

The law of this file: it undoes what the state file names, and nothing else.
"""

from __future__ import annotations

import sys
from pathlib import Path

from algate.alg.admin import control
from algate.alg.errors import DONE, MISSING
from algate.alg.gateway import namespace
from algate.alg.gateway.datapath import Datapath
from algate.alg.gateway.state import State
from algate.bpf import pins


def down(run_dir: Path, purge: bool) -> int:
    """`algate down`, with a daemon or without one."""
    namespace.require_root("algate down")
    try:
        control.request(run_dir, "down", {"purge": purge})
    except control.ControlError as error:
        if error.exit_code == MISSING:
            raise
    with namespace.claimed(run_dir):
        state = State.load(run_dir)
        with namespace.entered(state.netns):
            Datapath(state, "auto").detach()
        if purge:
            pins.remove(run_dir)
    print(f"algate: down on {run_dir}", file=sys.stderr)
    return DONE
