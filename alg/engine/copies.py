"""Lines that passed at once and whose copies are judged afterwards, in the order in which the kernel saw them.

The law of this file: order and account. Nothing of a session is judged before the copies that the kernel sent earlier,
and what a conversation makes of a copy can't change its bytes.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from algate.alg.plugin.model import Side

from .account import PUNT_BITS, PUNTS, counted
from .corrections import MASK
from .delivery import Delivery
from .effects import PutAdjust, Segment
from .judgement import Judgement
from .session import Session, Track
from .sink import Sink

LATE_MOST: Final = 0.25  # s after which a copy that should have come is lost: rings are read within milliseconds
LATE_SEGMENTS: Final = 64  # that wait for copies, of a session
LATE_BYTES: Final = 1 << 17  # of their frames
CLIENT: Final = Side.CLIENT
_PRELIMINARY: Final = b"1"


class Copies:
    """Of all sessions. Keeps nothing but counts."""

    def __init__(self, judgement: Judgement, delivery: Delivery, track: Track, counts: Counter[str]) -> None:
        self._judgement = judgement
        self._delivery = delivery
        self._track = track
        self._counts = counts

    def wait(self, session: Session, segment: Segment, now: float) -> None:
        """A segment waits its turn."""
        size = session.late_size + len(segment.frame)
        if len(session.late) >= LATE_SEGMENTS or size > LATE_BYTES:
            self._counts["late-limit"] += 1  # a held one comes again; a copy will be missed
        else:
            session.late.append((now, segment))
            session.late_size = size

    def next(self, session: Session) -> Segment | None:
        """The first that may be judged now."""
        for at, (_, one) in enumerate(session.late):
            if self._may(session, one):
                del session.late[at]
                session.late_size -= len(one.frame)
                return one
        return None

    def _may(self, session: Session, one: Segment) -> bool:
        account = session.account
        lacks = account.lacks(one.lines)
        if one.copied or lacks > 0:
            return lacks <= one.copied
        if not account.overtaken(one.lines):
            return True
        track = self._track(session.info.session)  # from which it will learn what passed meanwhile
        return track is None or account.lacks(track.lines) <= 0

    def judge(self, session: Session, one: Segment, out: Sink) -> None:
        """Take account of a line that passed, and let its conversation read it."""
        flow = session.flows[one.direction]
        payload = one.frame[one.payload_offset : one.payload_offset + one.payload_size]
        account = session.account
        if account.lacks(one.lines) != 1:
            self._counts["copy-late"] += 1
            return
        before = _without(session, one)
        if (before ^ account.word) >> PUNT_BITS:
            self._judgement.account(session, before, one.ts_recent, out)
        if one.seq != flow.ledger.decided & MASK:
            self._counts["copy-misplaced"] += 1
            self.miss(session, one.lines, out)
            return
        account.word = one.lines & ~PUNTS | account.word & PUNTS
        self._hear(session, one)
        flow.skip(len(payload))
        self._judgement.read(session, flow, payload, out, one.expectation, one.retold)
        for each in session.flows:
            if each.ledger.stored and not each.ledger.indebted:
                self._delivery.store(session, each, out)
        if not session.late:
            self._restate(session, out)

    @staticmethod
    def _hear(session: Session, one: Segment) -> None:
        """What both receivers have, and the timestamps that they keep."""
        out, back = session.flows[0], session.flows[1]
        acked, latest = one.acked, one.ts_recent
        if out.ledger.acknowledge(acked[0]):
            out.finished()
        if back.ledger.acknowledge(acked[1]):
            back.finished()
        if session.timestamps:
            if latest[0]:
                out.stamp(latest[0])
            if latest[1]:
                back.stamp(latest[1])

    def _restate(self, session: Session, out: Sink) -> None:
        """After a copy the kernel copies all that passes; say so if nothing that matters is unanswered any more.

        What is remembered holds only for the lines that the record counts, so it is written again with each."""
        said = self._judgement.declared(session, out)
        if said is not None and (session.remembered or not said.read):
            self._judgement.declare(session, said, out)
            out.append(PutAdjust(session.record()))

    def overdue(self, session: Session, now: float) -> bool:
        """Whether what waits has waited too long."""
        return bool(session.late) and now - session.late[0][0] >= LATE_MOST

    def give_up(self, session: Session, out: Sink) -> None:
        """The copies before what waits are lost: go on behind them."""
        one = min((one for _, one in session.late), key=lambda one: session.account.lacks(one.lines))
        word = one.lines
        track = self._track(session.info.session)
        if session.account.lacks(word) > 0:
            word = _without(session, one) if one.copied else word
        elif track is not None:
            word = track.lines
        self.miss(session, word, out)

    def miss(self, session: Session, word: int, out: Sink) -> None:
        """Nobody will ever read what passed before `word`: from now on everything is held until that is made up for."""
        self._counts["copy-lost"] += 1
        session.catch_up(word, whatever=True)
        self._judgement.missed(session, out)
        session.account.unattended = None
        out.append(PutAdjust(session.record()))


def _without(session: Session, one: Segment) -> int:
    """The word before the line that this is a copy of."""
    command = session.sides[one.direction] is CLIENT
    final = not command and one.frame[one.payload_offset : one.payload_offset + 1] != _PRELIMINARY
    return counted(one.lines, one.direction, one.payload_size, command, final, -1)
