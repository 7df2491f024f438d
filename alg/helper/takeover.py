"""Reads back what the kernel keeps about control sessions: for the engine at any time, and all of it when a helper
starts.

The law of this file: the only reader of what an earlier helper left. It says what no longer has an owner; all writing
is the executor's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Network
from typing import Any, NamedTuple

from algate.alg.engine import effects as fx
from algate.alg.engine.engine import Engine
from algate.alg.gateway import records
from algate.alg.gateway.addresses import Addresses
from algate.alg.gateway.reserved import reserved
from algate.alg.helper.executor import Executor
from algate.bpf import abi, syscall
from algate.bpf.loader import Gateway
from algate.bpf.requests import ControlProgram
from algate.bpf.tables import Table

LIVE = (fx.EXPECT_PENDING, fx.EXPECT_OPEN)


class Kept:
    """What the kernel says about one control session. `keys`: session id -> packed session key."""

    def __init__(self, gateway: Gateway, keys: Mapping[int, bytes]) -> None:
        self._gateway = gateway
        self._keys = keys

    def track(self, session: int) -> fx.TrackView | None:
        """struct track of a control session, None if the kernel has none of this generation."""
        raw = _raw(self._gateway.tracks, self._keys.get(session))
        found, view = records.unpack_track(raw) if raw else (0, None)
        return view if found == session else None

    def adjust(self, session: int) -> fx.AdjustRecord | None:
        """The adjust record of a control session, None if there is none of this generation."""
        raw = _raw(self._gateway.adjusts, self._keys.get(session))
        record = records.unpack_adjust(raw) if raw else None
        return record if record is not None and record.session == session else None

    def decided(self, session: int, direction: int, seq: int, size: int) -> tuple[int, bytes | None] | None:
        """The digest of a decision, and what goes on instead of those bytes, None: they do; None if there is none."""
        key = records.pack_decision_key(session, seq, size, direction)
        raw = _raw(self._gateway.decisions, key)
        if raw is None:
            return None
        digest, new = records.unpack_decision(raw)
        body = _raw(self._gateway.replacements, key) if new else None
        return digest, body[:new] if body is not None else None


def _raw(table: Table[Any, Any], key: bytes | None) -> bytes | None:
    return syscall.lookup(table.fd, key, table.value.size) if key else None


class DataSession(NamedTuple):
    """A session that a control session expected: both ids, and its packed key."""

    control: int
    session: int
    key: bytes


@dataclass
class LeftBehind:
    """All that an earlier helper left. `expectations` by control session, `held` by control session and direction."""

    controls: list[fx.SessionInfo] = field(default_factory=list)
    data: list[DataSession] = field(default_factory=list)
    held: dict[int, dict[int, bytes]] = field(default_factory=dict)
    held_keys: dict[tuple[int, int], list[bytes]] = field(default_factory=dict)
    expectations: dict[int, list[fx.Expectation]] = field(default_factory=dict)
    ranges: list[fx.Expectation] = field(default_factory=list)
    ownerless: list[fx.Expectation] = field(default_factory=list)  # used, or their control session is gone
    decisions: set[bytes] = field(default_factory=set)  # keys, except those of lines that passed without the helper


def read(gateway: Gateway, now: float, addresses: Addresses, prefix: IPv6Network | None = None) -> LeftBehind:
    """Read what is there; change nothing. `prefix`: of NAT64."""
    left = LeftBehind()
    # Before the lines: one that passes meanwhile leaves a decision that must not be in this set.
    left.decisions = {bytes(key) for key, _ in gateway.decisions.items()}
    parents = dict(gateway.relations.items())
    for keys, values, _ in gateway.sessions.chunks():
        for packed, value in records.sessions(keys, values):
            if value.id in parents and not value.alg:
                left.data.append(DataSession(parents[value.id], value.id, packed))
            if value.alg and value.state != abi.SessionState.DEAD:
                left.controls.append(addresses.told(records.session_info(records.unpack_key(packed), value), prefix))
                left.decisions.difference_update(_lines(gateway, packed, value.id))
    _read_held(gateway, left)
    _read_expectations(gateway, left, now, addresses)
    return left


def _lines(gateway: Gateway, key: bytes, session: int) -> list[bytes]:
    """Keys of the decisions left by a session's lines that passed without the helper."""
    raw = _raw(gateway.tracks, key)
    return records.unpack_lines(raw) if raw and records.unpack_track(raw)[0] == session else []


def _read_held(gateway: Gateway, left: LeftBehind) -> None:
    pieces: dict[tuple[int, int], dict[int, bytes]] = {}
    for key, value in gateway.held.items():
        session, number, size, direction = records.unpack_decision_key(bytes(key))
        pieces.setdefault((session, direction), {})[number] = bytes(value)[:size]
        left.held_keys.setdefault((session, direction), []).append(bytes(key))
    for (session, direction), some in pieces.items():
        left.held.setdefault(session, {})[direction] = b"".join(some[number] for number in sorted(some))


def _read_expectations(gateway: Gateway, left: LeftBehind, now: float, addresses: Addresses) -> None:
    known = {info.session for info in left.controls}
    for key, value in gateway.expectations.items():
        one = addresses.expected(records.unpack_expectation(bytes(key), bytes(value), now))
        if one.ports:
            left.ranges.append(one)
        elif one.state in LIVE and one.session in known:
            left.expectations.setdefault(one.session, []).append(one)
        else:
            left.ownerless.append(one)


def release_unclaimed(gateway: Gateway, control: ControlProgram) -> None:
    """Give back ports that an earlier helper had reserved and for which it couldn't make the expectation any more."""
    waiting = {abi.Expectation.unpack(bytes(value)).port_index for _, value in gateway.expectations.items()}
    doubted = {slot.row: slot for slot in reserved(gateway) if not slot.block and slot.row not in waiting}
    if not doubted:
        return
    users = Counter[int]()
    for keys, values, _ in gateway.sessions.chunks():
        users.update(one.port_index for _, one in records.sessions(keys, values) if one.port_index in doubted)
    # Nothing is expected there, so no session can have come since; one that ended has taken its reference along.
    for slot in list(reserved(gateway)):
        if slot.row in doubted and slot.owner == doubted[slot.row].owner and slot.sessions > users[slot.row]:
            control.release(slot.row, slot.owner)


def hand_over(left: LeftBehind, engine: Engine, executor: Executor, now: float) -> None:
    """Hand it to an engine that starts. The executor already knows the control sessions; what nobody owns goes."""
    executor.inherit_held(left.held_keys, {info.session for info in left.controls})
    for one in left.ownerless:
        executor.drop_expectation(one)
    stale = set(left.decisions)
    for info in left.controls:
        expected = left.expectations.get(info.session, ())
        effects = engine.restore(info, left.held.get(info.session, {}), now, expected)
        for effect in effects:
            if isinstance(effect, fx.PutDecision):
                made = records.pack_decision_key(effect.session, effect.seq, effect.size, effect.direction)
                stale.discard(made)
        executor.carry_out(effects)
    for known in left.ranges:
        if not engine.adopt(known):
            executor.carry_out([fx.DeleteExpectation(known, "withdrawn", "control-ended")])
    # What passed earlier isn't in the log, so nobody would ever drop it: after its shift is folded, a late repetition
    # would leave with another number, over bytes that its receiver already has.
    executor.drop_decisions(stale)
