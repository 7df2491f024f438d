"""A control session on the bench, and the helper's writes for it.

The law of this file: it writes decisions, adjustments and expectations as algate.alg does, and reads back what the
kernel made of them; it asserts only that the session could be opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from algate.alg.engine.digest import digest, sum_change
from algate.bpf import abi
from algate.bpf.abi import Direction, Verdict
from tests import packets
from tests.bpf.flows import answer
from tests.bpf.rig import INSIDE, PUBLIC, REDIRECT, REMOTE, SECRET, TCP, Outcome, Rig, session_key, ticks
from tests.packets import Flow

OUT, IN = Direction.OUT, Direction.IN
FTP = 1
CONTROL = Flow(INSIDE, 40021, REMOTE, 21)
FIRST = {OUT: 1000, IN: 5000}
"""Sequence number of each side's first byte."""
INSERT = {OUT: abi.InjectKind.OUT, IN: abi.InjectKind.IN}


@dataclass
class Watched:
    """The session from CONTROL, established."""

    rig: Rig
    id: int

    @property
    def key(self) -> abi.SessionKey:
        return session_key(CONTROL, TCP)

    def frame(self, side: Direction, load: bytes = b"", flags: str = "PA", *, at: int = 0, **fields: object) -> bytes:
        """A segment; `at` counts from the side's first byte."""
        flow = CONTROL if side == OUT else answer(CONTROL, 40021)
        numbers = {"seq": (FIRST[side] + at) % 2**32, "ack": FIRST[Direction(1 - side)]} | fields
        return packets.tcp(flow, load, flags, **numbers)  # type: ignore[arg-type]

    def send(self, side: Direction, frame: bytes) -> Outcome:
        """Send a segment from the wire."""
        return self.rig.lan(frame) if side == OUT else self.rig.wan_in(frame)

    def inject(self, side: Direction, frame: bytes) -> Outcome:
        """Send a segment from the helper; the outcome's frame has its first byte repaired."""
        out = self.rig.tap(frame, INSERT[side])
        return Outcome(out.action, frame[:1] + out.data[1:], out.drops, out.counts)

    def expected(self, side: Direction, frame: bytes, **fields: object) -> bytes:
        """The oracle: the translated frame, with `fields` (as packets.changed) changed too."""
        end = {"IP_src": PUBLIC} if side == OUT else {"IP_dst": INSIDE}
        port = {"TCP_sport": 40021} if side == OUT else {"TCP_dport": 40021}
        return packets.changed(frame, IP_ttl=63, **end, **port, **fields)

    def decide(
        self,
        side: Direction,
        load: bytes,
        verdict: Verdict = Verdict.PASS,
        new: bytes = b"",
        *,
        at: int = 0,
        id: int | None = None,
    ) -> None:
        """Write a decision in the engine's order: replacement before decision."""
        seq = (FIRST[side] + at) % 2**32
        key = abi.DecisionKey(id=self.id if id is None else id, seq=seq, size=len(load), dir=side)
        decision = abi.Decision(digest=digest(SECRET, load), verdict=verdict)
        if verdict == Verdict.REPLACE:
            replacement = abi.Replacement()
            replacement.bytes[: len(new)] = list(new)
            self.rig.gateway.replacements.put(key, replacement)
            decision.new_size, decision.sum_change = len(new), sum_change(load, new)
        self.rig.gateway.decisions.put(key, decision)

    def adjust(
        self,
        out: Sequence[tuple[int, int, int, int]] = (),
        into: Sequence[tuple[int, int, int, int]] = (),
        base: tuple[int, int] = (0, 0),
        decided: tuple[int, int] = (FIRST[OUT], FIRST[IN]),
        flags: int = 0,
    ) -> None:
        """Write the corrections of both directions, as (start, end, before, after)."""
        record = abi.Adjust(id=self.id, base=base, decided=decided, flags=flags)
        for side, items in ((OUT, out), (IN, into)):
            record.count[side] = len(items)
            for number, item in enumerate(items):
                record.at[side * abi.MAX_CORRECTIONS + number] = abi.Correction(
                    start=item[0], end=item[1], before=item[2], after=item[3]
                )
        self.rig.gateway.adjusts.put(self.key, record)

    def doubt(self) -> None:
        """Forget the numbers: what follows isn't TCP between two ends, and the gate alone is looked at."""
        session = self.rig.gateway.sessions[self.key]
        session.state |= abi.StateBit.DOUBT
        self.rig.gateway.sessions.put(self.key, session)

    def track(self) -> abi.Track:
        return self.rig.gateway.tracks[self.key]

    def expect(self, key: abi.ExpectationKey, port: int, state: abi.ExpectationState, **fields: int) -> abi.Expectation:
        """An expectation of this session; `fields` override those of struct expectation."""
        made = abi.Expectation(
            id=77,
            control_id=self.id,
            control_key=self.key,
            inside_ip=abi.ip_to_be32(INSIDE),
            inside_port=abi.be16(20),
            state=state,
            alg=FTP,
            expires=(ticks() + 100_000) % 2**32,
        )
        for name, value in fields.items():
            setattr(made, name, value)
        self.rig.gateway.expectations.put(key, made)
        return made


def watch(rig: Rig, options: list[tuple[Any, object]] | None = None) -> Watched:
    """Open CONTROL with the helper alive, and discard what the ring said about it."""
    rig.beat()
    rig.gateway.alg_ports.put(abi.ServiceKey(port=abi.be16(21), proto=TCP), FTP)
    syn = packets.tcp(CONTROL, b"", "S", seq=FIRST[OUT] - 1, ack=0, options=options)
    assert rig.lan(syn).action == REDIRECT
    back = answer(CONTROL, 40021)
    reply = packets.tcp(back, b"", "SA", seq=FIRST[IN] - 1, ack=FIRST[OUT], options=options)
    assert rig.wan_in(reply).action == REDIRECT
    assert rig.lan(packets.tcp(CONTROL, b"", "A", seq=FIRST[OUT], ack=FIRST[IN])).action == REDIRECT
    session = rig.session(CONTROL, TCP)
    assert session is not None and session.alg == FTP
    return Watched(rig, session.id)
