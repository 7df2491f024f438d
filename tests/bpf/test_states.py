"""The states of a session against a model written from RFC 6146 section 3.5.2 and RFC 7857 section 2."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from algate.bpf import abi
from algate.bpf.abi import SessionState as State
from algate.bpf.abi import TimeoutKind as Kind
from algate.bpf.requests import ControlProgram
from tests import packets
from tests.bpf.flows import FLOW, answer, open_session
from tests.bpf.rig import REDIRECT, SECOND, SHOT, TCP, UDP, Rig, ticks

OUT, IN = abi.Direction.OUT, abi.Direction.IN
SEGMENTS = ["S", "SA", "A", "PA", "FA", "R", "RA"]
TIMEOUTS = {
    State.NEW: Kind.TCP_OPENING,
    State.ESTABLISHED: Kind.TCP_ESTABLISHED,
    State.FIN_IN: Kind.TCP_ESTABLISHED,
    State.FIN_OUT: Kind.TCP_ESTABLISHED,
    State.CLOSING: Kind.TCP_CLOSING,
    State.TIME_WAIT: Kind.TCP_CLOSING,
    State.RESET: Kind.TCP_RESET,
}
STEP = st.tuples(st.sampled_from([OUT, IN]), st.sampled_from(SEGMENTS))


ISN = {OUT: 5_000_000, IN: 3_000_000_000}


@dataclass
class Model:
    """One TCP session that a SYN from inside began, whose ends send all in order and acknowledge all that came.

    `at`: the number that each end sends next.
    """

    state: State = State.NEW
    syns: set[abi.Direction] = field(default_factory=lambda: {OUT})
    fins: set[abi.Direction] = field(default_factory=set)
    acked: set[abi.Direction] = field(default_factory=set)
    generation: int = 0
    at: dict[abi.Direction, int] = field(default_factory=lambda: {OUT: ISN[OUT] + 1, IN: ISN[IN]})

    def segment(self, side: abi.Direction, flags: str) -> tuple[int, int] | None:
        """The numbers of what this end sends; None if an end that has no connection couldn't send it."""
        other = abi.Direction(1 - side)
        if "S" in flags:
            return self._syn(side, other, flags)
        if "R" in flags:
            return self._rst(side, other, flags)
        if self.syns != {OUT, IN}:
            return None
        if self.state in (State.NEW, State.RESET):  # what revives keeps which ends had closed
            one = State.FIN_OUT if OUT in self.fins else State.FIN_IN
            self.state = (State.ESTABLISHED, one, State.CLOSING)[len(self.fins)]
        repeated = "F" in flags and side in self.fins
        numbers = self.at[side] - repeated, self.at[other]
        if other in self.fins:
            self.acked.add(other)
        if "F" in flags and side not in self.acked:
            self.fins.add(side)
            self.at[side] += not repeated
            self._fin(State.FIN_OUT if side == OUT else State.FIN_IN)
        if self.state == State.CLOSING and self.acked == {OUT, IN}:
            self.state = State.TIME_WAIT
        return numbers

    def _syn(self, side: abi.Direction, other: abi.Direction, flags: str) -> tuple[int, int]:
        numbers = self.at[side] - (side in self.syns), self.at[other]
        reopens = self.state in (State.TIME_WAIT, State.RESET) or (self.state == State.CLOSING and side == OUT)
        if flags == "S" and reopens:
            numbers = (self.at[side] + 70_000, 0)
            self.state, self.syns, self.fins, self.acked = State.NEW, {side}, set(), set()
            self.at[side] = numbers[0] + 1
            self.generation += 1
        elif self.state == State.NEW and (flags == "S" or other in self.syns):
            self.at[side] += side not in self.syns
            self.syns.add(side)
            if flags == "SA":
                self.state = State.ESTABLISHED
        return numbers

    def _rst(self, side: abi.Direction, other: abi.Direction, flags: str) -> tuple[int, int]:
        believed = "A" in flags if self.state == State.NEW and self.syns == {other} else True
        if self.state != State.TIME_WAIT and believed:
            self.state = State.RESET
        return self.at[side], self.at[other]

    def _fin(self, own: State) -> None:
        if self.state == State.ESTABLISHED:
            self.state = own
        elif self.state in (State.FIN_OUT, State.FIN_IN) and self.state != own:
            self.state = State.CLOSING


def state_of(rig: Rig) -> tuple[State, int]:
    session = rig.session(FLOW, TCP)
    assert session is not None
    return State(session.state & 0xFF), session.id


