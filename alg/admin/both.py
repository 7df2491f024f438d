"""`algate check --live --both`: whether the two nodes of a pair agree.

The law of this file: how each is read. The log at the engine beside the node that stands by is what both are held
against: what the one that leads told it, and what the other one was told. So each node looks into its own tables alone,
and whoever runs it on both has compared them; two nodes on one host are read at once. It changes nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from algate.alg.admin import control
from algate.alg.admin.live import PAUSE, persistent
from algate.alg.config import load as configuration
from algate.alg.config.sections import Ha
from algate.alg.errors import AlgateError
from algate.alg.findings import BrokenRow
from algate.alg.gateway import estate, namespace
from algate.alg.gateway.picture import Broken
from algate.alg.ha.agreement import LogsTold, NodeTables, judge
from algate.alg.ha.credentials import where
from algate.alg.ha.entries import unpack
from algate.alg.ha.redis import RedisLog
from algate.alg.ha.resp import StoreAddress
from algate.alg.ha.standby import KeptState, Standby
from algate.alg.ha.store import START
from algate.alg.plugin import policy, registry
from algate.bpf import abi, description, pins
from algate.bpf.pinned import Pinned

TRIES = 3  # a log may be begun anew while it is read
SECONDS = 5.0


def check(run_dir: Path, peer: Path | None, pause: float = PAUSE) -> list[BrokenRow]:
    """Everything that doesn't agree. `peer`: the other node's run directory, if it is on this host. AlgateError if this
    node is no pair's, or can't be asked."""
    namespace.require_root("algate check --live --both")
    status = control.request(run_dir, "status")
    told = status.get("ha")
    if not isinstance(told, dict):
        raise AlgateError("there is no second gateway: [ha] node isn't set")
    file = Path(status["config"]) if status.get("config") else None
    ha = configuration.load(file, {}, policy.kinds(registry.discover())).ha
    if peer is not None and control.request(peer, "status").get("ha", {}).get("role") == told["role"]:
        raise AlgateError(f"both nodes say that they {'lead' if told['role'] == 'leads' else 'stand by'}")
    broken = persistent(lambda: look(run_dir, told["role"] == "leads", ha, peer), pause)
    return [BrokenRow(*one) for one in broken]


def look(run_dir: Path, leads: bool, ha: Ha, peer: Path | None) -> list[Broken]:
    """One look. The leading node's tables first: what it has by now is told by the time the log is read."""
    if leads:
        mine = tables(run_dir)
        return judge(read(where(ha, ha.peer)), mine, tables(peer) if peer is not None else None)
    theirs = tables(peer) if peer is not None else None
    return judge(read(where(ha, ha.engine)), theirs, tables(run_dir))


def tables(run_dir: Path) -> NodeTables:
    """This node's."""
    folder = pins.folder(run_dir) / abi.layout_hash()
    if not folder.is_dir():
        raise AlgateError(f"no tables of this version's are pinned for {run_dir}: is a gateway running there?")
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    with Pinned(folder) as maps:
        return NodeTables(estate.take(description.own(), maps.items).maps, now)


def read(engine: StoreAddress) -> LogsTold:
    """What the logs at an engine say. AlgateError if they were never told whole."""
    found = {}
    for name in ("control", "bulk"):
        found[name] = _whole(lambda name=name: asyncio.run(_log(engine, name)))  # type: ignore[misc]
    return LogsTold(found["control"], found["bulk"])


def _whole(ask: Callable[[], KeptState | None]) -> KeptState:
    for _ in range(TRIES):
        kept = ask()
        if kept is not None:
            return kept
    raise AlgateError("the other node hasn't told everything: see `algate ha status`")


async def _log(engine: StoreAddress, name: str) -> KeptState | None:
    log, standby, position = RedisLog(engine, name, SECONDS), Standby(), START
    try:
        while records := await log.tail(position):
            for one in records:
                position = one.position
                standby.take(unpack(one.data))
    finally:
        await log.close()
    return standby.kept
