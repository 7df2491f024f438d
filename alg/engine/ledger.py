"""What the receiver of one direction has of what was decided, and what it is owed.

The law of this file: decided bytes by position (see stream.py) and their corrections; no verdict, frame or effect. The
order of positions is always heard <= acked <= decided. `promised` is how far the gateway acknowledged in the receiver's
name: what lies before it the gateway must deliver itself, since the sender won't repeat it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from algate.alg.plugin.contract import NEVER
from algate.alg.plugin.fixed import Fixed

from .corrections import MASK, Correction, Corrections, distance

CHUNK_COST: Final = 256  # bytes of objects around a chunk, and a row of the kernel's
RESUME_MAX: Final = 1 << 20  # bytes decided and unacknowledged that a restart believes in


@final
class Chunk(Fixed):
    """A decided range: one decision and one segment. `new` None: passes; empty: nothing of it is sent on."""

    __match_args__: Final = ("start", "end", "old", "new")

    def __init__(self, start: int, end: int, old: bytes, new: bytes | None) -> None:
        self.start: Final = start
        self.end: Final = end
        self.old: Final = old
        self.new: Final = new

    @property
    def cost(self) -> int:
        """Bytes that it takes to keep, so that many short ones are bounded too."""
        return CHUNK_COST + len(self.old) + len(self.new or b"")


@final
class Answer(Fixed):
    """Bytes inserted into this direction in its sender's name, at `wire` in the receiver's numbers."""

    __match_args__: Final = ("wire", "data")

    def __init__(self, wire: int, data: bytes) -> None:
        self.wire: Final = wire
        self.data: Final = data


class Ledger:
    """One direction's. Others read its members; only its methods change them."""

    __slots__ = (
        "acked", "answers", "chunks", "corrections", "decided", "heard", "owed_from", "owed_since", "promised",
        "resend_at", "resend_delay", "resends", "resumed", "retained", "skipped", "stored",
    )  # fmt: skip

    def __init__(self) -> None:
        self.decided = 0
        self.acked = 0
        self.heard = 0  # acked by the kernel's word, which sees a refusal acknowledged only with what follows it
        self.promised = 0
        self.resumed = 0  # decided, without `chunks` telling how, when another helper was taken over from
        self.skipped: list[tuple[int, int]] = []  # what passed without the helper, of which it has no bytes
        self.chunks: list[Chunk] = []  # decided, not yet known to be acknowledged
        self.retained = 0  # cost of chunks
        self.corrections = Corrections()
        self.answers: list[Answer] = []
        self.stored = False  # KeepHeld was written
        self.resend_at = 0.0  # 0: nothing owed
        self.resend_delay = 0.0
        self.owed_since = 0.0
        self.owed_from = 0  # acked when it began to be owed
        self.resends = 0

    def start(self, seq: int) -> None:
        """Begin at a sequence number: what lies before it is not ours."""
        self.decided = self.acked = self.heard = self.promised = seq

    def assume(self, seq: int) -> None:
        """Nothing was seen of this direction yet but an acknowledgement: the record names that."""
        self.decided = self.acked = seq

    # What another helper left.

    def take_over(self, decided: int, base: int, corrections: tuple[Correction, ...]) -> None:
        """Stand where another helper's adjust record says."""
        self.corrections = Corrections(base, corrections)
        self.start(decided)
        self.resumed = decided

    def remember(self, what: Chunk | Answer) -> None:
        """It is in the log of the helper before."""
        if isinstance(what, Chunk):
            self.chunks.append(what)
            self.retained += what.cost
        else:
            self.answers.append(what)

    def resume(self, acked: int) -> None:
        """After a restart: what the receiver had acknowledged of what was decided then."""
        position = self.decided + distance(acked, self.decided & MASK)
        if self.decided - RESUME_MAX < position < self.decided:
            self.acked = self.heard = position
            if not self.stored:  # nothing was promised: who would say so now, for an answer, might lose what passed
                self.promised = position
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
                self.remember(Chunk(piece, piece + len(old), old, None))
        self.chunks.sort(key=_start)

    # What passed without the helper.

    def skip(self, size: int) -> None:
        """So many bytes at the decided end passed without the helper."""
        start = self.decided
        self.decided = start + size
        self.skipped = [span for span in self.skipped if span[1] > self.acked]
        self.skipped.append((start, self.decided))

    def lines_again(self, start: int, data: bytes, known: Callable[[int, bytes], tuple[bytes | None] | None]) -> None:
        """Bytes that passed without the helper come again: whole lines of them that are `known` pass again, or what
        went on instead of them, which was as long."""
        first, last = self.skipped[0][0], self.skipped[-1][1]
        at = start + data.find(b"\n", 0, first - start) + 1 if start < first else start
        while at < min(start + len(data), last):
            stop = data.find(b"\n", at - start) + 1 + start
            line = data[at - start : stop - start]
            before = known(at, line) if start < stop <= last else None
            if before is None:
                break
            if not any(chunk.start <= at < chunk.end for chunk in self.chunks):
                self.remember(Chunk(at, stop, line, before[0]))
            at = stop
        self.chunks.sort(key=_start)

    # What is decided.

    def append(self, old: bytes, new: bytes | None) -> Chunk:
        """Note a decided chunk at the decided end, with its correction."""
        start = self.decided
        end = start + len(old)
        cost = CHUNK_COST + len(old)
        if new is not None:
            cost += len(new)
            if len(new) != len(old):
                self.corrections.add(start, end, len(new) - len(old))
        chunk = Chunk(start, end, old, new)
        self.decided = end
        self.chunks.append(chunk)
        self.retained += cost
        return chunk

    def refuse(self, old: bytes) -> Chunk:
        """Note a chunk of which nothing is sent on."""
        chunk = self.append(old, b"")
        self._skip_refused()
        return chunk

    def insert(self, data: bytes) -> Answer:
        """Insert bytes at the decided end. Only while the flow is quiet and with room for a correction."""
        answer = Answer(self.corrections.shift(self.decided & MASK), data)
        self.corrections.add(self.decided, self.decided, len(data))
        self.answers.append(answer)
        return answer

    def promise(self, position: int) -> None:
        """The sender is told that everything before `position` has arrived."""
        self.promised = position

    # What the receiver has.

    @property
    def acknowledged(self) -> int:
        """How far the sender may be told that its bytes arrived."""
        return max(self.acked, self.promised)

    def acknowledge(self, seq: int) -> bool:
        """The receiver has everything before `seq` (sender's 32-bit number). True: the FIN at the decided end too."""
        position = decided = self.decided
        if seq != decided & MASK:
            position += distance(seq, decided & MASK)
        if not self.heard < position <= decided + 1:
            return False
        self.heard = position
        self.acked = max(self.acked, position)
        self._skip_refused()
        return position > decided

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

    def folds(self) -> bool:
        """Whether fold() would do anything."""
        return self.corrections.folds(self.acked & MASK)

    def fold(self) -> None:
        """Take the corrections of what the receiver has into the base shift."""
        self.corrections.fold(self.acked & MASK)

    def leave(self) -> None:
        """The kernel goes on alone from what is acknowledged."""
        self.decided = self.acked
        self.chunks.clear()
        self.retained = 0

    # What it is owed.

    def owed(self) -> list[Chunk]:
        """Decided chunks with promised bytes that the receiver lacks: the sender won't repeat them."""
        if self.promised <= self.acked:
            return []
        return [c for c in self.chunks if c.start < self.promised and c.end > self.acked and c.new != b""]

    def overlapping(self, start: int, end: int) -> list[Chunk]:
        """Unacknowledged chunks that share bytes with [start, end)."""
        return [c for c in self.chunks if c.end > start and c.start < end and c.end > self.acked]

    def due(self, now: float, first: float) -> float:
        """When what is owed is to be sent again, NEVER if nothing is; `first`: after how many seconds at first."""
        if not self.answers and not self.owed():
            self.resend_at = 0.0
            return NEVER
        if not self.resend_at or self.owed_from != self.acked:
            self.owed_since, self.owed_from, self.resends = now, self.acked, 0
            self.resend_delay = first
            self.resend_at = now + first
        return self.resend_at

    def resent(self, now: float, longest: float) -> None:
        """It was sent once more: next time after twice as long, at most `longest` seconds."""
        self.resends += 1
        self.resend_delay = min(2 * self.resend_delay, longest)
        self.resend_at = now + self.resend_delay

    def write_off(self) -> None:
        """Repeat the answers no more."""
        self.answers.clear()

    # What a restart must know.

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

    def log(self) -> list[Chunk] | None:
        """The chunks to store, with answers and promised bytes; None: nothing is to be stored any more."""
        chunks = self.logged()
        self.stored = bool(self.answers or self.promised > self.decided or chunks)
        return chunks if self.stored else None

    def stored_before(self) -> None:
        """Another helper stored it."""
        self.stored = True

    def unlog(self) -> None:
        """What was stored is dropped."""
        self.stored = False

    def memory(self) -> int:
        """Bytes kept."""
        return self.retained + sum(len(answer.data) for answer in self.answers)


def _start(chunk: Chunk) -> int:
    return chunk.start