def send(rig: Rig, direction: abi.Direction, flags: str, **numbers: Any) -> None:
    out = (
        rig.lan(packets.tcp(FLOW, b"", flags, **numbers))
        if direction == OUT
        else rig.wan_in(packets.tcp(answer(FLOW, 40000), b"", flags, **numbers))
    )
    assert out.action == REDIRECT and out.drops == {}, (direction, flags, out)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEP, min_size=1, max_size=10))
@example(steps=[(IN, "SA"), (OUT, "A"), (OUT, "FA"), (IN, "A"), (IN, "FA"), (OUT, "A")])
@example(steps=[(IN, "SA"), (IN, "R"), (OUT, "A"), (IN, "FA"), (OUT, "FA"), (OUT, "S"), (IN, "SA")])
@example(steps=[(IN, "S"), (OUT, "SA"), (IN, "SA")])
def test_every_segment_moves_the_state_as_the_model_says(rig: Rig, steps: list[tuple[abi.Direction, str]]) -> None:
    rig.reset()
    model = Model()
    send(rig, OUT, "S", seq=ISN[OUT])
    ids = {state_of(rig)[1]}
    for direction, flags in steps:
        numbers = model.segment(direction, flags)
        if numbers is None:
            continue
        send(rig, direction, flags, seq=numbers[0], ack=numbers[1])
        state, number = state_of(rig)
        ids.add(number)
        assert state == model.state, (direction, flags)
        assert len(ids) == model.generation + 1, (direction, flags)
    assert rig.slot(TCP, 40000).sessions == 1


@pytest.mark.parametrize("state", TIMEOUTS)
def test_each_state_has_its_timeout(rig: Rig, state: State) -> None:
    open_session(rig, "tcp")
    session = rig.session(FLOW, TCP)
    assert session is not None
    key = next(iter(rig.gateway.sessions.items()))[0]
    session.state = state
    rig.gateway.sessions.put(key, session)
    rig.configure(timeouts={kind: 0 for kind in Kind if kind != TIMEOUTS[state]})
    reply = packets.tcp(answer(FLOW, 40000), b"", "RA")
    assert rig.wan_in(reply).action == REDIRECT, "another kind's timeout ended it"
    session.state = state
    rig.gateway.sessions.put(key, session)
    rig.configure(timeouts={TIMEOUTS[state]: 0})
    assert rig.wan_in(reply).action == SHOT


def test_a_reset_does_not_prolong(rig: Rig) -> None:
    """Repeated RSTs don't keep a session alive; the first starts the reset timeout."""
    open_session(rig, "tcp")
    send(rig, IN, "R")
    key, session = next(iter(rig.gateway.sessions.items()))
    session.last_seen -= 1000
    rig.gateway.sessions.put(key, session)
    send(rig, IN, "R")
    assert rig.gateway.sessions[key].last_seen == session.last_seen


def test_inbound_udp_does_not_prolong(rig: Rig) -> None:
    """RFC 4787 REQ-6, RFC 7857 section 7: what comes from outside must not keep a mapping alive."""
    open_session(rig, "udp")
    key, session = next(iter(rig.gateway.sessions.items()))
    assert session.state & 0xFF == State.ACTIVE
    session.last_seen -= 1000
    rig.gateway.sessions.put(key, session)
    rig.wan_in(packets.udp(answer(FLOW, 40000), b"x"))
    assert rig.gateway.sessions[key].last_seen == session.last_seen
    rig.lan(packets.udp(FLOW, b"x"))
    assert rig.gateway.sessions[key].last_seen != session.last_seen
    assert rig.slot(UDP, 40000).sessions == 1


def test_a_refresh_from_the_future_ends_nothing(rig: Rig) -> None:
    """Another CPU read the clock a tick later: the age is negative, not 52 days."""
    open_session(rig, "tcp")
    key, session = next(iter(rig.gateway.sessions.items()))
    session.last_seen = (ticks() + SECOND) % 2**32
    rig.gateway.sessions.put(key, session)
    send(rig, OUT, "A")
    send(rig, IN, "A")
    assert ControlProgram(rig.gateway.fds["control"]).keys(abi.ControlOp.SWEEP, [bytes(key)]) == 0


def test_dead_sessions_match_nothing(rig: Rig) -> None:
    open_session(rig, "tcp")
    key, session = next(iter(rig.gateway.sessions.items()))
    session.state = State.DEAD
    rig.gateway.sessions.put(key, session)
    assert rig.lan(packets.tcp(FLOW, b"x", "PA")).drops == {"no-session": 1}
    assert rig.wan_in(packets.tcp(answer(FLOW, 40000), b"x", "PA")).action == SHOT
    assert rig.lan(packets.tcp(FLOW, b"", "S")).drops == {"race": 1}
