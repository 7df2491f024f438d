"""One direction of a control session: from bytes in order to decided chunks.

The law of this file: positions (see stream.py), bytes and verdicts; no frame, no effect, no plug-in. What is decided is
the ledger's, what is not is here. The order of positions is always: decided <= decided + judged <= stream.next.
"""

from __future__ import annotations

from typing import Final, final

from algate.alg.plugin.fixed import Fixed

from .corrections import MASK, Correction
from .ledger import CHUNK_COST, Chunk, Ledger
from .stream import Stream


class SplitError(ValueError):
    """A replacement so much longer than what it replaces that no segments can carry it."""


@final
class Span(Fixed):
    """A verdict on the next `size` bytes: pass (`new` None), replace, or with `answer` not None refuse."""

    __match_args__: Final = ("size", "new", "answer")

    def __init__(self, size: int, new: bytes | None = None, answer: bytes | None = None) -> None:
        self.size: Final = size
        self.new: Final = new
        self.answer: Final = answer


class Flow:
    """The state of one direction. Others read its members; only its methods change them."""

    __slots__ = ("direction", "fin_released", "judged", "ledger", "spans", "started", "stream", "ts_recent", "urgent")

    def __init__(self, direction: int = 0) -> None:
        self.direction = direction
        self.started = False
        self.stream = Stream(0)
        self.ledger = Ledger()
        self.judged = 0  # pending bytes with a verdict
        self.spans: list[Span] = []
        self.fin_released = False
        self.urgent = 0  # position after the urgent byte, RFC 6093
        self.ts_recent: int | None = None

    def start(self, seq: int) -> None:
        """Begin at a sequence number: what lies before it is not ours."""
        self.started = True
        self.stream = Stream(seq)
        self.ledger.start(seq)

    def take_over(self, decided: int, base: int, corrections: tuple[Correction, ...]) -> None:
        """Begin where another helper's adjust record says."""
        self.started = True
        self.stream = Stream(decided)
        self.ledger.take_over(decided, base, corrections)

    @property
    def quiet(self) -> bool:
        """Stands at its decided end with nothing undecided: bytes may be inserted."""
        return self.started and not self.stream.pending and not self.stream.later and not self.fin_released

    def undecided(self) -> bytes:
        """The bytes without a verdict."""
        return bytes(self.stream.pending[self.judged :])

    def again(self, data: bytes) -> None:
        """Bytes that an earlier helper acknowledged or judged are undecided once more."""
        self.stream.pending += data
        self.stream.next += len(data)

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
        self.ledger.skip(size)
        self.stream.next = self.ledger.decided

    def drop_undecided(self) -> None:
        """Forget what was not decided, as if it had never come."""
        ledger = self.ledger
        self.stream.pending.clear()
        self.stream.forget()
        ledger.promise(ledger.decided)
        self.stream.next = ledger.decided
        self.spans.clear()
        self.judged = 0

    def commit(self, limit: int) -> list[Chunk]:
        """Decide what has a verdict, in chunks of at most `limit` bytes; a refusal or full corrections stop it."""
        made: list[Chunk] = []
        ledger = self.ledger
        while self.spans:
            parts = _gather(self.spans, ledger.decided, limit, self.urgent, ledger.corrections.full)
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
        self.judged = max(0, self.judged - size)
        return self.ledger.append(old, None if new == old else new)

    def refuse(self) -> Chunk:
        """Decide the refusal at the head of `spans`: nothing of its bytes is sent on."""
        size = self.spans.pop(0).size
        self.judged = max(0, self.judged - size)
        return self.ledger.refuse(self.stream.take(size))

    def let(self, data: bytes) -> Chunk:
        """Bytes that never were pending pass as they came."""
        self.stream.next += len(data)
        return self.ledger.append(data, None)

    def finish(self) -> bool:
        """Let the FIN go on if all before it is decided. True if that is news."""
        if self.fin_released or self.stream.pending or not self.stream.ended:
            return False
        self.fin_released = True
        return True

    def finished(self) -> None:
        """The FIN was acknowledged: one at the decided end passes the kernel without coming here."""
        if not self.stream.pending:
            self.stream.fin, self.fin_released = self.ledger.decided, True

    def urge(self, position: int) -> None:
        """Urgent data ends there."""
        self.urgent = position

    def stamp(self, value: int) -> None:
        """Move the receiver's TS.Recent on, never back."""
        if self.ts_recent is None or (value - self.ts_recent) & MASK <= MASK >> 1:
            self.ts_recent = value

    def recent(self, value: int, position: int) -> bool:
        """Whether the receiver would take new bytes with this timestamp (RFC 7323 section 5.3). Its TS.Recent moves by
        what begins no later than what it acknowledged last (section 4.3), not by what lies behind that."""
        if self.ts_recent is not None and (value - self.ts_recent) & MASK > MASK >> 1:
            return False
        if position <= self.ledger.heard:
            self.ts_recent = value
        return True

    def memory(self) -> int:
        """Bytes kept: held, judged, retained."""
        held = len(self.stream.pending) + self.stream.later_size
        spans = sum(CHUNK_COST + len(s.new or b"") + len(s.answer or b"") for s in self.spans)
        return held + spans + self.ledger.memory()


def _gather(spans: list[Span], position: int, limit: int, urgent: int, full: bool) -> list[Span]:
    """Take from the head of `spans` what makes the next chunk of at most `limit` bytes, old and new. A passing span may
    be cut anywhere, a replacement only if it is too large for any segment.

    Empty if a refusal stands there, or a change of length while `full` (no correction is left). `position`: of the
    first byte. If anything is replaced, the byte after the urgent one begins a chunk: so its pointer maps exactly.
    """
    if not any(span.new is not None for span in spans):
        urgent = 0
    parts: list[Span] = []
    old = new = 0
    while spans and old < limit and new < limit:
        span = spans[0]
        if span.answer is not None:
            break
        if span.new is None:
            part = _pass_part(span, position + old, limit - max(old, new), urgent)
        elif full and len(span.new) != span.size:
            break
        elif span.size <= limit - old and len(span.new) <= limit - new:
            part = span
        elif parts:
            break
        else:
            part = _replace_part(span, span.new, limit)
        _shorten(spans, part)
        parts.append(part)
        old += part.size
        new += part.size if part.new is None else len(part.new)
        if position + old == urgent:
            break
    return parts


def _pass_part(span: Span, position: int, room: int, urgent: int) -> Span:
    size = min(span.size, room)
    if position < urgent < position + size:
        size = urgent - position
    return Span(size)


def _replace_part(span: Span, new: bytes, limit: int) -> Span:
    """The first part of a replacement too large for one segment; where it can be, of unchanged length."""
    size = min(limit, span.size - 1)
    if len(new) <= limit:
        return Span(size, new[: min(size, len(new) - 1)])
    if size < 1:
        raise SplitError(f"{len(new)} bytes for {span.size}")
    if size == span.size - 1 and len(new) - size > limit:
        return Span(1, new[:limit])
    return Span(size, new[:size])


def _shorten(spans: list[Span], part: Span) -> None:
    span = spans[0]
    if part.size == span.size:
        del spans[0]
    else:
        rest = None if span.new is None or part.new is None else span.new[len(part.new) :]
        spans[0] = Span(span.size - part.size, rest)
