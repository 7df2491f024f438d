"""How the engine's work on a session begins: newly made, picked up in the middle, or taken over from another helper.

The law of this file: sessions as they are before their first segment is judged. It enters them in the engine's table.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from algate.alg.plugin.model import Audience

from .account import PUNTS, copies
from .corrections import MASK
from .delivery import Delivery
from .effects import (
    ADJUST_BEGINS,
    ADJUST_BYPASS,
    ADJUST_LINES,
    ADJUST_OWED,
    ADJUST_REMEMBERED,
    TRACK_SYN_IN,
    TRACK_SYN_OUT,
    TRACK_UNTOUCHABLE,
    AdjustRecord,
    Expectation,
    PutAdjust,
    SessionInfo,
)
from .expectations import Expectations
from .judgement import Judgement
from .limits import Limits
from .session import UDP, Session, Track
from .sink import Sink
from .voice import Voice

Adjust = Callable[[int], AdjustRecord | None]
_UNNUMBERED: Final = AdjustRecord(0, (0, 0), (0, 0), ((), ()))  # what a session of datagrams is restored from


class Opening:
    """Makes sessions. Keeps nothing but counts."""

    def __init__(
        self, judgement: Judgement, delivery: Delivery, expectations: Expectations, sessions: dict[int, Session],
        track: Track, adjust: Adjust, counts: Counter[str], limits: Limits, audience: Audience | None, voice: Voice,
    ) -> None:  # fmt: skip
        self._judgement = judgement
        self._delivery = delivery
        self._expectations = expectations
        self._sessions = sessions
        self._track = track
        self._adjust = adjust
        self._counts = counts
        self._limits = limits
        self._audience = audience
        self._voice = voice

    def new(self, info: SessionInfo, out: Sink) -> Session:
        """The kernel says that it has just begun."""
        session = self._open(info, None, {}, (), out)
        if not session.datagrams:
            self._judgement.declare_beginning(session, out)
        return session

    def found(self, info: SessionInfo, out: Sink) -> Session:
        """A segment came of a session that nobody told of: by now it may have a record."""
        return self._open(info, self._record(info.session), {}, (), out)

    def left(
        self, info: SessionInfo, stored: Mapping[int, bytes], expected: Sequence[Expectation], out: Sink
    ) -> Session:
        """Another helper watched it; what that one decided is decided again, what it promised is judged."""
        if info.key.proto == UDP:
            return self._open(info, _UNNUMBERED, {}, expected, out)
        record = self._record(info.session) or self._first_record(info.session)
        session = self._open(info, record, stored, expected, out)
        self.begin(session)
        session.poll = self._limits.poll_first
        for flow in session.flows:
            for chunk in flow.ledger.chunks:
                self._delivery.decide(session, flow, chunk, out)
            if flow.stream.pending:
                self._judgement.feed(session, flow, out)
        track = self._track(info.session)
        if track is not None and not session.bypassed:
            for flow in session.flows:
                self._voice.hurry(session, flow, track, out)
        return session

    def begin(self, session: Session) -> None:
        """Start its flows where the kernel saw them start."""
        track = self._track(session.info.session)
        session.begin(track)
        if track is not None and track.flags & TRACK_UNTOUCHABLE:
            session.give_up()
        if not (session.flows[0].started and session.flows[1].started):
            self._counts["midstream"] += 1

    def _open(
        self, info: SessionInfo, record: AdjustRecord | None, stored: Mapping[int, bytes],
        expected: Sequence[Expectation], out: Sink,
    ) -> Session:  # fmt: skip
        session = Session(info, self._audience)
        self._sessions[info.session] = session
        session.inherit(self._expectations, expected)
        if record is not None:
            try:
                session.restore(record, stored, self._seen(info))
            except struct.error:
                self._counts["held-broken"] += 1
            self._go_on(session, record, out)
        if not session.bypassed:
            self._judgement.begin(session, out)
        return session

    def _go_on(self, session: Session, record: AdjustRecord, out: Sink) -> None:
        """Behind an earlier helper: its declaration, by its policy and for its listeners, ends with it, and no copy is
        on its way to it any more. What passed without it is taken account of."""
        track = None if session.datagrams else self._track(session.info.session)
        word = track.lines if track is not None else record.lines
        lines = record.lines & ~PUNTS | word & PUNTS
        if record.flags & ADJUST_LINES or lines != record.lines:
            kept = record.flags & (ADJUST_BYPASS | ADJUST_OWED | ADJUST_BEGINS | 0xFF << ADJUST_REMEMBERED)
            out.append(PutAdjust(record._replace(flags=kept, interest=0, lines=lines)))
        if record.lines or word:
            session.catch_up(word, whatever=True)
        if copies(record.lines, word):  # what passed without one doesn't matter to what is remembered
            self._counts["copy-lost"] += 1
            self._expectations.unheard(session.book)
            session.forget()

    def _seen(self, info: SessionInfo) -> tuple[bool, bool]:
        """Whose SYN the kernel saw."""
        track = None if info.key.proto == UDP else self._track(info.session)
        flags = 0 if track is None else track.flags
        return bool(flags & TRACK_SYN_OUT), bool(flags & TRACK_SYN_IN)

    def _record(self, number: int) -> AdjustRecord | None:
        """What another helper wrote, with real numbers if that was that nothing was decided yet."""
        record = self._adjust(number)
        if record is None or not record.flags & ADJUST_BEGINS:
            return record
        first = self._first_record(number)
        return record if first is None else first._replace(flags=record.flags & ~ADJUST_BEGINS, lines=record.lines)

    def _first_record(self, number: int) -> AdjustRecord | None:
        """What the adjust record would say before anything was decided."""
        track = self._track(number)
        both = TRACK_SYN_OUT | TRACK_SYN_IN
        if track is None or track.flags & both != both:
            return None
        first = ((track.isn[0] + 1) & MASK, (track.isn[1] + 1) & MASK)
        return AdjustRecord(number, first, (0, 0), ((), ()))
