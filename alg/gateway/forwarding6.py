"""The host's switches for forwarding IPv6, which are not each device's own as IPv4's are.

The law of this file: what a switch was before is in the state ahead of the change; `down` puts it back.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from algate.alg.errors import MISSING, AlgateError
from algate.alg.gateway.netlink import Device
from algate.alg.gateway.prefixes import SWITCHES, switch
from algate.alg.gateway.state import State


def switch_on(state: State, wan: Device) -> None:
    """Have the host forward IPv6, which it does for all devices or none. A WAN that learned its default route from a
    router goes on learning (accept_ra 2), or the route would go with the switch."""
    if switch("all", "forwarding") in (None, "1"):
        return
    if switch(wan.name, "accept_ra") == "1":
        _write(state, SWITCHES / wan.name / "accept_ra", "1", "2")
    _write(state, SWITCHES / "all" / "forwarding", "0", "1")


def put_back(state: State) -> None:
    """What the switches were before, forwarding first."""
    for path, former in reversed(state.switches.items()):
        with contextlib.suppress(OSError):  # a device that is gone has none
            Path(path).write_text(former)
    state.switches.clear()


def _write(state: State, path: Path, former: str, value: str) -> None:
    state.switches.setdefault(str(path), former)
    state.save()
    try:
        path.write_text(value)
    except OSError as error:
        raise AlgateError(f"can't write {path}: {error.strerror}", MISSING) from None
