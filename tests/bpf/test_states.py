"""The states of a session against a model written from RFC 6146 section 3.5.2 and RFC 7857 section 2."""

from __future__ import annotations

from dataclasses import dataclass, field

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


@dataclass
class Model:
    """One TCP session that a SYN from inside began."""

    state: State = State.NEW
    syns: set[abi.Direction] = field(default_factory=lambda: {OUT})
    generation: int = 0

    def segment(self, direction: abi.Direction, flags: str) -> None:
        if flags == "S" and self.state in (State.FIN_IN, State.FIN_OUT, State.CLOSING, State.TIME_WAIT, State.RESET):
            self.state, self.syns = State.NEW, {direction}
            self.generation += 1
        elif "R" in flags:
            self.state = State.RESET
        elif "S" in flags:
            self._syn(direction)
        elif "F" in flags:
            self._fin(State.FIN_OUT if direction == OUT else State.FIN_IN)
        elif self.state == State.CLOSING:
            self.state = State.TIME_WAIT
        elif self.state == State.RESET:
            self.state = State.ESTABLISHED

    def _syn(self, direction: abi.Direction) -> None:
        if self.state in (State.NEW, State.RESET):
            self.syns.add(direction)
            self.state = State.ESTABLISHED if self.syns == {OUT, IN} else State.NEW

    def _fin(self, own: State) -> None:
        if self.state in (State.ESTABLISHED, State.RESET):
            self.state = own
        elif self.state in (State.FIN_OUT, State.FIN_IN) and self.state != own:
            self.state = State.CLOSING


def state_of(rig: Rig) -> tuple[State, int]:
    session = rig.session(FLOW, TCP)
    assert session is not None
    return State(session.state & 0xFF), session.id


def send(rig: Rig, direction: abi.Direction, flags: str) -> None:
    out = (
        rig.lan(packets.tcp(FLOW, b"", flags))
        if direction == OUT
        else rig.wan_in(packets.tcp(answer(FLOW, 40000), b"", flags))
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
    send(rig, OUT, "S")
    ids = {state_of(rig)[1]}
    for direction, flags in steps:
        model.segment(direction, flags)
        send(rig, direction, flags)
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
