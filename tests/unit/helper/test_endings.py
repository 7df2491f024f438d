"""How control sessions are seen to end, on tables without a kernel."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from algate.alg.helper import endings
from algate.alg.helper.endings import Endings
from algate.bpf import abi, ticks
from algate.bpf.abi import SessionState
from tests.fake_tables import Tables

pytestmark = pytest.mark.unit

ONE, TWO = 1 << 20, 2 << 20


class Scene:
    """Endings over fake tables, and what they told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tables = Tables(monkeypatch)
        self.tables.configs = {0: SimpleNamespace(timeouts=[ticks.lasting(60)] * abi.TIMEOUT_COUNT)}  # type: ignore[attr-defined]
        self.told: list[tuple[str, int]] = []
        self.asked: list[bytes] = []
        made: Any = self.tables
        over, gone = (lambda number, word=word: self.told.append((word, number)) for word in ("over", "gone"))
        self.endings = Endings(made, self, over, gone)  # type: ignore[arg-type]
        self.watched: dict[int, bytes] = {}

    def keys(self, op: abi.ControlOp, keys: list[bytes]) -> int:
        """The control program: it finds them over."""
        assert op == abi.ControlOp.SWEEP
        self.asked += keys
        for key in keys:
            self.tables.sessions.delete(abi.SessionKey.unpack(key))
        return len(keys)

    def session(self, number: int, state: SessionState, idle: float = 1.0, alg: int = 1) -> None:
        key = abi.SessionKey(inside_port=number >> 20, proto=6)
        seen = (ticks.now() - ticks.lasting(idle)) % ticks.WRAP
        self.tables.sessions.put(key, abi.Session(id=number, state=int(state), alg=alg, last_seen=seen))
        self.watched[number] = bytes(key)

    def look(self) -> list[tuple[str, int]]:
        self.told.clear()
        for _ in self.endings.look(self.watched):
            pass
        return self.told


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (SessionState.ESTABLISHED, []),
        (SessionState.FIN_OUT, []),
        (SessionState.CLOSING, [("over", ONE)]),
        (SessionState.TIME_WAIT, [("over", ONE)]),
        (SessionState.RESET, [("over", ONE)]),
        (SessionState.DEAD, [("gone", ONE)]),
    ],
)
def test_states(scene: Scene, state: SessionState, told: list[tuple[str, int]]) -> None:
    scene.session(ONE, state)
    assert scene.look() == told
    assert scene.asked == []


def test_an_idle_one_is_put_before_the_kernel(scene: Scene) -> None:
    scene.session(ONE, SessionState.ESTABLISHED, idle=61)
    scene.session(TWO, SessionState.ESTABLISHED, idle=59)
    assert scene.look() == [("gone", ONE)]
    assert scene.asked == [scene.watched[ONE]]


def test_another_session_on_its_key(scene: Scene) -> None:
    scene.session(ONE, SessionState.ESTABLISHED)
    scene.watched[TWO] = scene.watched[ONE]
    assert scene.look() == [("gone", TWO)]


def test_one_that_was_left_to_the_kernel(scene: Scene) -> None:
    scene.session(ONE, SessionState.ESTABLISHED, alg=0)
    assert scene.look() == [("gone", ONE)]


def test_decisions_that_nobody_minds_go_at_the_second_look(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "REAP_PART", 0)  # on a loaded machine a look may take long
    scene.session(ONE, SessionState.ESTABLISHED)
    for number in (ONE, TWO):
        key = abi.DecisionKey(id=number, seq=1, size=2)
        scene.tables.decisions.put(key, abi.Decision(verdict=1))
        scene.tables.replacements.put(key, abi.Replacement())
    scene.look()
    assert len(scene.tables.decisions) == 2, "a session may be too new to be known"
    scene.look()
    assert [key.id for key, _ in scene.tables.decisions.items()] == [ONE]
    assert [key.id for key, _ in scene.tables.replacements.items()] == [ONE]


@pytest.mark.parametrize(("cheap", "part", "left"), [(0.0, 1e9, 1), (1e9, 1e9, 0), (0.0, 0.0, 0)])
def test_looks_at_many_decisions_are_rare(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, cheap: float, part: float, left: int
) -> None:
    """Each costs by how many there are, and thousands of sessions that are over leave them; what is cheap goes on."""
    monkeypatch.setattr(endings, "REAP_CHEAP", cheap)
    monkeypatch.setattr(endings, "REAP_PART", part)
    scene.tables.decisions.put(abi.DecisionKey(id=TWO, seq=1, size=2), abi.Decision(verdict=1))
    scene.look()
    scene.look()
    assert len(scene.tables.decisions) == left


def test_a_replacement_whose_writer_was_killed_goes_at_the_first_look(scene: Scene) -> None:
    """Before its decision was written; later ones are the helper's own business."""
    scene.session(ONE, SessionState.ESTABLISHED)
    whole, half = (abi.DecisionKey(id=ONE, seq=seq, size=2) for seq in (1, 9))
    scene.tables.decisions.put(whole, abi.Decision(verdict=abi.Verdict.REPLACE))
    for key in (whole, half):
        scene.tables.replacements.put(key, abi.Replacement())
    scene.look()
    assert [key.seq for key, _ in scene.tables.replacements.items()] == [1]
    scene.tables.replacements.put(half, abi.Replacement())
    scene.look()
    assert len(scene.tables.replacements) == 2


def test_one_that_is_over_rests_until_its_timeout_or_until_it_is_heard_of(scene: Scene) -> None:
    """A gateway keeps thousands of these for minutes: each look at all of them took a seventh of the helper's time."""
    scene.session(ONE, SessionState.TIME_WAIT)
    assert scene.look() == [("over", ONE)]
    assert scene.look() == []
    scene.endings.stir(ONE)
    assert scene.look() == [("over", ONE)]
    scene.tables.sessions.delete(abi.SessionKey.unpack(scene.watched[ONE]))
    assert scene.look() == []
    scene.endings.stir(ONE)
    assert scene.look() == [("gone", ONE)]


def test_one_that_rests_is_looked_at_when_its_timeout_is_reached(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.session(ONE, SessionState.TIME_WAIT, idle=58)
    scene.session(TWO, SessionState.TIME_WAIT, idle=1)
    scene.look()
    later = time.monotonic() + 5
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert scene.look() == [("over", ONE)]
    later += endings.REST
    assert scene.look() == [("over", ONE), ("over", TWO)]
