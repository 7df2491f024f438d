"""A held segment arrives: is it whole, what does its punt tell, where does it belong, and what is to be judged of it.

The law of this file: it puts bytes into streams and asks for verdicts. What comes of these the caller settles.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from .account import PUNT_BITS
from .corrections import MASK, distance
from .delivery import Delivery
from .effects import DIGEST_MAX, TRACK_UNTOUCHABLE, PutAdjust, Segment
from .flow import Flow
from .frames import (
    BAD,
    FIN,
    GOOD,
    MALFORMED,
    RST,
    URG,
    examined,
    finish_checksum,
    read_header,
    urgent_pointer,
)
from .judgement import Judgement
from .limits import Limits
from .opening import Opening
from .path import PathMtu
from .repetition import Repetition
from .session import Session, Track
from .sink import Sink
from .stream import AHEAD_MAX
from .voice import Voice

JUDGE_ROUNDS: Final = 4
BEHIND_MAX: Final = 1 << 20  # bytes before the next expected one in which a segment is a repetition, not rubbish


class Arrival:
    """Takes the segments of all sessions. Keeps nothing but counts."""

    def __init__(
        self, opening: Opening, judgement: Judgement, delivery: Delivery, repetition: Repetition, voice: Voice,
        track: Track, counts: Counter[str], limits: Limits, arm: Callable[[Session, float], None],
    ) -> None:  # fmt: skip
        """`arm` has a session looked at by a moment."""
        self._opening = opening
        self._judgement = judgement
        self._delivery = delivery
        self._repetition = repetition
        self._voice = voice
        self._track = track
        self._counts = counts
        self._limits = limits
        self._arm = arm

    def take(self, session: Session, segment: Segment, out: Sink) -> Segment | None:
        """Take a segment. If anything remains to be settled: the segment, with its checksum finished."""
        end = segment.payload_offset + segment.payload_size
        state, stamp = examined(segment.frame, segment.ip_offset, segment.payload_offset, end)
        if state == MALFORMED:
            self._counts["malformed"] += 1
            return None
        if state == BAD:
            self._counts["bad-checksum"] += 1
            return None
        if state != GOOD:
            segment = segment.framed(finish_checksum(segment.frame, segment.ip_offset, end))
        return self._take(session, segment, stamp, out)

    def _take(self, session: Session, segment: Segment, stamp: int | None, out: Sink) -> Segment | None:
        if not session.begun:
            self._opening.begin(session)
        flow = session.flows[segment.direction]
        if not flow.started:
            flow.start(segment.seq)
        self._account(session, segment, out)
        self._acknowledged(session, segment)
        path = session.paths[segment.direction]
        news = segment.too_big or not path.settled or segment.mtu not in (0, path.link)
        if news and not self._sized(session, path, segment, out):
            return None
        if session.bypassed:
            self._repetition.bypassed(session, segment, out)
            return None
        if segment.tcp_flags & RST:
            self._delivery.reset_seen(session, segment, out)
            return None
        session.poll = self._limits.poll_first
        if not _quiet(session, flow, segment):
            self._put(session, flow, segment, stamp, out)
        elif self._acceptable(session, flow, segment.payload_size, stamp, flow.stream.next):
            payload = segment.frame[segment.payload_offset : segment.payload_offset + segment.payload_size]
            if self._judgement.lets(session, flow, payload, out):
                self._delivery.pass_whole(session, segment, payload, out)
                due = out.now + self._limits.idle
                if due < session.due:
                    self._arm(session, due)
                return None
            self._judge_back(session, flow, out)
        return segment

    def _sized(self, session: Session, path: PathMtu, segment: Segment, out: Sink) -> bool:
        """Follow what the way out takes. False: the segment is too big, and its sender, who is told, cuts it anew."""
        if path.learn(segment.mtu, out.now):
            self._repetition.smaller(session, segment.direction, out)
        if segment.too_big:
            self._voice.too_big(session, segment, out)
            return not path.listens(segment.seq, out.now)
        if segment.payload_size:
            path.fitted(segment.seq)
        return True

    def _account(self, session: Session, segment: Segment, out: Sink) -> None:
        """Of what passed before a punt; one that others overtook, in another CPU's ring, can't tell it any more."""
        account, word, ts_recent = session.account, segment.lines, segment.ts_recent
        if not account.punted(word, out.now):
            self._counts["punt-overtaken"] += 1
            track = self._track(session.info.session)
            if track is None:
                return
            word, ts_recent = track.lines, track.ts_recent
            if account.unattended is not None:
                account.unattended = None
                out.append(PutAdjust(session.record()))
        if word >> PUNT_BITS != account.word >> PUNT_BITS:
            self._judgement.account(session, word, ts_recent, out)

    @staticmethod
    def _acknowledged(session: Session, segment: Segment) -> None:
        """What both receivers have, by the kernel's word; of what was inserted, by the segment's own."""
        flows, acked = session.flows, segment.acked
        if flows[0].ledger.acknowledge(acked[0]):
            flows[0].finished()
        if flows[1].ledger.acknowledge(acked[1]):
            flows[1].finished()
        back = flows[1 - segment.direction].ledger
        if back.answers:
            back.received(read_header(segment.frame, segment.ip_offset).ack)

    def _put(self, session: Session, flow: Flow, segment: Segment, stamp: int | None, out: Sink) -> None:
        """Put a segment into its stream and have judged what that made complete."""
        stream, size, decided = flow.stream, segment.payload_size, flow.ledger.decided
        offset = distance(segment.seq, stream.next & MASK)
        position = stream.next + offset
        if not -BEHIND_MAX < offset <= AHEAD_MAX:
            self._counts["out-of-window"] += 1
            return
        if offset + size > 0 and not self._acceptable(session, flow, size, stamp, position):
            return
        if segment.tcp_flags & URG:
            flow.urge(position + urgent_pointer(segment.frame, segment.ip_offset))
        start = segment.payload_offset
        fresh = stream.accept(position, segment.frame[start : start + size])
        if segment.tcp_flags & FIN:
            stream.finish(position + size)
        if position < decided or position < flow.ledger.promised or flow.fin_released:
            self._left_alone(session)
            self._repetition.retransmitted(session, segment, position, decided, out)
        complete = fresh or (stream.ended and not flow.fin_released)
        if complete and self._judgement.feed(session, flow, out):
            self._judge_back(session, flow, out)

    def _left_alone(self, session: Session) -> None:
        """What comes again may have passed unjudged while no helper lived: see TRACK_UNTOUCHABLE."""
        track = self._track(session.info.session)
        if track is not None and track.flags & TRACK_UNTOUCHABLE:
            session.give_up()

    def _acceptable(self, session: Session, flow: Flow, size: int, stamp: int | None, position: int) -> bool:
        """New bytes: is there room, and would the receiver take them? RFC 7323 section 5 (PAWS)."""
        if flow.ledger.retained + size > self._limits.retained:
            self._counts["retained-limit"] += 1
            return False
        if session.timestamps and stamp is not None and not flow.recent(stamp, position):
            self._counts["stale-timestamp"] += 1
            return False
        return True

    def _judge_back(self, session: Session, flow: Flow, out: Sink) -> None:
        """A verdict in a direction may be what the other one's undecided bytes wait for, and so on."""
        for _ in range(JUDGE_ROUNDS):
            flow = session.flows[1 - flow.direction]
            if len(flow.stream.pending) == flow.judged or not self._judgement.feed(session, flow, out):
                break


def _quiet(session: Session, flow: Flow, segment: Segment) -> bool:
    """The common case: the segment continues its stream, and nothing waits, is owed or ends in either direction."""
    back = session.flows[1 - flow.direction]
    stream, ledger, answered, size = flow.stream, flow.ledger, back.ledger, segment.payload_size
    return (
        0 < size <= DIGEST_MAX
        and segment.seq == stream.next & MASK
        and not segment.tcp_flags & (FIN | URG)
        and not (stream.pending or stream.later or back.stream.pending or flow.fin_released or session.passing)
        and not (ledger.stored or answered.stored or ledger.answers or answered.answers)
        and stream.fin is None
        and session.mss is not None
        and size <= session.mss[back.direction] - 40
        and not ledger.corrections.items
        and segment.payload_offset - segment.ip_offset + size <= session.paths[segment.direction].mtu
    )
