"""What an earlier helper left comes back complete, and what no longer has an owner goes."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any, cast

import pytest

from algate.alg.engine import effects as fx
from algate.alg.engine.engine import Engine
from algate.alg.gateway.addresses import Addresses
from algate.alg.helper import takeover
from algate.alg.helper.executor import Executor
from algate.alg.plugin.model import EndPoint
from algate.bpf import abi, ticks
from tests.fake_tables import Tables

NOW = 5_000_000.0  # s since boot: beyond a wrap
SESSION, OTHER = 1 << 40, 2 << 40
KEY = fx.SessionKey(bytes([10, 0, 0, 2]), 40000, bytes([203, 0, 113, 9]), 21)
PUBLIC = EndPoint(IPv4Address("203.0.113.1"), 50000)
INSIDE = EndPoint(IPv4Address("10.0.0.2"), 50001)
ONE = fx.Expectation(
    5, SESSION, KEY, 1, fx.IN, 6, KEY.remote_ip, PUBLIC, INSIDE, PUBLIC, fx.EXPECT_PENDING, False, NOW + 60
)  # fmt: skip
RANGE = ONE._replace(ports=3, persistent=True, state=fx.EXPECT_OPEN)


class Ports:
    """One public address; remembers what was given back."""

    def __init__(self) -> None:
        self.released: list[tuple[int, EndPoint, EndPoint, int]] = []

    def place(self, _ip: object) -> int:
        return 0

    def release(self, proto: int, public: EndPoint, inside: EndPoint, count: int) -> None:
        self.released.append((proto, public, inside, count))


class Beginner:
    """An engine that starts: it notes what it is given, and decides again what it is told to."""

    def __init__(self, *again: fx.Effect) -> None:
        self.given: dict[int, tuple[Any, Any]] = {}
        self.adopted: list[fx.Expectation] = []
        self.again = list(again)

    def restore(self, info: fx.SessionInfo, held: Any, _now: float, left: Any) -> list[fx.Effect]:
        self.given[info.session] = held, left
        return self.again

    def adopt(self, known: fx.Expectation) -> bool:
        self.adopted.append(known)
        return known.session in self.given


class Bench:
    """An earlier helper's executor on tables, with the control session SESSION in them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tables: Any = Tables(monkeypatch)
        self.ports = Ports()
        key = abi.SessionKey(
            inside_ip=abi.ip_to_be32("10.0.0.2"), remote_ip=abi.ip_to_be32("203.0.113.9"),
            inside_port=abi.be16(40000), remote_port=abi.be16(21), proto=6,
        )  # fmt: skip
        self.key = bytes(key)
        self.tables.sessions.put(key, abi.Session(
            id=SESSION, alg=1, state=abi.SessionState.ESTABLISHED, flags=3, port_index=40000,
            public_ip=abi.ip_to_be32("203.0.113.1"),
        ))  # fmt: skip
        self.tables.tracks.put(key, abi.Track(id=SESSION, line_seq=(7, 0, 8, 0), line_size=(6, 0, 9, 0)))
        self.executor().carry_out([])

    def executor(self) -> Executor:
        made = Executor(self.tables, cast(Any, None), cast(Any, self.ports), lambda frame: True, lambda said: None)
        made.keys[SESSION] = self.key
        made.publics[SESSION] = PUBLIC.ip
        return made

    def left(self, *effects: fx.Effect) -> takeover.LeftBehind:
        """What is read after a helper wrote this."""
        self.executor().carry_out(list(effects))
        return takeover.read(self.tables, NOW, Addresses(self.tables))

    def hand_over(self, left: takeover.LeftBehind, engine: Beginner) -> Executor:
        made = self.executor()
        takeover.hand_over(left, cast(Engine, engine), made, NOW)
        return made


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def close(one: fx.Expectation, other: fx.Expectation) -> bool:
    """The same apart from the rounding of ticks."""
    return (
        one._replace(expires=0) == other._replace(expires=0) and abs(one.expires - other.expires) < 1.01 * ticks.SECONDS
    )


@pytest.mark.parametrize("changes", [
    {}, {"from_port": 20}, {"state": fx.EXPECT_OPEN}, {"persistent": True}, {"from_ip": b""}, {"proto": 17},
    {"expires": NOW - 5}, {"direction": fx.OUT, "inside": None, "reserved": None},
])  # fmt: skip
def test_an_expectation_is_left_with_every_field(bench: Bench, changes: dict[str, Any]) -> None:
    made = ONE._replace(**changes)
    left = bench.left(fx.PutExpectation(made))
    assert close(left.expectations[SESSION][0], made)
    assert (left.ranges, left.ownerless) == ([], [])


@pytest.mark.parametrize("changes", [
    {}, {"expires": NOW - 5}, {"expires": NOW + 2_000_000}, {"from_ip": b""}, {"from_port": 20}, {"persistent": False},
    {"direction": fx.OUT, "inside": None, "reserved": None},
])  # fmt: skip
def test_a_range_is_left_with_every_field(bench: Bench, changes: dict[str, Any]) -> None:
    """Above all one that is past: as an heir it would be written with a time far ahead."""
    made = RANGE._replace(**changes)
    left = bench.left(fx.PutExpectation(made))
    assert close(left.ranges[0], made)
    assert (left.expectations, left.ownerless) == ({}, [])


