"""Connections that were expected: their first packets, their admission, and those that never came.

The law of this file: it finds whose an expectation is and tells the conversation what became of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from algate.alg.plugin.model import Event

from .effects import EXPECT_OPEN, Admitted, Announce, DeleteExpectation, Inject, SessionInfo
from .expectations import NAMED, Expectations, acts_early, named_by
from .frames import finish_checksum, packet_end, readdress
from .judgement import Judgement
from .session import KIND, Session
from .sink import Sink

EARLY_MOST: Final = 1024  # connections that come before the line is read that names them


class Connections:
    """Of all sessions. Keeps counts, and what came before anybody knew of it."""

    def __init__(
        self, expectations: Expectations, judgement: Judgement, sessions: Mapping[int, Session], counts: Counter[str]
    ) -> None:
        self._expectations = expectations
        self._judgement = judgement
        self._sessions = sessions
        self._counts = counts
        self._early: dict[int, SessionInfo | None] = {}  # connections whose line is still to be read, by expectation

    def first_packet(self, expectation: int, direction: int, frame: bytes, ip_offset: int, out: Sink) -> None:
        """One came while its expectation is pending: it is held until both sides agree."""
        whose = self._expectations.whose(expectation)
        session = self._sessions.get(whose[0]) if whose else None
        if whose is None or session is None:
            self._counts["data-syn-unexpected"] += 1
            return
        kind = KIND[direction]
        finished = finish_checksum(frame, ip_offset, packet_end(frame, ip_offset))
        packet = Inject(kind, readdress(kind, finished, ip_offset, len(finished)))
        expected = session.book.expectations[whose[1]]
        if not self._expectations.hold(expected, packet, out.now):
            self._counts["data-syn-no-room"] += 1
        elif expected.state == EXPECT_OPEN:
            self._expectations.open(session.book, whose[1], out)
        elif self._expectations.acts_at_once(expected, out.now):
            self.acted(*whose, out)

    def acted(self, number: int, tag: int, out: Sink) -> None:
        """A peer that connects first has agreed by that."""
        session = self._sessions[number]
        self._expectations.act(session.book, tag, out)
        self._counts["peer-acted"] += 1

    def used(self, expectation: int, data: SessionInfo | None, out: Sink) -> Session | None:
        """The kernel admitted one as session `data`. Whose it was."""
        whose = self._expectations.whose(expectation)
        session = self._sessions.get(whose[0]) if whose else None
        if whose is None and expectation >> NAMED:
            if len(self._early) >= EARLY_MOST:
                del self._early[next(iter(self._early))]
                self._counts["used-unexpected"] += 1
            self._early[expectation] = data
            return None
        if whose is None or session is None:
            self._counts["used-unexpected"] += 1
            return None
        if data is not None:
            out.append(Admitted(session.info.session, session.control, whose[1], data))
        known = session.book.expectations[whose[1]]
        self._counts["peer-acted"] += acts_early(known)
        self._expectations.used(session.book, whose[1], out)
        if known.ports:
            ends = f"{known.to}-{known.to.port + known.ports - 1}"
            out.append(Announce(session.info.session, session.control, Event("expectation-used", ends)))
        self._judgement.outcome(session, whose[1], "used", out)
        return session

    def named(self, session: Session, expectation: int, out: Sink) -> None:
        """The line has been read for which the kernel expects something by itself: either that is what the line was
        found to name, and may have come already, or nobody expects it."""
        came = expectation in self._early
        data = self._early.pop(expectation, None)
        if self._expectations.whose(expectation) is None:
            self._counts["named-otherwise"] += 1
            out.append(DeleteExpectation(named_by(expectation, session.info), "withdrawn", "named-otherwise"))
        elif came:
            self.used(expectation, data, out)

    def expired(self, number: int, tag: int, out: Sink) -> Session:
        """None came in time. Whose it was."""
        session = self._sessions[number]
        self._expectations.withdraw(session.book, tag, "expired", "", out)
        self._judgement.outcome(session, tag, "expired", out)
        return session
