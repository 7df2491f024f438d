"""From verdicts to the wire: chunks, their decisions, and what a restart must know of them.

The law of this file: it commits what flows have judged and writes the effects that carry it out, in the order that
makes it safe: what is owed is stored, then the adjust record, then decisions, then frames. It never calls a plug-in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from . import held
from .corrections import MASK, distance
from .digest import digest, replacement
from .effects import (
    DIGEST_MAX,
    HELD_MAX,
    TRACK_FIN_OUT,
    VERDICT_PASS,
    VERDICT_REPLACE,
    DropDecisions,
    DropHeld,
    Inject,
    KeepHeld,
    PutAdjust,
    PutDecision,
    Segment,
)
from .flow import Flow
from .frames import ACK, FIN, OWN_OPTIONS, RST, payload_limit, payload_limit_of, read_header, readdress
from .ledger import Answer, Chunk
from .limits import Limits
from .session import KIND, Session, Track
from .sink import Sink
from .voice import Voice

FORGET_AT: Final = 8  # chunks kept before acknowledged ones are looked for


class Fresh:
    """What one round decided in a direction."""

    __slots__ = ("chunks", "fin")

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self.fin = False


class Delivery:
    """Writes effects for sessions. Keeps nothing but configuration and counts."""

    def __init__(
        self, secret: int, track: Track, counts: Counter[str], limits: Limits, voice: Voice,
        declare_unattended: Callable[[Session, Sink], None],
    ) -> None:  # fmt: skip
        """`declare_unattended` is asked before an adjust record is written."""
        self._declare_unattended = declare_unattended
        self._secret = secret
        self._track = track
        self._counts = counts
        self._limits = limits
        self._voice = voice

    def settle(self, session: Session, out: Sink, cause: Segment | None = None) -> None:
        """Commit whatever has a verdict and send it; acknowledge what must wait. `cause`: the segment that came."""
        flows, fresh, published = session.flows, (Fresh(), Fresh()), False
        answers: list[tuple[int, Answer]] = []
        for flow in flows:
            # Under a folded shift a repeated replacement would reach too far: its decision goes first.
            if flow.ledger.corrections.items and flow.ledger.folds():
                self.forget(session, flow, out)
                flow.ledger.fold()
        while self._commit(session, fresh, answers, cause):
            pass
        if fresh[0].chunks or fresh[0].fin or fresh[1].chunks or fresh[1].fin:
            published = True
            self._publish(session, fresh, out)
            for flow in flows:
                self._send(session, flow, fresh[flow.direction], cause, out)
            for direction, answer in answers:
                self._voice.answer(session, direction, answer, out)
            for flow in flows:
                if not any(to == 1 - flow.direction for to, _ in answers):
                    self._acknowledge_refused(session, flow, fresh[flow.direction], out)
        for flow in flows:
            if flow.stream.pending:
                self._promise(session, flow, out)
        for flow in flows:
            if len(flow.ledger.chunks) >= FORGET_AT:
                self.forget(session, flow, out)
            if flow.ledger.stored and not published and not flow.ledger.indebted:
                self.store(session, flow, out)

    def pass_whole(self, session: Session, cause: Segment, payload: bytes, out: Sink) -> None:
        """The common case of settle(): the segment that came passes as it is."""
        flow = session.flows[cause.direction]
        chunk = flow.let(payload)
        self._declare_unattended(session, out)
        out.append(PutAdjust(session.record()))
        self.decide(session, flow, chunk, out)
        kind = KIND[flow.direction]
        end = cause.payload_offset + cause.payload_size
        out.append(Inject(kind, readdress(kind, cause.frame, cause.ip_offset, end)))
        if len(flow.ledger.chunks) >= FORGET_AT:
            self.forget(session, flow, out)

    def decide(self, session: Session, flow: Flow, chunk: Chunk, out: Sink) -> None:
        """The decision of a chunk. What is refused gets none: each repetition comes here to be acknowledged."""
        old, new = chunk.old, chunk.new
        if new == b"":
            return
        number, direction, seq, size = session.info.session, flow.direction, chunk.start & MASK, len(old)
        if new is None:
            out.append(PutDecision(number, direction, seq, size, VERDICT_PASS, digest(self._secret, old), None, 0))
        else:
            proof, change = replacement(self._secret, old, new)
            out.append(PutDecision(number, direction, seq, size, VERDICT_REPLACE, proof, new, change))

    def digest(self, data: bytes) -> int:
        """As the kernel reckons it."""
        return digest(self._secret, data)

    def forget(self, session: Session, flow: Flow, out: Sink) -> None:
        """Drop the decisions of what the receiver has acknowledged."""
        done = ranges(flow, flow.ledger.release())
        if done:
            out.append(DropDecisions(session.info.session, done))

    def store(self, session: Session, flow: Flow, out: Sink) -> None:
        """Make what is stored equal to what is owed."""
        stored = flow.ledger.stored
        chunks = flow.ledger.log()
        if chunks is None:
            if stored:
                out.append(DropHeld(session.info.session, flow.direction))
            return
        data = held.pack(flow, chunks)
        if len(data) > HELD_MAX:
            self._counts["held-limit"] += 1
        else:
            out.append(KeepHeld(session.info.session, flow.direction, data))

    def reset_seen(self, session: Session, cause: Segment, out: Sink) -> None:
        """A RST beyond what is decided. If it follows all that came, it goes on at the decided end: RFC 5961 section 3
        wants the very number that the receiver expects, behind the FIN if that went on. Elsewhere the sender's next RST
        will tell."""
        flow = session.flows[cause.direction]
        behind = distance(cause.seq, flow.stream.next & MASK)
        fin_left = flow.fin_released or self._fin_passed(session, flow)
        if behind != 0 and not (behind == 1 and (fin_left or flow.stream.ended)):
            self._counts["rst-out-of-window"] += 1
            return
        flow.drop_undecided()
        self.store(session, flow, out)
        header = read_header(cause.frame, cause.ip_offset)
        at = flow.ledger.decided + (behind if fin_left else 0)
        self._voice.empty(flow.direction, header, at & MASK, RST | cause.tcp_flags & ACK, out)

    def _fin_passed(self, session: Session, flow: Flow) -> bool:
        """The kernel let the FIN go on by itself."""
        track = self._track(session.info.session)
        return track is not None and bool(track.flags & (TRACK_FIN_OUT << flow.direction))

    def _commit(
        self, session: Session, fresh: tuple[Fresh, Fresh], answers: list[tuple[int, Answer]], cause: Segment | None
    ) -> bool:
        """One round over both directions. True if anything moved, which may free what waits for it."""
        progress = False
        for flow in session.flows:
            made = fresh[flow.direction]
            if flow.spans:
                chunks = flow.commit(chunk_limit(session, flow.direction, cause))
                made.chunks += chunks
                progress |= bool(chunks)
            if flow.spans and flow.spans[0].answer is not None:
                progress |= self._refuse(session, flow, made, answers)
            if flow.stream.fin is not None and flow.finish():
                made.fin = True
        return progress

    def _refuse(self, session: Session, flow: Flow, fresh: Fresh, answers: list[tuple[int, Answer]]) -> bool:
        """Decide a refusal if its answer can be inserted now."""
        back = session.flows[1 - flow.direction]
        answer = flow.spans[0].answer
        if flow.ledger.corrections.full:
            return False
        if answer and not back.fin_released:
            track = self._track(session.info.session)
            if not back.quiet or back.ledger.corrections.full or track is None:
                return False
            if distance(track.next[back.direction], back.ledger.decided & MASK) > 0:
                return False
            answers.append((back.direction, back.ledger.insert(answer)))
        fresh.chunks.append(flow.refuse())
        return True

    def _publish(self, session: Session, fresh: tuple[Fresh, Fresh], out: Sink) -> None:
        """Write to the kernel what was decided."""
        for flow in session.flows:
            self.store(session, flow, out)
        self._declare_unattended(session, out)
        out.append(PutAdjust(session.record()))
        for flow in session.flows:
            for chunk in fresh[flow.direction].chunks:
                self.decide(session, flow, chunk, out)

    def _send(self, session: Session, flow: Flow, fresh: Fresh, cause: Segment | None, out: Sink) -> None:
        """Inject what was decided: the held frame itself if it is exactly that, else segments built after its model."""
        if not fresh.chunks and not fresh.fin:
            return
        direction = flow.direction
        if cause is not None and cause.direction == direction and _is_exactly(cause, fresh, flow):
            kind = KIND[direction]
            end = cause.payload_offset + cause.payload_size
            out.append(Inject(kind, readdress(kind, cause.frame, cause.ip_offset, end)))
            return
        header = self._voice.header(session, direction, cause)
        if header is None:
            return
        sent = [c for c in fresh.chunks if c.new != b""]
        for chunk in sent:
            self._voice.chunk(session, flow, chunk, header, out, push=chunk is sent[-1])
            header = header._replace(ident=header.ident + 1, flags=0)
        if fresh.fin and not (sent and sent[-1].end == flow.stream.fin):
            self._voice.empty(direction, header, flow.ledger.decided & MASK, ACK | FIN, out)

    def _acknowledge_refused(self, session: Session, flow: Flow, fresh: Fresh, out: Sink) -> None:
        """A refusal without an answer in this round must be acknowledged by itself."""
        if any(c.new == b"" and c.end <= flow.ledger.acked for c in fresh.chunks):
            self._voice.acknowledge(session, flow.direction, out)

    def _promise(self, session: Session, flow: Flow, out: Sink) -> None:
        """Acknowledge an unfinished line, once all before it has arrived: so at most that line is ever owed."""
        ledger, target = flow.ledger, flow.stream.next
        if ledger.promised >= target or ledger.acked < ledger.decided or len(flow.stream.pending) > self._limits.held:
            return
        track = self._track(session.info.session)
        if track is None or not track.window[1 - flow.direction]:
            return
        ledger.promise(target)
        self.store(session, flow, out)
        self._declare_unattended(session, out)
        out.append(PutAdjust(session.record()))  # that it came: the kernel takes a repetition for news from here on
        out.append(self._voice.acknowledgement(session, flow.direction, track))
        self._counts["held-acknowledged"] += 1


def chunk_limit(session: Session, direction: int, cause: Segment | None) -> int:
    """Largest chunk of a direction, if `cause` is the segment that came."""
    room = session.paths[direction].room
    if cause is None or cause.direction != direction:
        return min(DIGEST_MAX, payload_limit(session.mss, OWN_OPTIONS, room))
    limit = payload_limit_of(
        session.mss, 1 - direction, room, cause.frame, cause.ip_offset, cause.payload_offset, cause.payload_size
    )
    return min(DIGEST_MAX, limit)


def ranges(flow: Flow, chunks: list[Chunk]) -> tuple[tuple[int, int, int, bool], ...]:
    """Of DropDecisions."""
    direction = flow.direction
    return tuple((direction, c.start & MASK, len(c.old), c.new is not None) for c in chunks if c.new != b"")


def _is_exactly(cause: Segment, fresh: Fresh, flow: Flow) -> bool:
    """The segment that came consists of the decided range and nothing else, bytes included."""
    if bool(cause.tcp_flags & FIN) != fresh.fin or len(fresh.chunks) > 1:
        return False
    if not fresh.chunks:
        return not cause.payload_size and cause.seq == flow.ledger.decided & MASK
    chunk = fresh.chunks[0]
    end = cause.payload_offset + cause.payload_size
    return chunk.new != b"" and cause.seq == chunk.start & MASK and cause.frame[cause.payload_offset : end] == chunk.old
