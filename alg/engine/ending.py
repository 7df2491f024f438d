"""How the helper's work on a session ends: left to the kernel, reset, or gone.

The law of this file: effects that take back what the engine wrote. The table of sessions is the engine's.
"""

from __future__ import annotations

from algate.alg.plugin.model import Event

from .corrections import MASK
from .delivery import Delivery
from .effects import Announce, BypassSession, DropDecisions, DropHeld, Effect, PutAdjust, ResetSession
from .expectations import Expectations
from .repetition import Repetition
from .session import Session, Track


class Ending:
    """Writes the effects that end things."""

    def __init__(self, delivery: Delivery, repetition: Repetition, expectations: Expectations, track: Track) -> None:
        self._delivery = delivery
        self._repetition = repetition
        self._expectations = expectations
        self._track = track

    def bypass(self, session: Session, effects: list[Effect]) -> None:
        """Leave a passing session to the kernel as soon as it needs no decision any more."""
        for direction in (0, 1):
            self._delivery.forget(session, direction, effects)
        if not session.begun or not session.bypass():
            return
        number = session.info.session
        ranges = _ranges(session)
        for flow in session.flows:
            flow.ledger.leave()
        effects.append(PutAdjust(session.record()))
        if ranges:
            effects.append(DropDecisions(number, ranges))
        _drop_held(session, effects)
        shifted = any(flow.ledger.corrections.base or flow.ledger.corrections.items for flow in session.flows)
        shifted = shifted or bool(session.book.expectations)
        effects.append(BypassSession(number, session.info.key, shifted))

    def reset(self, session: Session, effects: list[Effect]) -> None:
        """RST to both ends, then take everything back."""
        number, reason = session.info.session, session.reset
        self._repetition.resets(session, self._track(number), effects)
        effects.append(Announce(number, session.control, Event("control-reset", reason=reason)))
        self.clear(session, reason, effects)
        effects.append(ResetSession(number, session.info.key, reason))

    def clear(self, session: Session, reason: str, effects: list[Effect]) -> None:
        """Take back expectations, reservations, decisions and what was stored."""
        self._expectations.withdraw_all(session.book, reason, effects)
        ranges = _ranges(session)
        if ranges:
            effects.append(DropDecisions(session.info.session, ranges))
        _drop_held(session, effects)


def _ranges(session: Session) -> tuple[tuple[int, int, int, bool], ...]:
    return tuple(
        (direction, chunk.start & MASK, len(chunk.old), chunk.new is not None)
        for direction, flow in enumerate(session.flows)
        for chunk in flow.ledger.chunks
        if chunk.new != b""
    )


def _drop_held(session: Session, effects: list[Effect]) -> None:
    for direction, flow in enumerate(session.flows):
        if flow.ledger.stored:
            effects.append(DropHeld(session.info.session, direction))
            flow.ledger.unlog()
