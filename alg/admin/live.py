"""`algate check --live`: whether a gateway's tables still agree with each other.

The law of this file: when to look, and what persists. What must hold is in gateway/invariants.py. It changes nothing,
and needs no daemon; with one it asks what the helper has in mind.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from algate.alg.admin import control
from algate.alg.findings import BrokenRow
from algate.alg.gateway import namespace, reading
from algate.alg.gateway.invariants import judge
from algate.alg.gateway.picture import Broken
from algate.alg.helper.helper import Helper
from algate.alg.helper.ports import KernelPorts
from algate.alg.rows import format_id
from algate.bpf import abi, pins
from algate.bpf.errors import AlgateError
from algate.bpf.pinned import Pinned
from algate.bpf.requests import port_row

PAUSE = 1.25  # s: what a control session held is given back within a second of its end


def check(run_dir: Path, pause: float = PAUSE) -> list[BrokenRow]:
    """Everything broken in the tables of this run directory's gateway. AlgateError if it has none of this version."""
    namespace.require_root("algate check --live")
    folder = pins.folder(run_dir) / abi.layout_hash()
    if not folder.is_dir():
        raise AlgateError(f"no tables of this version's are pinned for {run_dir}: is a gateway running there?")
    with Pinned(folder) as maps:
        broken = persistent(lambda: judge(reading.read(maps, lambda: _ask(run_dir))), pause)
    return [BrokenRow(*one) for one in broken]


def persistent(look: Callable[[], list[Broken]], pause: float) -> list[Broken]:
    """What is there at a first look and still there at a second one: the gateway is at work between the two."""
    first = look()
    if not first:
        return []
    time.sleep(pause)
    known = {(one.rule, one.about) for one in first}
    return [one for one in look() if (one.rule, one.about) in known]


def _ask(run_dir: Path) -> reading.Asked | None:
    """What the helper has in mind; None without one."""
    try:
        said = control.request(run_dir, "helper-state")
    except control.ControlError:
        return None
    return set(said["ports"]), {int(one, 16) for one in said["sessions"]}


def helper_state(helper: Helper, ports: KernelPorts) -> dict[str, Any]:
    """What the helper has in mind: rows of `ports` that it has reserved, and ids of control sessions."""
    rows, sessions = [], helper.sessions()  # these first: what it hasn't read yet may end reservations
    for one in helper.engine.reservations():
        place = None if one.shared else ports.place(one.public.ip)
        rows += [port_row(place, one.proto, one.public.port + step) for step in range(one.ports) if place is not None]
    return {"ports": rows, "sessions": [format_id(number) for number in sessions]}
