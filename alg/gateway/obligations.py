"""What must hold for control sessions: what the kernel and the helper keep for them, and what ends with them.

The law of this file: pure, as invariants.py. What only the helper tidies up is judged only while there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

from algate.alg.gateway.picture import Awaited, Broken, Picture, Piece, end_text, session_text
from algate.alg.gateway.records import SessionValue
from algate.bpf import abi, ticks
from algate.bpf.programs import STAGES, STAGES6, STAGES64

_S, _K = abi.SessionState, abi.PortKind
OVER = (_S.DEAD, _S.TIME_WAIT, _S.RESET)
LATE = ticks.lasting(1.0)  # an expectation may be that much over its time
VERDICTS = (abi.Verdict.PASS, abi.Verdict.REPLACE)


def _watched(p: Picture) -> Iterator[Broken]:
    """A session that an ALG watches has a record of its streams, and only such a one has."""
    for key, one in p.stable.items():
        if one.alg and p.tracks.get(key) != one.id:
            yield Broken("track-missing", f"{one.id:016x}", f"control session {_name(key, one)} has no track record")
    for name, table in (("track", p.tracks), ("adjust", p.adjusts)):
        for key, number in table.items():
            here = [one for one in (p.before.get(key), p.after.get(key)) if one is not None]
            if not any(one.id == number and one.alg for one in here):
                text = f"the {name} record of {session_text(key)} belongs to no control session ({number:016x})"
                yield Broken(f"{name}-session", f"{number:016x}", text)


def _decisions(p: Picture) -> Iterator[Broken]:
    """A decision is a live session's, and a replacement has its bytes."""
    for piece, (verdict, size) in p.decisions.items():
        if verdict not in VERDICTS or size > abi.REPLACEMENT_MAX or piece.direction > 1:
            yield Broken(
                "decision-value", _about(piece), f"the decision on {_range(piece)} says nothing that can be done"
            )
        elif verdict == abi.Verdict.REPLACE and piece not in p.replacements:
            yield Broken("decision-bytes", _about(piece), f"the decision on {_range(piece)} lacks its replacement")
    for piece in p.replacements - p.decisions.keys():
        yield Broken("replacement", _about(piece), f"the replacement for {_range(piece)} has no decision")
    if p.helper:
        yield from _orphans(p, "decision-session", "decisions", p.decisions)


def _held(p: Picture) -> Iterator[Broken]:
    """Bytes held in the receiver's name are whole, and a live session's."""
    streams: dict[tuple[int, int], set[int]] = {}
    for piece in p.held:
        streams.setdefault((piece.session, piece.direction), set()).add(piece.seq)
        if piece.size > abi.REPLACEMENT_MAX or piece.direction > 1:
            yield Broken("held-value", _about(piece), f"a held piece of session {piece.session:016x} can't be read")
    for (session, direction), numbers in streams.items():
        if numbers != set(range(len(numbers))):
            about = f"{session:016x} {direction}"
            yield Broken("held-gap", about, f"of the bytes held for session {session:016x} some are missing")
    if p.helper:
        yield from _orphans(p, "held-session", "held bytes", p.held)


def _orphans(p: Picture, rule: str, what: str, pieces: set[Piece] | dict[Piece, tuple[int, int]]) -> Iterator[Broken]:
    lost: dict[int, int] = {}
    for piece in pieces:
        if piece.session not in p.ids:
            lost[piece.session] = lost.get(piece.session, 0) + 1
    for session, count in lost.items():
        yield Broken(rule, f"{session:016x}", f"{count} {what} of session {session:016x}, which has ended")


def _expectations(p: Picture) -> Iterator[Broken]:
    """An expectation is a live control session's, holds a port, and ends in time."""
    live = {one.id: (key, one) for key, one in p.either()}
    for one in p.expectations:
        for rule, detail in _expectation(p, one, live.get(one.control)):
            to = end_text(one.to_ip, one.to_port)
            yield Broken(rule, f"{one.id:016x}", f"expectation {one.id:016x} (to {to}) {detail}")


def _expectation(p: Picture, one: Awaited, control: tuple[bytes, SessionValue] | None) -> Iterator[tuple[str, str]]:
    if one.state not in (*abi.ExpectationState,):
        yield "expectation-state", f"has the state {one.state}, which there isn't"
        return
    if one.inbound:
        yield from _expected_port(p, one)
    if control is not None and control[0] != one.control_key:
        yield "expectation-key", "names another session's key than its control session's"
    if not p.helper:
        return
    if control is None:
        yield "expectation-control", f"outlived its control session {one.control:016x}"
    elif control[1].state in OVER and p.stable.get(control[0]) == control[1]:
        yield "expectation-control", f"outlived the end of its control session {_name(*control)}"
    if one.state == abi.ExpectationState.USED:
        yield "expectation-used", "was used and is still there"
    if not one.ports and ticks.distance(p.tick, one.expires) > LATE:
        yield "expectation-expired", "expired and is still there"


def _expected_port(p: Picture, one: Awaited) -> Iterator[tuple[str, str]]:
    slot, place = p.slots.get(one.row), (one.row >> 16) // 3
    if slot is None or not slot.owner:
        yield "expectation-port", f"has the port {p.public(one.row)}, which nobody owns"
    elif place < len(p.addresses) and p.addresses[place] != one.to_ip:
        yield "expectation-port", f"has a port of another address, {IPv4Address(p.addresses[place])}"


def _reservations(p: Picture) -> Iterator[Broken]:
    """A port is reserved for something: an expectation, a block, or what the helper has in mind."""
    if p.in_use is None:
        return
    _, most = p.refs
    waiting = {one.row for one in p.expectations} | p.in_use
    for row, slot in p.slots.items():
        if slot.kind == _K.RESERVED and not slot.block and slot.sessions > most[row] and row not in waiting:
            yield Broken("port-leak", p.public(row), f"port {p.public(row)} is reserved, and nothing is expected there")


def _known(p: Picture) -> Iterator[Broken]:
    """The helper forgets a session with its end."""
    for number in sorted((p.known or set()) - p.ids):
        yield Broken("helper-session", f"{number:016x}", f"the helper still has session {number:016x}, which has ended")


def _stages(p: Picture) -> Iterator[Broken]:
    """Every stage has its program; those for IPv6 all or none, and those for NAT64, which needs IPv6's."""
    turns = not p.stages.isdisjoint(STAGES64)
    six = turns or not p.stages.isdisjoint(STAGES6)
    for row, name in (STAGES | (STAGES6 if six else {}) | (STAGES64 if turns else {})).items():
        if int(row) not in p.stages:
            word = name.partition("_")[2]
            yield Broken("stage", word.upper(), f"stage {word} has no program: what needs it is dropped")


RULES: tuple[Callable[[Picture], Iterator[Broken]], ...] = (
    _watched, _decisions, _held, _expectations, _reservations, _known, _stages,
)  # fmt: skip


def _name(key: bytes, one: SessionValue) -> str:
    return f"{one.id:016x} ({session_text(key)})"


def _about(piece: Piece) -> str:
    return f"{piece.session:016x} {piece.direction} {piece.seq} {piece.size}"


def _range(piece: Piece) -> str:
    return f"{piece.size} bytes from {piece.seq} of session {piece.session:016x}"
