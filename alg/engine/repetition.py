"""What is sent a second time: for a sender that repeats itself, and for a receiver to whom the gateway owes bytes.

The law of this file: only what was decided before is sent here; nothing is judged, committed or corrected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from .corrections import MASK, distance
from .delivery import Delivery, chunk_limit, ranges
from .effects import DropDecisions, Inject, Segment, TrackView
from .flow import Flow
from .frames import ACK, FIN, URG, build, payload_limit_of, read_header, readdress, tcp_offset
from .ledger import Chunk
from .limits import Limits
from .session import KIND, Session
from .sink import Sink
from .voice import Voice, fits

Decided = Callable[[int, int, int, int], tuple[int, bytes | None] | None]


class Repetition:
    """Answers retransmissions and repeats what is owed."""

    def __init__(
        self, delivery: Delivery, voice: Voice, counts: Counter[str], limits: Limits, decided: Decided
    ) -> None:
        """`decided` looks a decision up by session, direction, sequence number and size: its digest, and the bytes that
        go on instead, None: those that came."""
        self._delivery = delivery
        self._voice = voice
        self._decided = decided
        self._counts = counts
        self._limits = limits

    def retransmitted(self, session: Session, cause: Segment, position: int, decided: int, out: Sink) -> None:
        """A segment brought bytes from before `decided` again: send on what its receiver lacks of them, as decided.

        If the receiver lacks nothing, an old empty segment makes it repeat its acknowledgement.
        """
        flow, direction = session.flows[cause.direction], cause.direction
        ledger = flow.ledger
        end = position + cause.payload_size
        self._counts["retransmitted"] += 1
        if ledger.promised > ledger.decided and position < ledger.promised and end > ledger.decided:
            self._voice.acknowledge(session, direction, out)
        if position < ledger.resumed:
            start = cause.payload_offset
            again = cause.frame[start : start + cause.payload_size]
            ledger.recall(position, again, chunk_limit(session, direction, None))
        if ledger.skipped and position < ledger.skipped[-1][1] and end > ledger.skipped[0][0]:
            self._lines_again(session, cause, position)
        lacking = ledger.overlapping(position, min(end, decided))
        header = read_header(cause.frame, cause.ip_offset)
        for chunk in lacking:
            if chunk.new == b"":
                continue
            whole = fits(
                session, direction, chunk, cause.payload_offset - tcp_offset(cause.frame, cause.ip_offset) - 20
            )
            if whole:
                self._delivery.decide(session, flow, chunk, out)
            if whole and _same(cause, chunk):
                stop = cause.payload_offset + cause.payload_size
                frame = readdress(KIND[direction], cause.frame, cause.ip_offset, stop)
                out.append(Inject(KIND[direction], frame))
            else:
                self._voice.chunk(session, flow, chunk, header, out, push=chunk is lacking[-1])
        if not lacking and position < decided and end <= ledger.acknowledged:
            if end > ledger.heard:  # the receiver never saw what was refused: it can't acknowledge it by itself
                self._voice.acknowledge(session, direction, out)
            else:
                self._voice.empty(direction, header, cause.seq, ACK, out)
        if cause.tcp_flags & FIN and flow.fin_released and not any(c.end == flow.stream.fin for c in lacking):
            self._voice.empty(direction, header, ledger.decided & MASK, ACK | FIN, out)

    def _lines_again(self, session: Session, cause: Segment, position: int) -> None:
        """Lines that passed without the helper come again, cut otherwise: the kernel left a digest of each."""
        direction, number = cause.direction, session.info.session

        def known(start: int, line: bytes) -> tuple[bytes | None] | None:
            found = self._decided(number, direction, start & MASK, len(line))
            same = found is not None and found[0] == self._delivery.digest(line)
            self._counts["line-again" if same else "line-unknown"] += 1
            return (found[1],) if found is not None and same else None

        start = cause.payload_offset
        session.flows[direction].ledger.lines_again(position, cause.frame[start : start + cause.payload_size], known)

    def owed(self, session: Session, track: TrackView, out: Sink) -> str:
        """Repeat what is owed and due in both directions; the reason to reset the session if its time is over."""
        for flow in session.flows:
            ledger = flow.ledger
            if track.ack_sent is not None:
                ledger.received(track.ack_sent[flow.direction])
            if not ledger.resend_at or out.now < ledger.resend_at:
                continue
            chunks = ledger.owed()
            if not chunks and not ledger.answers:
                continue
            certain = bool(chunks) or track.ack_sent is not None
            if certain and out.now - ledger.owed_since >= self._limits.give_up:
                return "receiver-silent"
            if not certain and ledger.resends >= self._limits.answer_resends:
                ledger.write_off()
                self._delivery.store(session, flow, out)
                continue
            self._resend(session, flow, chunks, out)
            ledger.resent(out.now, self._limits.resend_max)
        return ""

    def smaller(self, session: Session, direction: int, out: Sink) -> None:
        """The way of a direction takes less than what may be under way there: send that again in smaller segments.

        Its decisions go: a sender's own repetition would meet them, and leave as large.
        """
        flow = session.flows[direction]
        ledger = flow.ledger
        under_way = ledger.overlapping(ledger.acked, ledger.decided)
        if session.datagrams or session.bypassed or not (under_way or ledger.answers):
            return  # nearly always: this is what the first segment of a session says of its way
        header = self._voice.header(session, direction)
        if header is None:
            return
        options = header.options_size
        large = [c for c in under_way if not fits(session, direction, c, options)]
        done = ranges(flow, large)
        if done:
            out.append(DropDecisions(session.info.session, done))
        for chunk in large:
            self._voice.chunk(session, flow, chunk, header, out)
        for answer in ledger.answers:
            if len(answer.data) + options > session.paths[direction].room:
                self._voice.answer(session, direction, answer, out)

    def bypassed(self, session: Session, cause: Segment, out: Sink) -> None:
        """A segment that was on its way here when the session was bypassed, or repeats bytes from before that."""
        ledger, direction = session.flows[cause.direction].ledger, cause.direction
        old = max(0, distance(ledger.decided & MASK, cause.seq))
        size = cause.payload_size
        end = cause.payload_offset + size
        shape = cause.frame, cause.ip_offset, cause.payload_offset, size
        limit = payload_limit_of(session.mss, 1 - direction, session.paths[direction].room, *shape)
        if not old and size <= limit:
            out.append(Inject(KIND[direction], readdress(KIND[direction], cause.frame, cause.ip_offset, end)))
            return
        header = read_header(cause.frame, cause.ip_offset)
        if old >= size:
            self._voice.empty(direction, header, cause.seq, ACK, out)
        for at in range(old, size, limit):
            payload = cause.frame[cause.payload_offset + at : min(end, cause.payload_offset + at + limit)]
            flags = cause.tcp_flags & ~URG if at + limit >= size else ACK
            frame = build(KIND[direction], header, cause.seq + at, flags, payload)
            out.append(Inject(KIND[direction], frame))

    def _resend(self, session: Session, flow: Flow, chunks: list[Chunk], out: Sink) -> None:
        self._counts["resent"] += 1
        header = self._voice.header(session, flow.direction)
        if header is not None:
            for chunk in chunks:
                self._voice.chunk(session, flow, chunk, header, out)
        for answer in flow.ledger.answers:
            self._voice.answer(session, flow.direction, answer, out)


def _same(cause: Segment, chunk: Chunk) -> bool:
    """The repetition is exactly the chunk: it came before the decision was in place, or the decision is gone."""
    end = cause.payload_offset + cause.payload_size
    return (
        cause.seq == chunk.start & MASK
        and not cause.tcp_flags & FIN
        and cause.frame[cause.payload_offset : end] == chunk.old
    )
