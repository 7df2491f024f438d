"""The pure heart of the helper: punts in, effects out.

The law of this file: no socket, clock, map or log; time comes as an argument, everything that happens goes out as a
list of effects to be carried out in order. This module owns the table of sessions and their timers and says which
thought is whose: reassembly (stream), verdicts (judgement), the wire (delivery, repetition), connections to come
(expectations).
"""

from __future__ import annotations

import heapq
import struct
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from algate.alg.plugin.contract import Call, plainly
from algate.alg.plugin.model import Action, Audience, Event, Pass, Side

from .account import PUNT_BITS
from .corrections import MASK, distance
from .datagrams import Datagrams
from .delivery import FORGET_AT, Delivery
from .effects import (
    ADJUST_LINES,
    EXPECT_OPEN,
    TRACK_SYN_IN,
    TRACK_SYN_OUT,
    AdjustRecord,
    Admitted,
    Announce,
    Effect,
    Expectation,
    Inject,
    PutAdjust,
    ResetSession,
    Segment,
    SessionInfo,
    View,
)
from .ending import Ending
from .expectations import Expectations, PortBroker
from .flow import Flow, SplitError
from .frames import (
    BAD,
    FIN,
    GOOD,
    RST,
    URG,
    checksum_state,
    finish_checksum,
    packet_end,
    read_header,
    readdress,
    tcp_offset,
    timestamps,
    urgent_pointer,
)
from .judgement import Anybody, Judgement, OpenConversation, fault
from .limits import Limits
from .repetition import Decided, Repetition
from .session import KIND, UDP, Session, Track
from .stream import AHEAD_MAX

NEVER = float("inf")
GONE_MAX = 4096
ADOPTED = -1  # tag of what no conversation asked for
JUDGE_ROUNDS = 4
BEHIND_MAX = 1 << 20  # bytes before the next expected one in which a segment is a repetition, not rubbish

Adjust = Callable[[int], AdjustRecord | None]
_UNNUMBERED = AdjustRecord(0, (0, 0), (0, 0), ((), ()))  # what a session of datagrams is restored from


