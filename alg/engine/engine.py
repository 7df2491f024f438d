"""The pure heart of the helper: punts in, effects out.

The law of this file: no socket, clock, map or log; time comes as an argument, everything that happens goes out as a
list of effects to be carried out in order. This module owns the table of sessions and their timers and says which
thought is whose: segments that come (arrival), verdicts (judgement), the wire (delivery, repetition), connections to
come (expectations), how a session begins and ends (opening, ending).
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from algate.alg.plugin.contract import NEVER, Call, plainly
from algate.alg.plugin.model import Audience

from .account import COPIED, PUNTS
from .arrival import Arrival
from .connections import Connections
from .copies import LATE_MOST, Copies
from .datagrams import Datagrams
from .delivery import Delivery
from .effects import Effect, Expectation, PutAdjust, ResetSession, Segment, SessionInfo, View
from .ending import Ending
from .expectations import LOOKS_MOST, Expectations, PortBroker, Reservation
from .flow import SplitError
from .judgement import Anybody, Judgement, OpenConversation, fault
from .limits import Limits
from .opening import Adjust, Opening
from .repetition import Decided, Repetition
from .session import Session, Track
from .sink import Sink
from .voice import Voice

GONE_MAX: Final = 4096
ADOPTED: Final = -1  # tag of what no conversation asked for


class Engine:
    """All control sessions. Not thread-safe; `counts` says by reason what was ignored or unusual."""

    def __init__(
        self, open_conversation: OpenConversation, ports: PortBroker, track: Track, adjust: Adjust, secret: int,
        limits: Limits | None = None, audience: Audience | None = None, anybody: Anybody = lambda control: False,
        decided: Decided = lambda session, direction, seq, size: None,
        call: Call = plainly,
    ) -> None:  # fmt: skip
        """`track` and `adjust` look the kernel's records up by session; None: there is none (of that session id).

        `anybody` says whether policy lets the session's plug-in expect a connection without naming its peer. `call`
        calls the functions of plug-ins.
        """
        limits = limits or Limits()
        counts = self.counts = Counter[str]()
        self._limits = limits
        self._track = track
        self._sessions: dict[int, Session] = {}
        self._timers: list[tuple[float, int]] = []
        self._gone: dict[int, None] = {}  # sessions forgotten lately: a punt of theirs may still be on its way
        book = self._expectations = Expectations(ports, limits.expectations_per_session, limits.expectations)
        judgement = self._judgement = Judgement(open_conversation, book, counts, limits, anybody, track, call)
        voice = Voice(track, counts)
        delivery = self._delivery = Delivery(secret, track, counts, limits, voice, judgement.declare_unattended)
        repetition = self._repetition = Repetition(delivery, voice, counts, limits, decided)
        self._ending = Ending(delivery, voice, book)
        self._datagrams = Datagrams(judgement, self._ending, voice, counts)
        self._connections = Connections(book, judgement, self._sessions, counts)
        opening = self._opening = Opening(
            judgement, delivery, book, self._sessions, track, adjust, counts, limits, audience, voice
        )
        self._copies = Copies(judgement, delivery, track, counts)
        self._arrival = Arrival(opening, judgement, delivery, repetition, voice, track, counts, limits, self._arm)

    def attend(self, everything: bool) -> list[Effect]:
        """From now on every line comes here, or lines of no interest need not."""
        effects: list[Effect] = []
        if self._judgement.classify == (not everything):
            return effects
        self._judgement.classify = not everything
        for session in self._sessions.values():
            if everything and session.account.unattended is not None and not session.bypassed:
                session.account.unattended = None
                effects.append(PutAdjust(session.record()))
        return effects

    def stated(self) -> None:
        """From now on the kernel may have said already what of a new session's first lines may pass."""
        self._judgement.stated = True

    def fail_by(self, policy: str) -> None:
        """From now on a session whose plug-in fails is left alone ("bypass") or ended ("reset")."""
        self._judgement.on_failure = policy

    def opened(self, info: SessionInfo, now: float) -> list[Effect]:
        """A control session was made (PUNT_OPENED). A lost one does no harm: the first segment opens it too."""
        out = Sink(now)
        if info.session not in self._sessions:
            self._opening.new(info, out)
        return out.effects

    def restore(
        self, info: SessionInfo, held: Mapping[int, bytes], now: float, left: Sequence[Expectation] = ()
    ) -> list[Effect]:
        """Take a session over from another helper: what KeepHeld stored by direction, and its live expectations."""
        out = Sink(now)
        if info.session in self._sessions:
            return out.effects
        return self._conclude(self._opening.left(info, held, left, out), out)

    def segment(self, segment: Segment, now: float) -> list[Effect]:
        """A held segment with payload, or a FIN or RST beyond what is decided (PUNT_SEGMENT)."""
        out = Sink(now)
        info = segment.info
        session = self._sessions.get(info.session)
        if session is None:
            if info.session in self._gone:
                self.counts["session-gone"] += 1
                return out.effects
            session = self._opening.found(info, out)
        if session.datagrams:
            self._datagrams.take(session, segment, out)
            return self._conclude(session, out)
        word = session.account.word
        if segment.lines - word & PUNTS != 1 or (segment.lines ^ word) & COPIED or segment.copied or session.late:
            return self._in_order(session, segment, out)
        cause = self._arrival.take(session, segment, out)
        return out.effects if cause is None else self._conclude(session, out, cause)

    def defer(self, copy: Segment, now: float) -> bool:
        """Keep the copy of a line that passed for `caught_up`, which costs less for several than `segment` for each.
        Whatever else comes of the session is judged behind it. False: the session isn't known, or not by lines."""
        session = self._sessions.get(copy.info.session)
        if session is None or session.datagrams:
            return False
        self._copies.wait(session, copy, now)
        return True

    def caught_up(self, number: int, now: float) -> list[Effect]:
        """Judge what was deferred of a session."""
        out, session = Sink(now), self._sessions.get(number)
        if session is not None and session.late:
            if not session.begun:
                self._opening.begin(session)
            self._catch_up(session, out)
        return out.effects

    def _in_order(self, session: Session, segment: Segment, out: Sink) -> list[Effect]:
        """Judge it and what waits, as far as no copy that the kernel sent before is missing."""
        if not session.begun:
            self._opening.begin(session)
        self._copies.wait(session, segment, out.now)
        self._catch_up(session, out)
        return out.effects

    def _catch_up(self, session: Session, out: Sink) -> None:
        number = session.info.session
        while number in self._sessions and (one := self._copies.next(session)) is not None:
            cause: Segment | None = None
            if one.copied:
                self._copies.judge(session, one, out)
                if one.expectation:
                    self._connections.named(session, one.expectation, out)
                if not session.reset and session.passing == session.bypassed:
                    continue
            else:
                cause = self._arrival.take(session, one, out)
                if cause is None:
                    continue
            self._conclude(session, out, cause)
        if session.late:
            self._arm(session, session.late[0][0] + LATE_MOST)

    def narrowed(self, number: int, direction: int, mtu: int, now: float, given: int = 0) -> list[Effect]:
        """Less fits a way than was thought: what was made for it found no way out (PUNT_UNSENT; `mtu` 0: none),
        or a router on it said so of a packet of `given` bytes (PUNT_PATH; `mtu` 0: not what it takes)."""
        out, session = Sink(now), self._sessions.get(number)
        self.counts["path-told" if given else "unsent-too-big" if mtu else "unsent"] += 1
        if session is not None and session.paths[direction].learn(mtu, now, given):
            self._repetition.smaller(session, direction, out)
        return out.effects

    def data_syn(self, expectation: int, direction: int, frame: bytes, ip_offset: int, now: float) -> list[Effect]:
        """The first packet of a connection whose expectation is pending (PUNT_DATA_SYN): held until Open."""
        out = Sink(now)
        self._connections.first_packet(expectation, direction, frame, ip_offset, out)
        return out.effects

    def expecting(self, expectation: int) -> int:
        """The session whose expectation it is; 0: nobody's."""
        whose = self._expectations.whose(expectation)
        return whose[0] if whose is not None else 0

    def expectation_used(self, expectation: int, now: float, data: SessionInfo | None = None) -> list[Effect]:
        """The kernel admitted the connection (PUNT_EXPECT_USED) as session `data`."""
        out = Sink(now)
        session = self._connections.used(expectation, data, out)
        return out.effects if session is None else self._conclude(session, out)

    def adopt(self, known: Expectation) -> bool:
        """A range of ports that an earlier helper opened for a session that was restored. False: no such session."""
        session = self._sessions.get(known.session)
        if session is not None:
            self._expectations.adopt(session.book, ADOPTED, known)
        return session is not None

    def ranged(self) -> set[int]:
        """Sessions for which a range of ports is open."""
        return self._expectations.ranged()

    def over(self, number: int, now: float) -> list[Effect]:
        """Both ends have closed it, or one has reset it: nothing more is expected for it, and its ports are free. Its
        streams stay as long as the kernel's session, since the last segments may come again."""
        out, session = Sink(now), self._sessions.get(number)
        if session is not None and (session.book.expectations or session.book.reservations):
            self._expectations.withdraw_all(session.book, "control-ended", out)
        return out.effects

    def ended(self, number: int, now: float) -> list[Effect]:
        """The kernel's session is gone: withdraw everything and forget it."""
        out, session = Sink(now), self._sessions.get(number)
        if session is not None:
            self._ending.clear(session, "control-ended", out)
            self._remove(session)
        return out.effects

    def kill(self, number: int, now: float, reason: str = "killed") -> list[Effect]:
        """It ends by no end's will, but an operator's: RST to both ends, then as in `ended`."""
        session = self._sessions.get(number)
        if session is None:
            return []
        session.reset = reason
        return self._conclude(session, Sink(now))

    def tick(self, now: float) -> list[Effect]:
        """Expiries and repetitions that are due, some of them: call it when next_due() says, and again if that has
        passed already. Whoever waits for one waits for this call."""
        out = Sink(now)
        for number, tag in self._expectations.acted(now):
            try:
                self._connections.acted(number, tag, out)
            except Exception as error:  # our own fault is one session's alone
                out.extend(self.faulted(number, error, now))
        for number, tag in self._expectations.due(now):
            try:
                self._conclude(self._connections.expired(number, tag, out), out)
            except Exception as error:  # as above
                out.extend(self.faulted(number, error, now))
        for _ in range(LOOKS_MOST):
            if not self._timers or self._timers[0][0] > now:
                break
            due, number = heapq.heappop(self._timers)
            late = self._sessions.get(number)
            if late is not None and late.due == due:
                try:
                    self._look(late, out)
                except Exception as error:  # as above
                    out.extend(self.faulted(number, error, now))
        return out.effects

    def faulted(self, number: int, error: Exception, now: float) -> list[Effect]:
        """The engine itself failed on something of this session: say so, and go on as if its plug-in had failed."""
        out, session = Sink(now), self._sessions.get(number)
        if session is None:
            told = fault(number, None, error)
            self.counts[told.event.reason] += 1
            return [told]
        self._judgement.failed(session, error, out)
        try:
            return self._conclude(session, out)
        except Exception:  # what is broken can't be settled either
            self._remove(session)
            return [*out.effects, ResetSession(number, session.info.key, session.reset or "engine-failed")]

    def next_due(self) -> float:
        """When tick() has something to do, on the clock of `now`; may be early."""
        return min(self._timers[0][0] if self._timers else NEVER, self._expectations.next_due())

    def view(self, number: int) -> View | None:
        """For `explain`: how far the dialogue has come, as far as the plug-in says."""
        session = self._sessions.get(number)
        return session.view(self._judgement.progress(session)) if session is not None else None

    def waits(self, number: int, direction: int) -> bool:
        """Whether bytes of a direction came and haven't left: without a verdict, or with one not carried out."""
        session = self._sessions.get(number)
        return session is not None and bool(session.flows[direction].stream.pending)

    def __contains__(self, number: int) -> bool:
        """Whether it knows a session."""
        return number in self._sessions

    def sessions(self) -> list[int]:
        """The sessions known."""
        return list(self._sessions)

    def expected(self) -> int:
        """How many connections may come for all sessions together."""
        return len(self._expectations)

    def reservations(self) -> list[Reservation]:
        """The public ports that sessions have reserved."""
        return [one for session in self._sessions.values() for one in session.book.reservations.values()]

    def memory(self, number: int) -> int:
        """Bytes that a session costs, 0 if unknown."""
        session = self._sessions.get(number)
        return session.memory() if session else 0

    def _conclude(self, session: Session, out: Sink, cause: Segment | None = None) -> list[Effect]:
        """Carry out what was judged, end the session if that was said, and set its timer."""
        if session.datagrams:
            if self._datagrams.conclude(session, out):
                self._remove(session)
            return out.effects
        waits = any(len(flow.stream.pending) > flow.judged for flow in session.flows)
        deadline = self._judgement.deadline(session, out) if waits else NEVER
        try:
            if not session.reset:
                self._delivery.settle(session, out, cause)
        except SplitError:
            session.reset = "replacement-too-large"
        if session.reset:
            track = self._track(session.info.session)
            if track is not None:
                session.catch_up(track.lines, whatever=True)
            self._ending.reset(session, out)
            self._remove(session)
            return out.effects
        if session.passing and not session.bypassed:
            self._ending.bypass(session, out)
        if not session.bypassed:
            self._arm(session, min(deadline, self._due(session, out.now)))
        return out.effects

    def _due(self, session: Session, now: float) -> float:
        """When the session wants to be looked at again; NEVER: not at all."""
        due = NEVER
        for flow in session.flows:
            ledger = flow.ledger
            if ledger.answers or ledger.promised > ledger.acked or ledger.resend_at:
                due = min(due, ledger.due(now, self._limits.resend_first))
            if flow.spans or (flow.stream.pending and ledger.promised < flow.stream.next):
                due = min(due, now + session.poll)
            elif ledger.chunks or ledger.stored:
                due = min(due, now + self._limits.idle)
        return min(due, now + session.poll) if session.passing else due

    def _arm(self, session: Session, due: float) -> None:
        """Look at the session at `due`, if nothing brings that about earlier."""
        if due < session.due:
            session.due = due
            heapq.heappush(self._timers, (due, session.info.session))

    def _look(self, session: Session, out: Sink) -> None:
        """A session's timer: learn what was acknowledged, repeat what is owed, retry what was blocked."""
        session.due = NEVER
        if self._copies.overdue(session, out.now):
            self._copies.give_up(session, out)
            self._catch_up(session, out)
            if session.info.session not in self._sessions:
                return
        elif session.late:
            self._arm(session, session.late[0][0] + LATE_MOST)
        track = self._track(session.info.session)
        if track is None:
            self.counts["no-track"] += 1
            return
        session.poll = min(2 * session.poll, self._limits.poll_max)
        self._judgement.account(session, track.lines, track.ts_recent, out)
        for direction, flow in enumerate(session.flows):
            if flow.ledger.acknowledge(track.acked[direction]):
                flow.finished()
            self._delivery.forget(session, flow, out)
        if self._judgement.deadline(session, out) <= out.now:
            for flow in session.flows:
                self._judgement.feed(session, flow, out)
        session.reset = session.reset or self._repetition.owed(session, track, out)
        self._conclude(session, out)

    def _remove(self, session: Session) -> None:
        number = session.info.session
        del self._sessions[number]
        self._gone[number] = None
        if len(self._gone) > GONE_MAX:
            del self._gone[next(iter(self._gone))]