def test_what_the_engine_is_given(bench: Bench) -> None:
    left = bench.left(
        fx.PutExpectation(ONE), fx.PutExpectation(RANGE._replace(id=6, to=PUBLIC._replace(port=60000))),
        fx.KeepHeld(SESSION, fx.IN, b"x" * 4000), fx.KeepHeld(SESSION, fx.OUT, b"y"),
    )  # fmt: skip
    public = bytes([203, 0, 113, 1])
    assert left.controls == [fx.SessionInfo(SESSION, KEY, public, 40000, 3, 1)]
    engine = Beginner()
    bench.hand_over(left, engine)
    held, expected = engine.given[SESSION]
    assert held == {fx.IN: b"x" * 4000, fx.OUT: b"y"}
    assert [one.id for one in expected] == [5] and [one.id for one in engine.adopted] == [6]
    assert len(bench.tables.expectations) == 2 and bench.ports.released == []


def test_what_nobody_owns_goes(bench: Bench) -> None:
    """Expectations with their ports and held bytes of sessions that are gone; what was used meanwhile."""
    first, second = PUBLIC._replace(port=50008), PUBLIC._replace(port=50009)
    gone = ONE._replace(id=8, session=OTHER, to=first, reserved=first)
    used = ONE._replace(id=9, state=abi.ExpectationState.USED, to=second, reserved=second)
    left = bench.left(
        fx.PutExpectation(gone), fx.PutExpectation(used), fx.KeepHeld(OTHER, fx.IN, b"lost"),
        fx.PutExpectation(RANGE._replace(session=OTHER)),
    )  # fmt: skip
    bench.hand_over(left, Beginner())
    assert (len(bench.tables.expectations), len(bench.tables.held)) == (0, 0)
    assert sorted(public.port for _, public, _, _ in bench.ports.released) == [50008, 50009]


def test_what_was_stored_ends_with_the_next_word(bench: Bench) -> None:
    made = bench.hand_over(bench.left(fx.KeepHeld(SESSION, fx.IN, b"x" * 4000)), Beginner())
    assert len(bench.tables.held) == 3
    made.carry_out([fx.DropHeld(SESSION, fx.IN)])
    assert len(bench.tables.held) == 0


def test_decisions_that_nobody_would_drop_go(bench: Bench) -> None:
    """Those decided again are kept, and those of lines that passed without the helper."""
    again = fx.PutDecision(SESSION, fx.OUT, 100, 10, fx.VERDICT_PASS, 1, None, 0)
    lines = [again._replace(seq=7, size=6), again._replace(direction=fx.IN, seq=8, size=9)]
    left = bench.left(again, *lines, again._replace(seq=90), again._replace(session=OTHER))
    bench.hand_over(left, Beginner(again))
    kept = sorted((key.dir, key.seq) for key, _ in bench.tables.decisions.items())
    assert kept == [(fx.OUT, 7), (fx.OUT, 100), (fx.IN, 8)]


def test_what_is_kept_of_another_generation_is_nobodys(bench: Bench) -> None:
    bench.executor().carry_out([fx.PutAdjust(fx.AdjustRecord(SESSION, (1, 2), (3, 4), ((), ()), 1))])
    bench.executor().carry_out([fx.PutDecision(SESSION, fx.OUT, 100, 10, fx.VERDICT_PASS, 77, None, 0)])
    kept = takeover.Kept(bench.tables, {SESSION: bench.key, OTHER: bench.key})
    adjust, track = kept.adjust(SESSION), kept.track(SESSION)
    assert adjust is not None and adjust.decided == (1, 2) and track is not None
    assert (kept.adjust(OTHER), kept.track(OTHER), kept.adjust(3), kept.track(3)) == (None, None, None, None)
    assert (kept.decided(SESSION, fx.OUT, 100, 10), kept.decided(SESSION, fx.IN, 100, 10)) == ((77, None), None)


def test_data_sessions_are_found_by_their_parent(bench: Bench) -> None:
    key = abi.SessionKey(inside_port=abi.be16(1), proto=6)
    bench.tables.sessions.put(key, abi.Session(id=OTHER, state=abi.SessionState.ESTABLISHED))
    bench.tables.relations.put(OTHER, SESSION)
    assert takeover.read(bench.tables, NOW, Addresses(bench.tables)).data == [(SESSION, OTHER, bytes(key))]


def test_lines_of_another_generation_are_nobodys(bench: Bench) -> None:
    """The streams are still those of the session that had this key before."""
    key = abi.SessionKey.unpack(bench.key)
    bench.tables.tracks.put(key, abi.Track(id=OTHER, line_seq=(7, 0, 0, 0), line_size=(6, 0, 0, 0)))
    left = bench.left(fx.PutDecision(OTHER, fx.OUT, 7, 6, fx.VERDICT_PASS, 1, None, 0))
    bench.hand_over(left, Beginner())
    assert len(bench.tables.decisions) == 0
