"""How a gateway of two stands with the other one: for `status`, the metrics, and a standby's own page of them.

The law of this file: it tells what leader and followers know, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from algate.alg.answers import HaAnswer
from algate.alg.audit.metrics import Metrics
from algate.alg.audit.pair import PairFamilies
from algate.alg.config.load import Config
from algate.alg.config.sections import Ha
from algate.alg.ha.counts import REASONS
from algate.alg.ha.following import LogFollower
from algate.alg.ha.leading import Leader
from algate.alg.plugin.model import EndPoint


def standing(ha: Ha, leader: Leader | None, followers: Sequence[LogFollower], loaded: bool, lease: float) -> HaAnswer:
    """For `algate ha status`. `leader`: None on a node that stands by; `loaded`: whether its programs are;
    `lease`: s that are left of it."""
    told: HaAnswer = {
        "node": ha.node, "role": "stands by", "state": "in step", "epoch": None, "sessions": 0, "commit_ms": None,
        "lag_ms": None, "waiting": 0, "lease": lease, "fenced": True, "resyncs": 0,
        "failures": dict.fromkeys(REASONS, 0), "engine": shown(ha.engine), "peer": shown(ha.peer),
        "witness": shown(ha.witness), "when_alone": ha.when_alone, "problem": "",
    }  # fmt: skip
    if leader is not None:
        counts = leader.counts
        told["role"], told["state"], told["problem"] = "leads", leader.state, leader.problem
        told["fenced"] = leader.fenced or not lease
        told["epoch"] = leader.epoch.number if leader.epoch is not None else None
        told["sessions"], told["commit_ms"] = leader.told, round(leader.lag * 1e3, 3)
        told["lag_ms"] = None if counts.lag is None else round(counts.lag * 1e3, 3)
        told["waiting"], told["resyncs"] = leader.waiting, counts.resyncs
        told["failures"] |= counts.failures
        return told
    kept = [one.kept for one in followers]
    told["problem"] = next((one.problem for one in followers if one.problem), "")
    if not loaded:
        told["state"] = "loading the programs"
    elif not kept or not all(kept) or told["problem"]:
        told["state"] = "the other node hasn't told everything"
    if followers:
        told["epoch"] = followers[0].position.epoch
    most = max((one.sessions for one in kept if one is not None), key=len, default={})
    fewer = [one.sessions for one in kept if one is not None and one.sessions is not most]
    told["sessions"] = len(most) + sum(number not in most for one in fewer for number in one)  # some are in both
    return told


def shown(point: EndPoint | None) -> str:
    """An engine's place."""
    return "" if point is None else str(point)


def page(config: Config, families: PairFamilies, health: Callable[[], tuple[bool, str]]) -> Metrics:
    """The metrics of a node that stands by: how the pair stands, and that nothing is translated here."""
    made = Metrics(None, health)
    made.registry.register(families)
    made.listen(config.metrics.listen, config.metrics.names)
    return made