class Engine:
    """All control sessions. Not thread-safe; `counts` says by reason what was ignored or unusual."""

    def __init__(
        self,
        open_conversation: OpenConversation,
        ports: PortBroker,
        track: Track,
        adjust: Adjust,
        secret: int,
        limits: Limits | None = None,
        audience: Audience | None = None,
        anybody: Anybody = lambda control: False,
        decided: Decided = lambda session, direction, seq, size: None,
        call: Call = plainly,
    ) -> None:
        """`track` and `adjust` look the kernel's records up by session; None: there is none (of that session id).

        `anybody` says whether policy lets the session's plug-in expect a connection without naming its peer. `call`
        calls the functions of plug-ins.
        """
        limits = limits or Limits()
        self.counts: Counter[str] = Counter()
        self._limits = limits
        self._audience = audience
        self._track = track
        self._adjust = adjust
        self._sessions: dict[int, Session] = {}
        self._timers: list[tuple[float, int]] = []
        self._gone: dict[int, None] = {}  # sessions forgotten lately: a punt of theirs may still be on its way
        self._expectations = Expectations(ports, limits.expectations_per_session, limits.expectations)
        self._judgement = Judgement(open_conversation, self._expectations, self.counts, limits, anybody, track, call)
        self._delivery = Delivery(secret, track, self.counts, limits, self._judgement.declare_unattended)
        self._repetition = Repetition(self._delivery, self.counts, limits, decided)
        self._ending = Ending(self._delivery, self._repetition, self._expectations, track)
        self._datagrams = Datagrams(self._judgement, self._ending, self.counts)

    def attend(self, everything: bool) -> list[Effect]:
        """From now on every line comes here, or lines of no interest need not."""
        effects: list[Effect] = []
        if self._judgement.classify == (not everything):
            return effects
        self._judgement.classify = not everything
        for session in self._sessions.values():
            if everything and session.account.unattended is not None and not session.bypassed:
                session.account.declare(None)
                effects.append(PutAdjust(session.record()))
        return effects

    def fail_by(self, policy: str) -> None:
        """From now on a session whose plug-in fails is left alone ("bypass") or ended ("reset")."""
        self._judgement.on_failure = policy

    def opened(self, info: SessionInfo, now: float) -> list[Effect]:
        """A control session was made (PUNT_OPENED). A lost one does no harm: the first segment opens it too."""
        effects: list[Effect] = []
        if info.session not in self._sessions:
            self._open(info, None, {}, effects)
        return effects

    def restore(
        self, info: SessionInfo, held: Mapping[int, bytes], now: float, left: Sequence[Expectation] = ()
    ) -> list[Effect]:
        """Take a session over that another helper watched; `held`: by direction what KeepHeld stored; `left`: its
        live expectations."""
        effects: list[Effect] = []
        if info.session in self._sessions:
            return effects
        if info.key.proto == UDP:
            return self._conclude(self._open(info, _UNNUMBERED, {}, effects, left), now, effects)
        session = self._open(info, self._adjust(info.session) or self._first_record(info.session), held, effects, left)
        self._begin(session)
        session.poll = self._limits.poll_first
        for direction, flow in enumerate(session.flows):
            for chunk in flow.ledger.chunks:
                self._delivery.decide(session, direction, chunk, effects)
            if flow.stream.pending:
                self._judgement.feed(session, direction, now, effects)
        return self._conclude(session, now, effects)

    def segment(self, segment: Segment, now: float) -> list[Effect]:
        """A held segment with payload, or a FIN or RST beyond what is decided (PUNT_SEGMENT)."""
        effects: list[Effect] = []
        info = segment.info
        session = self._sessions.get(info.session)
        if session is None:
            if info.session in self._gone:
                self.counts["session-gone"] += 1
                return effects
            session = self._open(info, self._adjust(info.session), {}, effects)
        if session.datagrams:
            self._datagrams.take(session, segment, now, effects)
            return self._conclude(session, now, effects)
        checked = self._checked(segment)
        if checked is None:
            return effects
        if not session.begun:
            self._begin(session)
        flows = session.flows
        flow = flows[checked.direction]
        if not flow.started:
            flow.start(checked.seq)
        self._account(session, checked.lines, now, effects)
        for one, acked in zip(flows, checked.acked, strict=True):
            if one.ledger.acknowledge(acked):
                one.finished()
        self._note_answers(session, checked)
        if session.bypassed:
            self._repetition.bypassed(session, checked, effects)
            return effects
        if checked.tcp_flags & RST:
            self._delivery.reset_seen(session, checked, effects)
            return effects
        session.poll = self._limits.poll_first
        if not session.quiet_for(checked):
            self._take(session, flow, checked, now, effects)
        elif self._acceptable(session, flow, checked, 0):
            payload = checked.frame[checked.payload_offset : checked.payload_offset + checked.payload_size]
            actions = self._judgement.ask(session, checked.direction, payload, False, now, effects)
            if _lets_all(actions, len(payload)) and not session.passing:
                for event in actions[:-1]:
                    effects.append(Announce(info.session, session.control, event))  # type: ignore[arg-type]
                self._delivery.pass_whole(session, checked, payload, effects)
                self._arm(session, now + self._limits.idle)
                return effects
            flow.stream.accept(flow.stream.next, payload)
            self._judgement.perform(session, flow, actions, now, effects)
            self._judge_back(session, checked.direction, now, effects)
        return self._conclude(session, now, effects, checked)

    def data_syn(self, expectation: int, direction: int, frame: bytes, ip_offset: int, now: float) -> list[Effect]:
        """The first packet of a connection whose expectation is pending (PUNT_DATA_SYN): held until Open."""
        whose = self._expectations.whose(expectation)
        session = self._sessions.get(whose[0]) if whose else None
        if whose is None or session is None:
            self.counts["data-syn-unexpected"] += 1
            return []
        kind = KIND[direction]
        finished = finish_checksum(frame, ip_offset, packet_end(frame, ip_offset))
        packet = Inject(kind, readdress(kind, finished, ip_offset, len(finished)))
        if not self._expectations.hold(expectation, packet, now):
            self.counts["data-syn-no-room"] += 1
            return []
        effects: list[Effect] = []
        if session.book.expectations[whose[1]].state == EXPECT_OPEN:
            self._expectations.open(session.book, whose[1], effects)
        return effects

    def expectation_used(self, expectation: int, now: float, data: SessionInfo | None = None) -> list[Effect]:
        """The kernel admitted the connection (PUNT_EXPECT_USED) as session `data`."""
        effects: list[Effect] = []
        whose = self._expectations.whose(expectation)
        session = self._sessions.get(whose[0]) if whose else None
        if whose is None or session is None:
            self.counts["used-unexpected"] += 1
            return effects
        if data is not None:
            effects.append(Admitted(session.info.session, session.control, whose[1], data))
        known = session.book.expectations[whose[1]]
        self._expectations.used(session.book, whose[1], effects)
        if known.ports:
            ends = f"{known.to}-{known.to.port + known.ports - 1}"
            effects.append(Announce(session.info.session, session.control, Event("expectation-used", ends)))
        self._judgement.outcome(session, whose[1], "used", now, effects)
        return self._conclude(session, now, effects)

    def adopt(self, known: Expectation) -> bool:
        """A range of ports that an earlier helper opened for a session that was restored. False: no such session."""
        session = self._sessions.get(known.session)
        if session is not None:
            self._expectations.adopt(session.book, ADOPTED, known)
        return session is not None

    def ranged(self) -> set[int]:
        """Sessions for which a range of ports is open."""
        return self._expectations.ranged()

    def ended(self, number: int, now: float) -> list[Effect]:
        """The kernel's session is gone: withdraw everything and forget it."""
        effects: list[Effect] = []
        session = self._sessions.get(number)
        if session is not None:
            self._ending.clear(session, "control-ended", effects)
            self._remove(session)
        return effects

    def kill(self, number: int, now: float) -> list[Effect]:
        """An operator ends it: RST to both ends, then as in `ended`."""
        session = self._sessions.get(number)
        if session is None:
            return []
        session.reset = "killed"
        return self._conclude(session, now, [])

    def tick(self, now: float) -> list[Effect]:
        """Expiries and repetitions that are due. Call it about every 50 ms, or when next_due() says."""
        effects: list[Effect] = []
        for number, tag in self._expectations.acted(now):
            self._expectations.open(self._sessions[number].book, tag, effects)
            self.counts["peer-acted"] += 1
        for number, tag in self._expectations.due(now):
            try:
                self._expired(self._sessions[number], tag, now, effects)
            except Exception as error:  # our own fault is one session's alone
                effects += self.faulted(number, error, now)
        while self._timers and self._timers[0][0] <= now:
            due, number = heapq.heappop(self._timers)
            late = self._sessions.get(number)
            if late is not None and late.due == due:
                try:
                    self._look(late, now, effects)
                except Exception as error:  # as above
                    effects += self.faulted(number, error, now)
        return effects

    def faulted(self, number: int, error: Exception, now: float) -> list[Effect]:
        """The engine itself failed on something of this session: say so, and go on as if its plug-in had failed."""
        effects: list[Effect] = []
        session = self._sessions.get(number)
        if session is None:
            told = fault(number, None, error)
            self.counts[told.event.reason] += 1
            return [told]
        self._judgement.failed(session, error, effects)
        try:
            return self._conclude(session, now, effects)
        except Exception:  # what is broken can't be settled either
            self._remove(session)
            return [*effects, ResetSession(number, session.info.key, session.reset or "engine-failed")]

    def next_due(self) -> float:
        """When tick() has something to do, on the clock of `now`; may be early."""
        return min(self._timers[0][0] if self._timers else NEVER, self._expectations.next_due())

    def view(self, number: int) -> View | None:
        """For `explain`: how far the dialogue has come, as far as the plug-in says."""
        session = self._sessions.get(number)
        if session is None:
            return None
        progress = self._judgement.progress(session)
        waiting = [len(flow.stream.pending) for flow in session.flows]
        client = 0 if session.side(0) is Side.CLIENT else 1
        over = session.bypassed or session.passing
        return View(progress.phase, progress.unanswered, over, (waiting[client], waiting[1 - client]))

    def __contains__(self, number: int) -> bool:
        """Whether it knows a session."""
        return number in self._sessions

    def sessions(self) -> list[int]:
        """The sessions known."""
        return list(self._sessions)

    def memory(self, number: int) -> int:
        """Bytes that a session costs, 0 if unknown."""
        session = self._sessions.get(number)
        return session.memory() if session else 0

    def _open(
        self,
        info: SessionInfo,
        record: AdjustRecord | None,
        stored: Mapping[int, bytes],
        effects: list[Effect],
        left: Sequence[Expectation] = (),
    ) -> Session:
        session = Session(info, self._audience)
        session.inherit(self._expectations, left)
        self._sessions[info.session] = session
        if record is not None:
            try:
                session.restore(record, stored)
            except struct.error:
                self.counts["held-broken"] += 1
            # An earlier helper's statement, by its policy and for its listeners, ends with it.
            if record.flags & ADJUST_LINES:
                effects.append(PutAdjust(record._replace(flags=0, interest=0)))
            track = self._track(info.session) if record.lines else None
            if track is not None:
                session.catch_up(track.lines)
        if not session.bypassed:
            self._judgement.begin(session, effects)
        return session

    def _first_record(self, number: int) -> AdjustRecord | None:
        """What the adjust record would say before anything was decided."""
        track = self._track(number)
        both = TRACK_SYN_OUT | TRACK_SYN_IN
        if track is None or track.flags & both != both:
            return None
        first = ((track.isn[0] + 1) & MASK, (track.isn[1] + 1) & MASK)
        return AdjustRecord(number, first, (0, 0), ((), ()))

    def _begin(self, session: Session) -> None:
        session.begin(self._track(session.info.session))
        if not (session.flows[0].started and session.flows[1].started):
            self.counts["midstream"] += 1

    def _checked(self, segment: Segment) -> Segment | None:
        """The segment with its checksum verified and, if a sender left it to hardware, finished."""
        frame, ip, start = segment.frame, segment.ip_offset, segment.payload_offset
        end = start + segment.payload_size
        tcp = tcp_offset(frame, ip) if start <= end <= len(frame) and ip + 40 <= start else end
        if tcp + 20 > start or tcp + (frame[tcp + 12] >> 4) * 4 != start or frame[ip] >> 4 not in (4, 6):
            self.counts["malformed"] += 1
            return None
        state = checksum_state(frame, ip, tcp, end)
        if state == GOOD:
            return segment
        if state == BAD:
            self.counts["bad-checksum"] += 1
            return None
        return segment._replace(frame=finish_checksum(frame, ip, end))

    def _account(self, session: Session, word: int, now: float, effects: list[Effect]) -> None:
        """Of what passed before a punt; one that others overtook, in another CPU's ring, can't tell it any more."""
        account = session.account
        if not account.punted(word, now):
            self.counts["punt-overtaken"] += 1
            track = self._track(session.info.session)
            if track is None:
                return
            word = track.lines
            if account.unattended is not None:
                account.declare(None)
                effects.append(PutAdjust(session.record()))
        if word >> PUNT_BITS != account.word >> PUNT_BITS:
            self._judgement.account(session, word, effects)

    @staticmethod
    def _note_answers(session: Session, segment: Segment) -> None:
        flow = session.flows[1 - segment.direction]
        if flow.ledger.answers:
            flow.ledger.received(read_header(segment.frame, segment.ip_offset).ack)

    def _take(self, session: Session, flow: Flow, segment: Segment, now: float, effects: list[Effect]) -> None:
        """Put a segment into its stream and have judged what that made complete."""
        stream, size, decided = flow.stream, segment.payload_size, flow.ledger.decided
        offset = distance(segment.seq, stream.next & MASK)
        position = stream.next + offset
        if not -BEHIND_MAX < offset <= AHEAD_MAX:
            self.counts["out-of-window"] += 1
            return
        if offset + size > 0 and not self._acceptable(session, flow, segment, offset):
            return
        if segment.tcp_flags & URG:
            flow.urge(position + urgent_pointer(segment.frame, segment.ip_offset))
        start = segment.payload_offset
        fresh = stream.accept(position, segment.frame[start : start + size])
        if segment.tcp_flags & FIN:
            stream.finish(position + size)
        if position < decided or position < flow.ledger.promised or flow.fin_released:
            self._repetition.retransmitted(session, segment, position, decided, effects)
        complete = fresh or (stream.ended and not flow.fin_released)
        if complete and self._judgement.feed(session, segment.direction, now, effects):
            self._judge_back(session, segment.direction, now, effects)

    def _acceptable(self, session: Session, flow: Flow, segment: Segment, offset: int) -> bool:
        """New bytes: is there room, and would the receiver take them? RFC 7323 section 5 (PAWS)."""
        if flow.ledger.retained + segment.payload_size > self._limits.retained:
            self.counts["retained-limit"] += 1
            return False
        if session.timestamps:
            stamps = timestamps(segment.frame, tcp_offset(segment.frame, segment.ip_offset))
            if stamps is not None:
                if flow.ts_recent is not None and distance(stamps[0], flow.ts_recent) < 0:
                    self.counts["stale-timestamp"] += 1
                    return False
                if offset <= 0:
                    flow.stamp(stamps[0])
        return True

    def _judge_back(self, session: Session, direction: int, now: float, effects: list[Effect]) -> None:
        """A verdict in a direction may be what the other one's undecided bytes wait for, and so on."""
        for _ in range(JUDGE_ROUNDS):
            direction = 1 - direction
            flow = session.flows[direction]
            if len(flow.stream.pending) == flow.judged or not self._judgement.feed(session, direction, now, effects):
                break

    def _conclude(
        self, session: Session, now: float, effects: list[Effect], cause: Segment | None = None
    ) -> list[Effect]:
        """Carry out what was judged, end the session if that was said, and set its timer."""
        if session.datagrams:
            if self._datagrams.conclude(session, effects):
                self._remove(session)
            return effects
        try:
            if not session.reset:
                self._delivery.settle(session, effects, cause)
        except SplitError:
            session.reset = "replacement-too-large"
        if session.reset:
            track = self._track(session.info.session)
            if track is not None:
                self._judgement.account(session, track.lines, effects)
            self._ending.reset(session, effects)
            self._remove(session)
            return effects
        for direction, flow in enumerate(session.flows):
            if len(flow.ledger.chunks) >= FORGET_AT:
                self._delivery.forget(session, direction, effects)
            if flow.ledger.stored and not flow.ledger.indebted:
                self._delivery.store(session, direction, effects)
        if session.passing and not session.bypassed:
            self._ending.bypass(session, effects)
        if not session.bypassed:
            self._arm(session, self._repetition.arm(session, now))
        return effects

    def _arm(self, session: Session, due: float) -> None:
        """Look at the session at `due`, if nothing brings that about earlier."""
        if due < session.due:
            session.due = due
            heapq.heappush(self._timers, (due, session.info.session))

    def _expired(self, session: Session, tag: int, now: float, effects: list[Effect]) -> None:
        self._expectations.withdraw(session.book, tag, "expired", "", effects)
        self._judgement.outcome(session, tag, "expired", now, effects)
        self._conclude(session, now, effects)

    def _look(self, session: Session, now: float, effects: list[Effect]) -> None:
        """A session's timer: learn what was acknowledged, repeat what is owed, retry what was blocked."""
        session.due = NEVER
        track = self._track(session.info.session)
        if track is None:
            self.counts["no-track"] += 1
            return
        session.poll = min(2 * session.poll, self._limits.poll_max)
        self._judgement.account(session, track.lines, effects)
        for direction, flow in enumerate(session.flows):
            if flow.ledger.acknowledge(track.acked[direction]):
                flow.finished()
            self._delivery.forget(session, direction, effects)
        session.reset = session.reset or self._repetition.owed(session, now, track, effects)
        self._conclude(session, now, effects)

    def _remove(self, session: Session) -> None:
        number = session.info.session
        del self._sessions[number]
        self._gone[number] = None
        if len(self._gone) > GONE_MAX:
            del self._gone[next(iter(self._gone))]


def _lets_all(actions: Sequence[Action], size: int) -> bool:
    """Whether a conversation lets all of `size` bytes pass and says nothing else but events."""
    return (
        len(actions) > 0
        and actions[-1] == Pass(size)
        and (len(actions) == 1 or all(type(action) is Event for action in actions[:-1]))
    )
