"""One direction of a control session: from bytes with a verdict to decided chunks, and what the receiver has of them.

The law of this file: positions (see stream.py), bytes and corrections; no frame, no effect, no plug-in. The order of
positions is always: acked <= decided <= decided + judged <= stream.next. `promised` is how far the gateway acknowledged
in the receiver's name: what lies before it the gateway must deliver itself, since the sender won't repeat it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .corrections import MASK, Corrections, distance
from .spans import Span, gather
from .stream import Stream

CHUNK_COST = 256  # bytes of objects around a chunk, and a row of the kernel's
RESUME_MAX = 1 << 20  # bytes decided and unacknowledged that a restart believes in


class Chunk(NamedTuple):
    """A decided range: one decision and one segment. `new` None: passes; empty: nothing of it is sent on."""

    start: int
    end: int
    old: bytes
    new: bytes | None

    @property
    def cost(self) -> int:
        """Bytes that it takes to keep, so that many short ones are bounded too."""
        return CHUNK_COST + len(self.old) + len(self.new or b"")


class Answer(NamedTuple):
    """Bytes inserted into this direction in its sender's name, at `wire` in the receiver's numbers."""

    wire: int
    data: bytes


class Flow:
    """The state of one direction. Callers keep `spans` in step with `judged` through judge()."""

    __slots__ = (
        "acked",
        "answers",
        "chunks",
        "corrections",
        "decided",
        "fin_released",
        "heard",
        "judged",
        "owed_from",
        "owed_since",
        "promised",
        "resend_at",
        "resend_delay",
        "resends",
        "resumed",
        "retained",
        "skipped",
        "spans",
        "started",
        "stored",
        "stream",
        "ts_recent",
        "urgent",
    )

    def __init__(self) -> None:
        self.started = False
        self.stream = Stream(0)
        self.decided = 0
        self.acked = 0
        self.heard = 0  # acked by the kernel's account, which sees a refusal acknowledged only with what follows it
        self.resumed = 0  # decided, without `chunks` telling how, when another helper was taken over from
        self.skipped: list[tuple[int, int]] = []  # what passed without the helper, of which it has no bytes
        self.judged = 0  # pending bytes with a verdict
        self.spans: list[Span] = []
        self.chunks: list[Chunk] = []  # decided, not yet known to be acknowledged
        self.retained = 0  # cost of chunks
        self.corrections = Corrections()
        self.promised = 0
        self.answers: list[Answer] = []
        self.fin_released = False
        self.urgent = 0  # position after the urgent byte, RFC 6093
        self.ts_recent: int | None = None
        self.stored = False  # KeepHeld was written
        self.resend_at = 0.0  # 0: nothing owed
        self.resend_delay = 0.0
        self.owed_since = 0.0
        self.owed_from = 0  # acked when it began to be owed
        self.resends = 0

    def start(self, seq: int) -> None:
        """Begin at a sequence number: what lies before it is not ours."""
        self.started = True
        self.stream = Stream(seq)
        self.decided = self.acked = self.heard = self.promised = seq

    @property
    def quiet(self) -> bool:
        """Stands at its decided end with nothing undecided: bytes may be inserted."""
        return self.started and not self.stream.pending and not self.stream.later and not self.fin_released

    @property
    def acknowledged(self) -> int:
        """How far the sender may be told that its bytes arrived."""
        return max(self.acked, self.promised)

    def undecided(self) -> bytes:
        """The bytes without a verdict."""
        return bytes(self.stream.pending[self.judged :])

    def judge(self, span: Span) -> None:
        """Append a verdict. ValueError if it covers nothing or more than there is."""
        if span.size <= 0 or self.judged + span.size > len(self.stream.pending):
            raise ValueError(f"verdict on {span.size} bytes of {len(self.stream.pending) - self.judged}")
        self.judged += span.size
        last = self.spans[-1] if self.spans else span
        if span.new is last.new is None and last is not span:
            self.spans[-1] = Span(last.size + span.size)
        else:
            self.spans.append(span)

    def skip(self, size: int) -> None:
        """Bytes at the decided end passed without the helper: what else came for their place will never be sent."""
        if self.stream.pending or self.stream.later:
            self.drop_undecided()
        start = self.decided
        self.decided = self.stream.next = start + size
        self.skipped = [span for span in self.skipped if span[1] > self.acked]
        self.skipped.append((start, self.decided))

    def lines_again(self, start: int, data: bytes, known: Callable[[int, bytes], bool]) -> None:
        """Bytes that passed without the helper come again: whole lines of them that are `known` shall pass again."""
        first, last = self.skipped[0][0], self.skipped[-1][1]
        at = start + data.find(b"\n", 0, first - start) + 1 if start < first else start
        while at < min(start + len(data), last):
            stop = data.find(b"\n", at - start) + 1 + start
            line = data[at - start : stop - start]
            if stop <= start or stop > last or not known(at, line):
                break
            if not any(chunk.start <= at < chunk.end for chunk in self.chunks):
                self.chunks.append(Chunk(at, stop, line, None))
                self.retained += self.chunks[-1].cost
            at = stop
        self.chunks.sort()

    @property
    def idle(self) -> bool:
        """Stands at its decided end, and nothing is undecided, owed, inserted or over."""
        return (
            self.quiet and not self.spans and not self.answers and self.promised <= self.decided and not self.stored
            and self.stream.fin is None
        )  # fmt: skip

    def drop_undecided(self) -> None:
        """Forget what was not decided, as if it had never come."""
        self.stream.pending.clear()
        self.stream.forget()
        self.stream.next = self.promised = self.decided
        self.spans.clear()
        self.judged = 0

    def commit(self, limit: int) -> list[Chunk]:
        """Decide what has a verdict, in chunks of at most `limit` bytes; a refusal or full corrections stop it."""
        made: list[Chunk] = []
        while self.spans:
            parts = gather(self.spans, self.decided, limit, self.urgent, self.corrections.full)
            if not parts:
                break
            made.append(self._decide(parts))
        return made

    def _decide(self, parts: list[Span]) -> Chunk:
        size = sum(part.size for part in parts)
        old = self.stream.take(size)
        new: bytes | None = None
        if any(part.new is not None for part in parts):
            pieces: list[bytes] = []
            at = 0
            for part in parts:
                pieces.append(old[at : at + part.size] if part.new is None else part.new)
                at += part.size
            new = b"".join(pieces)
        return self.append(old, None if new == old else new)

    def append(self, old: bytes, new: bytes | None) -> Chunk:
        """Note a decided chunk at the decided end whose bytes left `stream.pending`, with its correction."""
        start = self.decided
        end = start + len(old)
        if new is not None and len(new) != len(old):
            self.corrections.add(start, end, len(new) - len(old))
        chunk = Chunk(start, end, old, new)
        self.judged = max(0, self.judged - len(old))
        self.decided = end
        self.chunks.append(chunk)
        self.retained += chunk.cost
        return chunk

    def refuse(self) -> Chunk:
        """Decide the refusal at the head of `spans`: nothing of its bytes is sent on."""
        span = self.spans.pop(0)
        chunk = self.append(self.stream.take(span.size), b"")
        self._skip_refused()
        return chunk

    def insert(self, data: bytes) -> Answer:
        """Insert bytes at the decided end. Only while quiet and with room for a correction."""
        answer = Answer(self.corrections.shift(self.decided & MASK), data)
        self.corrections.add(self.decided, self.decided, len(data))
        self.answers.append(answer)
        return answer

    def acknowledge(self, seq: int) -> None:
        """The receiver has everything before `seq` (sender's 32-bit number)."""
        position = self.decided + distance(seq, self.decided & MASK)
        if not self.heard < position <= self.decided + 1:
            return
        self.heard = position
        self.acked = max(self.acked, position)
        if position > self.decided and not self.stream.pending:
            # A FIN at the decided end passes the kernel without coming here.
            self.stream.fin, self.fin_released = self.decided, True
        self._skip_refused()

    def resume(self, acked: int) -> None:
        """After a restart: what the receiver had acknowledged of what was decided then."""
        position = self.decided + distance(acked, self.decided & MASK)
        if self.decided - RESUME_MAX < position < self.decided:
            self.acked = self.heard = position
            self._skip_refused()

    def recall(self, start: int, data: bytes, limit: int) -> None:
        """Bytes decided before a restart come again: what isn't among `chunks` passes, being in no log."""
        stop = min(start + len(data), self.resumed)
        at = max(start, self.heard)
        gaps = []
        for chunk in self.chunks:
            if chunk.end > at:
                gaps.append((at, min(chunk.start, stop)))
                at = chunk.end
        gaps.append((at, stop))
        for first, last in gaps:
            for piece in range(first, last, limit):
                old = data[piece - start : min(piece + limit, last) - start]
                self.chunks.append(Chunk(piece, piece + len(old), old, None))
                self.retained += self.chunks[-1].cost
        self.chunks.sort()

    def _skip_refused(self) -> None:
        """Nothing of a refused chunk is sent on, so who has all before it has it too."""
        for chunk in self.chunks:
            if chunk.start > self.acked:
                break
            if chunk.new == b"" and chunk.end > self.acked:
                self.acked = chunk.end

    def received(self, ack: int) -> None:
        """Forget answers that an acknowledgement (in the receiver's numbers) covers."""
        while self.answers and distance(ack, self.answers[0].wire + len(self.answers[0].data)) >= 0:
            del self.answers[0]

    def release(self) -> list[Chunk]:
        """Forget the chunks that the receiver has acknowledged wholly, and return them."""
        count = 0
        for chunk in self.chunks:
            if chunk.end > (self.heard if chunk.new == b"" else self.acked):
                break
            self.retained -= chunk.cost
            count += 1
        done = self.chunks[:count]
        del self.chunks[:count]
        return done

    def logged(self) -> list[Chunk]:
        """Chunks that a restart must know: those owed, and what doesn't pass until it can't be repeated."""
        return [
            c
            for c in self.chunks
            if c.end > (self.heard if c.new == b"" else self.acked) and (c.new is not None or c.start < self.promised)
        ]

    @property
    def indebted(self) -> bool:
        """Whether there is anything that a restart must know."""
        return bool(self.answers or self.promised > self.decided or self.logged())

    def owed(self) -> list[Chunk]:
        """Decided chunks with promised bytes that the receiver lacks: the sender won't repeat them."""
        if self.promised <= self.acked:
            return []
        return [c for c in self.chunks if c.start < self.promised and c.end > self.acked and c.new != b""]

    def overlapping(self, start: int, end: int) -> list[Chunk]:
        """Unacknowledged chunks that share bytes with [start, end)."""
        return [c for c in self.chunks if c.end > start and c.start < end and c.end > self.acked]

    def memory(self) -> int:
        """Bytes kept: held, judged, retained."""
        held = len(self.stream.pending) + self.stream.later_size + sum(len(a.data) for a in self.answers)
        spans = sum(CHUNK_COST + len(s.new or b"") + len(s.answer or b"") for s in self.spans)
        return held + spans + self.retained
