"""How a running gateway stands, for the metrics: what runs, since when, and how full everything is.

The law of this file: it joins what daemon, helper and kernel know, and is asked in the listener's thread: it reads
single values, or copies of what the loop changes.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping
from typing import NamedTuple

from algate.alg.audit.fills import Fill, Reloaded, Standing
from algate.alg.audit.transfers import MOST
from algate.alg.gateway import fullness
from algate.alg.helper.helper import Helper
from algate.alg.version import VERSION
from algate.bpf import abi, ticks
from algate.bpf.loader import Gateway


class ServiceFacts(NamedTuple):
    """What the service says of itself. `top_hosts`: how many hosts have series of their own."""

    started: float
    state: Callable[[], str]
    reloaded: Callable[[], Reloaded]
    top_hosts: Callable[[], int]


def standing(facts: ServiceFacts, gateway: Gateway, helper: Helper, blocks: Callable[[], Fill | None]) -> Standing:
    """For Metrics. `blocks`: how many port blocks are held, None where there are none."""
    return Standing(
        lambda: translates(facts.state()), build(), facts.started, facts.reloaded,
        lambda: _fills(gateway, helper, blocks()),
        lambda: fullness.ports(gateway), lambda: fullness.busiest(gateway, facts.top_hosts()),
    )  # fmt: skip


def translates(state: str) -> bool:
    """Whether a gateway that is in this state, as `status` says it, translates: it may, with something amiss."""
    return state.startswith("translating")


def build() -> Mapping[str, str]:
    """What runs here. `layout`: of the kernel's tables; versions with the same one take over from each other."""
    return {
        "version": VERSION, "layout": abi.layout_hash(), "kernel": os.uname().release,
        "python": platform.python_version(),
    }  # fmt: skip


def alive(gateway: Gateway) -> tuple[bool, str]:
    """Whether the helper's loop gives its signs of life, by the kernel's own measure, and what to say of it."""
    silent = (ticks.count() - gateway.heartbeat[0]) * ticks.SECONDS
    if silent <= gateway.configs[0].helper_timeout * ticks.SECONDS:
        return True, "alive"
    return False, f"no sign of life of the helper for {silent:.1f} s"


def _fills(gateway: Gateway, helper: Helper, blocks: Fill | None) -> dict[str, Fill]:
    tracks, expected = gateway.tracks.info.max_entries, gateway.expectations.info.max_entries
    found = fullness.fills(gateway) | ({"algate_port_blocks": blocks} if blocks else {})
    return found | {
        "algate_control_sessions": Fill(len(helper.engine.sessions()), tracks),
        "algate_live_expectations": Fill(helper.engine.expected(), expected),
        "algate_watched_transfers": Fill(len(helper.transfers), MOST),
    }
