"""How the helper's work on a session ends: left to the kernel, reset, or gone.

The law of this file: effects that take back what the engine wrote. The table of sessions is the engine's.
"""

from __future__ import annotations

from algate.alg.plugin.model import Event

from .delivery import Delivery, ranges
from .effects import Announce, BypassSession, DropDecisions, DropHeld, PutAdjust, ResetSession
from .expectations import Expectations
from .session import Session
from .sink import Sink
from .voice import Voice


class Ending:
    """Writes the effects that end things."""

    def __init__(self, delivery: Delivery, voice: Voice, expectations: Expectations) -> None:
        self._delivery = delivery
        self._voice = voice
        self._expectations = expectations

    def bypass(self, session: Session, out: Sink) -> None:
        """Leave a passing session to the kernel as soon as it needs no decision any more."""
        for flow in session.flows:
            self._delivery.forget(session, flow, out)
        if not session.begun or not session.bypass():
            return
        number = session.info.session
        decided = _ranges(session)
        for flow in session.flows:
            flow.ledger.leave()
        out.append(PutAdjust(session.record()))
        if decided:
            out.append(DropDecisions(number, decided))
        _drop_held(session, out)
        shifted = any(flow.ledger.corrections.base or flow.ledger.corrections.items for flow in session.flows)
        shifted = shifted or bool(session.book.expectations)
        out.append(BypassSession(number, session.info.key, shifted))

    def reset(self, session: Session, out: Sink) -> None:
        """RST to both ends, then take everything back."""
        number, reason = session.info.session, session.reset
        self._voice.resets(session, out)
        out.append(Announce(number, session.control, Event("control-reset", reason=reason)))
        self.clear(session, reason, out)
        out.append(ResetSession(number, session.info.key, reason))

    def clear(self, session: Session, reason: str, out: Sink) -> None:
        """Take back expectations, reservations, decisions and what was stored."""
        self._expectations.withdraw_all(session.book, reason, out)
        decided = _ranges(session)
        if decided:
            out.append(DropDecisions(session.info.session, decided))
        _drop_held(session, out)


def _ranges(session: Session) -> tuple[tuple[int, int, int, bool], ...]:
    out, back = session.flows
    return ranges(out, out.ledger.chunks) + ranges(back, back.ledger.chunks)


def _drop_held(session: Session, out: Sink) -> None:
    for flow in session.flows:
        if flow.ledger.stored:
            out.append(DropHeld(session.info.session, flow.direction))
            flow.ledger.unlog()
