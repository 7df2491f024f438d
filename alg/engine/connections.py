"""Connections that were expected: their first packets, their admission, and those that never came.

The law of this file: it finds whose an expectation is and tells the conversation what became of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from algate.alg.plugin.model import Event

from .effects import EXPECT_OPEN, Admitted, Announce, Inject, SessionInfo
from .expectations import Expectations
from .frames import finish_checksum, packet_end, readdress
from .judgement import Judgement
from .session import KIND, Session
from .sink import Sink


class Connections:
    """Of all sessions. Keeps nothing but counts."""

    def __init__(
        self, expectations: Expectations, judgement: Judgement, sessions: Mapping[int, Session], counts: Counter[str]
    ) -> None:
        self._expectations = expectations
        self._judgement = judgement
        self._sessions = sessions
        self._counts = counts

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
        if whose is None or session is None:
            self._counts["used-unexpected"] += 1
            return None
        if data is not None:
            out.append(Admitted(session.info.session, session.control, whose[1], data))
        known = session.book.expectations[whose[1]]
        self._expectations.used(session.book, whose[1], out)
        if known.ports:
            ends = f"{known.to}-{known.to.port + known.ports - 1}"
            out.append(Announce(session.info.session, session.control, Event("expectation-used", ends)))
        self._judgement.outcome(session, whose[1], "used", out)
        return session

    def expired(self, number: int, tag: int, out: Sink) -> Session:
        """None came in time. Whose it was."""
        session = self._sessions[number]
        self._expectations.withdraw(session.book, tag, "expired", "", out)
        self._judgement.outcome(session, tag, "expired", out)
        return session
