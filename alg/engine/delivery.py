"""From verdicts to the wire: decisions, segments, and acknowledgements in a receiver's name.

The law of this file: it commits what flows have judged and writes the effects that carry it out, in the order that
makes it safe: what is owed is stored, then the adjust record, then decisions, then frames. It never calls a plug-in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from . import held
from .corrections import MASK, distance
from .digest import digest, sum_change
from .effects import (
    DIGEST_MAX,
    HELD_MAX,
    VERDICT_PASS,
    VERDICT_REPLACE,
    DropDecisions,
    DropHeld,
    Effect,
    Inject,
    KeepHeld,
    PutAdjust,
    PutDecision,
    Segment,
)
from .flow import Flow
from .frames import ACK, FIN, PSH, RST, Header, build, read_header, readdress, tcp_offset
from .ledger import Answer, Chunk
from .limits import Limits
from .session import KIND, RAW_KIND, Session, Track

FORGET_AT = 8  # chunks kept before acknowledged ones are looked for


class Fresh:
    """What one round decided in a direction."""

    __slots__ = ("chunks", "fin")

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self.fin = False


class Delivery:
    """Writes effects for sessions. Keeps nothing but configuration and counts."""

    def __init__(
        self, secret: int, track: Track, counts: Counter[str], limits: Limits,
        declare_unattended: Callable[[Session, list[Effect]], None],
    ) -> None:  # fmt: skip
        """`declare_unattended` is asked before an adjust record is written."""
        self._declare_unattended = declare_unattended
        self._secret = secret
        self._track = track
        self._counts = counts
        self._limits = limits

    def settle(self, session: Session, effects: list[Effect], cause: Segment | None = None) -> None:
        """Commit whatever has a verdict and send it; acknowledge what must wait. `cause`: the segment that came."""
        fresh = (Fresh(), Fresh())
        answers: list[tuple[int, Answer]] = []
        for direction, flow in enumerate(session.flows):
            # Under a folded shift a repeated replacement would reach too far: its decision goes first.
            if flow.ledger.corrections.items and flow.ledger.folds():
                self.forget(session, direction, effects)
                flow.ledger.fold()
        limits = (self._limit(session, 0, cause), self._limit(session, 1, cause))
        while self._commit(session, fresh, answers, limits):
            pass
        if fresh[0].chunks or fresh[0].fin or fresh[1].chunks or fresh[1].fin:
            self._publish(session, fresh, effects)
            for direction in (0, 1):
                self._send(session, direction, fresh[direction], cause, effects)
            for direction, answer in answers:
                self.send_answer(session, direction, answer, effects)
            for direction in (0, 1):
                if not any(to == 1 - direction for to, _ in answers):
                    self._acknowledge_refused(session, direction, fresh[direction], effects)
        for direction in (0, 1):
            if session.flows[direction].stream.pending:
                self._promise(session, direction, effects)

    def pass_whole(self, session: Session, cause: Segment, payload: bytes, effects: list[Effect]) -> None:
        """The common case of settle(): the segment that came passes as it is."""
        direction = cause.direction
        flow = session.flows[direction]
        chunk = flow.let(payload)
        self._declare_unattended(session, effects)
        effects.append(PutAdjust(session.record()))
        self.decide(session, direction, chunk, effects)
        kind = KIND[direction]
        end = cause.payload_offset + cause.payload_size
        effects.append(Inject(kind, readdress(kind, cause.frame, cause.ip_offset, end)))
        if len(flow.ledger.chunks) >= FORGET_AT:
            self.forget(session, direction, effects)

    def decide(self, session: Session, direction: int, chunk: Chunk, effects: list[Effect]) -> None:
        """The decision of a chunk. What is refused gets none: each repetition shall come here and be acknowledged."""
        new = chunk.new
        if new == b"":
            return
        number, seq, size = session.info.session, chunk.start & MASK, len(chunk.old)
        key = digest(self._secret, chunk.old)
        if new is None:
            effects.append(PutDecision(number, direction, seq, size, VERDICT_PASS, key, None, 0))
        else:
            change = sum_change(chunk.old, new)
            effects.append(PutDecision(number, direction, seq, size, VERDICT_REPLACE, key, new, change))

    def digest(self, data: bytes) -> int:
        """As the kernel reckons it."""
        return digest(self._secret, data)

    def forget(self, session: Session, direction: int, effects: list[Effect]) -> list[Chunk]:
        """Drop the decisions of what the receiver has acknowledged; returns those chunks."""
        done = session.flows[direction].ledger.release()
        ranges = tuple((direction, c.start & MASK, len(c.old), c.new is not None) for c in done if c.new != b"")
        if ranges:
            effects.append(DropDecisions(session.info.session, ranges))
        return done

    def store(self, session: Session, direction: int, effects: list[Effect]) -> None:
        """Make what is stored equal to what is owed."""
        flow = session.flows[direction]
        stored = flow.ledger.stored
        chunks = flow.ledger.log()
        if chunks is None:
            if stored:
                effects.append(DropHeld(session.info.session, direction))
            return
        data = held.pack(flow, chunks)
        if len(data) > HELD_MAX:
            self._counts["held-limit"] += 1
        else:
            effects.append(KeepHeld(session.info.session, direction, data))

    def send_chunk(
        self, flow: Flow, direction: int, chunk: Chunk, header: Header, effects: list[Effect], push: bool = True
    ) -> None:
        """Inject a decided chunk, with the FIN if that follows it."""
        flags = ACK | PSH if push else ACK
        if flow.fin_released and chunk.end == flow.stream.fin:
            flags |= FIN
        urgent = flow.urgent - chunk.start if flow.urgent > chunk.start else 0
        kind = KIND[direction]
        effects.append(Inject(kind, build(kind, header, chunk.start & MASK, flags, chunk.old, urgent)))

    def send_empty(self, direction: int, header: Header, seq: int, flags: int, effects: list[Effect]) -> None:
        """Inject a segment without payload, in its sender's numbers."""
        kind = KIND[direction]
        effects.append(Inject(kind, build(kind, header, seq, flags)))

    def reset_seen(self, session: Session, cause: Segment, effects: list[Effect]) -> None:
        """A RST beyond what is decided. If it follows all that came, it goes on at the decided end: RFC 5961 section 3
        wants the very number that the receiver expects. Elsewhere the sender's next RST will tell."""
        flow = session.flows[cause.direction]
        if cause.seq != flow.stream.next & MASK:
            self._counts["rst-out-of-window"] += 1
            return
        flow.drop_undecided()
        self.store(session, cause.direction, effects)
        header = read_header(cause.frame, cause.ip_offset)
        self.send_empty(cause.direction, header, flow.ledger.decided & MASK, RST | cause.tcp_flags & ACK, effects)

    def send_answer(self, session: Session, direction: int, answer: Answer, effects: list[Effect]) -> None:
        """Inject inserted bytes, finished, acknowledging what the speaker said."""
        track = self._track(session.info.session)
        if track is None:
            self._counts["no-track"] += 1
            return
        header = session.final_header(direction, track)
        size = session.segment_limit(direction, header.options_size, 0)
        kind = RAW_KIND[direction]
        for at in range(0, len(answer.data), size):
            frame = build(kind, header, answer.wire + at, ACK | PSH, answer.data[at : at + size])
            effects.append(Inject(kind, frame))

    def acknowledge(self, session: Session, direction: int, effects: list[Effect]) -> bool:
        """Tell the sender of a direction, in its receiver's name, how far its bytes arrived. False if that can't be."""
        track = self._track(session.info.session)
        back = 1 - direction
        if track is None or not track.window[back]:
            return False
        kind = RAW_KIND[back]
        header = session.final_header(back, track)
        effects.append(Inject(kind, build(kind, header, session.final_seq(back, track), ACK)))
        return True

    def header(self, session: Session, direction: int, cause: Segment | None) -> Header | None:
        """A header for segments of a direction: of the segment that came, else from what the kernel tracked."""
        if cause is not None and cause.direction == direction:
            return read_header(cause.frame, cause.ip_offset)
        track = self._track(session.info.session)
        if track is None:
            self._counts["no-track"] += 1
            return None
        return session.sent_header(direction, track)

    @staticmethod
    def _limit(session: Session, direction: int, cause: Segment | None) -> int:
        if cause is None or cause.direction != direction:
            return min(DIGEST_MAX, session.segment_limit(direction, 12, 0))
        options = cause.payload_offset - tcp_offset(cause.frame, cause.ip_offset) - 20
        return min(DIGEST_MAX, session.segment_limit(direction, options, cause.payload_size))

    def _commit(
        self,
        session: Session,
        fresh: tuple[Fresh, Fresh],
        answers: list[tuple[int, Answer]],
        limits: tuple[int, int],
    ) -> bool:
        """One round over both directions. True if anything moved, which may free what waits for it."""
        progress = False
        for direction in (0, 1):
            flow = session.flows[direction]
            if flow.spans:
                made = flow.commit(limits[direction])
                fresh[direction].chunks += made
                progress |= bool(made)
            if flow.spans and flow.spans[0].answer is not None:
                progress |= self._refuse(session, direction, fresh[direction], answers)
            if flow.stream.fin is not None and flow.finish():
                fresh[direction].fin = True
        return progress

    def _refuse(self, session: Session, direction: int, fresh: Fresh, answers: list[tuple[int, Answer]]) -> bool:
        """Decide a refusal if its answer can be inserted now."""
        flow, back = session.flows[direction], session.flows[1 - direction]
        answer = flow.spans[0].answer
        if flow.ledger.corrections.full:
            return False
        if answer and not back.fin_released:
            track = self._track(session.info.session)
            if not back.quiet or back.ledger.corrections.full or track is None:
                return False
            if distance(track.next[1 - direction], back.ledger.decided & MASK) > 0:
                return False
            answers.append((1 - direction, back.ledger.insert(answer)))
        fresh.chunks.append(flow.refuse())
        return True

    def _publish(self, session: Session, fresh: tuple[Fresh, Fresh], effects: list[Effect]) -> None:
        """Write to the kernel what was decided."""
        for direction in (0, 1):
            self.store(session, direction, effects)
        self._declare_unattended(session, effects)
        effects.append(PutAdjust(session.record()))
        for direction in (0, 1):
            for chunk in fresh[direction].chunks:
                self.decide(session, direction, chunk, effects)

    def _send(
        self, session: Session, direction: int, fresh: Fresh, cause: Segment | None, effects: list[Effect]
    ) -> None:
        """Inject what was decided: the held frame itself if it is exactly that, else segments built after its model."""
        if not fresh.chunks and not fresh.fin:
            return
        if cause is not None and cause.direction == direction and _is_exactly(cause, fresh, session.flows[direction]):
            kind = KIND[direction]
            end = cause.payload_offset + cause.payload_size
            effects.append(Inject(kind, readdress(kind, cause.frame, cause.ip_offset, end)))
            return
        header = self.header(session, direction, cause)
        if header is None:
            return
        flow = session.flows[direction]
        sent = [c for c in fresh.chunks if c.new != b""]
        for chunk in sent:
            self.send_chunk(flow, direction, chunk, header, effects, push=chunk is sent[-1])
            header = header._replace(ident=header.ident + 1, flags=0)
        if fresh.fin and not (sent and sent[-1].end == flow.stream.fin):
            self.send_empty(direction, header, flow.ledger.decided & MASK, ACK | FIN, effects)

    def _acknowledge_refused(self, session: Session, direction: int, fresh: Fresh, effects: list[Effect]) -> None:
        """A refusal without an answer in this round must be acknowledged by itself."""
        ledger = session.flows[direction].ledger
        if any(c.new == b"" and c.end <= ledger.acked for c in fresh.chunks):
            self.acknowledge(session, direction, effects)

    def _promise(self, session: Session, direction: int, effects: list[Effect]) -> None:
        """Acknowledge an unfinished line, once all before it has arrived: so at most that line is ever owed."""
        flow = session.flows[direction]
        ledger, target = flow.ledger, flow.stream.next
        former = ledger.promised
        if former >= target or ledger.acked < ledger.decided or len(flow.stream.pending) > self._limits.held:
            return
        ledger.promise(target)
        position = len(effects)
        if not self.acknowledge(session, direction, effects):
            ledger.promise(former)
            return
        frame = effects.pop(position)
        self.store(session, direction, effects)
        effects.append(frame)
        self._counts["held-acknowledged"] += 1


def _is_exactly(cause: Segment, fresh: Fresh, flow: Flow) -> bool:
    """The segment that came consists of the decided range and nothing else, bytes included."""
    if bool(cause.tcp_flags & FIN) != fresh.fin or len(fresh.chunks) > 1:
        return False
    if not fresh.chunks:
        return not cause.payload_size and cause.seq == flow.ledger.decided & MASK
    chunk = fresh.chunks[0]
    end = cause.payload_offset + cause.payload_size
    return chunk.new != b"" and cause.seq == chunk.start & MASK and cause.frame[cause.payload_offset : end] == chunk.old
