"""Two nodes that agree, and each way in which they may not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from algate.alg.engine import effects as fx
from algate.alg.gateway import records
from algate.alg.gateway.estate import TRAVELS
from algate.alg.ha.agreement import LogsTold, NodeTables, judge
from algate.alg.ha.bulk import KEY
from algate.alg.ha.entries import Authorship
from algate.alg.ha.standby import KeptState
from algate.bpf import abi
from algate.bpf.packing import native
from tests.unit.ha.test_leading import session

NOW = 100_000_000_000
OLD, YOUNG = NOW - 10_000_000_000, NOW - 500_000_000
WHO = Authorship("a", "layout", "boot", 0, 0.0)
OWNER = abi.PortKind.MAPPING << 48 | 1


class Scene:
    """A leading node with an idle session and a control session, a log that knows both, and a node that stands by."""

    def __init__(self) -> None:
        self.leads: dict[str, dict[bytes, bytes]] = {name: {} for name in TRAVELS}
        self.stands_by: dict[str, dict[bytes, bytes]] = {name: {} for name in TRAVELS}
        self.told = LogsTold(KeptState(WHO), KeptState(WHO))
        self.idle, self.control = OLD, OLD + 256
        self.add(self.idle, self.told.bulk)
        self.add(self.control, self.told.control, alg=1)
        key = session(self.idle)[0]
        self.stands_by["sessions"][key] = self.leads["sessions"][key]
        slot = bytes(abi.PortSlot(owner=OWNER, sessions=1))
        for table in (self.leads["ports"], self.stands_by["ports"]):
            table[native(7, 4)] = slot
        self.told.bulk.ports[7] = slot
        self.delta(self.leads["adjusts"], 40)
        self.told.control.adjusts[self.control] = self.leads["adjusts"][session(self.control)[0]]

    def add(self, number: int, kept: KeptState | None, alg: int = 0) -> None:
        key, raw = session(number)
        value = abi.Session.unpack(raw)
        value.alg = alg
        self.leads["sessions"][key] = bytes(value)
        if kept is not None:
            kept.sessions[number] = key + bytes(value)

    def delta(self, table: dict[bytes, bytes], by: int) -> None:
        record = fx.AdjustRecord(self.control, (1, 2), (by, 0), ((), ()), 0, 0, 0)
        table[session(self.control)[0]] = records.pack_adjust(record)

    def rules(self) -> set[str]:
        return {one.rule for one in judge(self.told, NodeTables(self.leads, NOW), NodeTables(self.stands_by, NOW))}


def expected(scene: Scene) -> None:
    key = bytes(abi.ExpectationKey(proto=6))
    value = abi.Expectation(id=9, control_id=scene.control, state=abi.ExpectationState.OPEN)
    scene.leads["expectations"][key] = bytes(value)


def other_owner(scene: Scene) -> None:
    scene.stands_by["ports"][native(7, 4)] = bytes(abi.PortSlot(owner=OWNER + 1, sessions=1))


FAULTS: dict[str, tuple[Callable[[Scene], Any], set[str]]] = {
    "none": (lambda scene: None, set()),
    "young": (lambda scene: scene.add(YOUNG, None), set()),
    "untold": (lambda scene: scene.add(OLD + 512, None), {"untold"}),
    "untold control session": (lambda scene: scene.add(NOW - 1_500_000_000, None, alg=1), {"untold"}),
    "over": (lambda scene: scene.leads["sessions"].pop(session(scene.idle)[0]), {"over"}),
    "another delta": (lambda scene: scene.delta(scene.leads["adjusts"], 41), {"delta"}),
    "no delta": (lambda scene: scene.told.control.adjusts.clear(), {"delta"}),
    "untold expectation": (expected, {"expectation"}),
    "not entered": (lambda scene: scene.stands_by["sessions"].clear(), {"not-entered"}),
    "stray": (lambda scene: scene.stands_by["sessions"].update([session(OLD + 768)]), {"stray"}),
    "two owners": (other_owner, {"two-owners"}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_and_nothing_else(fault: str) -> None:
    scene = Scene()
    plant, rules = FAULTS[fault]
    plant(scene)
    assert scene.rules() == rules
    assert len(session(OLD)[0]) == KEY


def test_a_data_connection_that_is_over_may_stay_in_the_control_log() -> None:
    scene = Scene()
    number = OLD + 1024
    key, raw = session(number)
    scene.told.control.sessions[number] = key + raw
    assert scene.rules() == {"over"}
    scene.told.control.parents[number] = scene.control
    assert scene.rules() == set()
