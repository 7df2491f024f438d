"""What the gateway owes to a receiver, as bytes that survive the helper.

The law of this file: one format, written by pack() and read by restore(). It is stored before the acknowledgement that
makes the debt, and before the adjust record that changes it: it may be newer than the record, never older.
"""

from __future__ import annotations

import struct
from typing import Final

from .corrections import MASK, Correction, Corrections, distance
from .flow import Answer, Chunk, Flow

_HEAD: Final = struct.Struct("=IIHHH")  # start, promised, chunks, size of held bytes, answers
_CHUNK: Final = struct.Struct("=HH")  # size, size of its replacement or _PASSES
_ANSWER: Final = struct.Struct("=IH")  # receiver's sequence number, size
_PASSES: Final = 0xFFFF


def pack(flow: Flow) -> bytes:
    """What is owed in this direction: decided chunks, bytes without a decision, answers. Empty if nothing."""
    owed = flow.owed()
    held = bytes(flow.stream.pending[: max(0, flow.promised - flow.decided)])
    if not owed and not held and not flow.answers:
        return b""
    start = owed[0].start if owed else flow.decided
    parts = [_HEAD.pack(start & MASK, flow.promised & MASK, len(owed), len(held), len(flow.answers))]
    for chunk in owed:
        parts.append(_CHUNK.pack(len(chunk.old), _PASSES if chunk.new is None else len(chunk.new)))
        parts += [chunk.old, chunk.new or b""]
    parts.append(held)
    for answer in flow.answers:
        parts += [_ANSWER.pack(answer.wire, len(answer.data)), answer.data]
    return b"".join(parts)


def restore(flow: Flow, decided: int, base: int, corrections: tuple[Correction, ...], held: bytes = b"") -> None:
    """Set a fresh flow up from the session's adjust record and what pack() made. struct.error if `held` is broken.

    A chunk that the record doesn't know yet was never released: its bytes are undecided once more.
    """
    flow.corrections = Corrections(base, corrections)
    flow.start(decided)
    if not held:
        return
    start, promised, chunks, size, answers = _HEAD.unpack_from(held)
    at = _HEAD.size
    first = decided + distance(start, decided)
    if first > decided:
        return
    flow.decided = flow.acked = flow.stream.next = first
    for _ in range(chunks):
        length, new_length = _CHUNK.unpack_from(held, at)
        at += _CHUNK.size
        old = held[at : at + length]
        at += length
        new = None
        if new_length != _PASSES:
            new = held[at : at + new_length]
            at += new_length
        _restore_chunk(flow, decided, old, new)
    flow.stream.pending += held[at : at + size]
    flow.stream.next += size
    at += size
    flow.promised = decided + distance(promised, decided)
    for _ in range(answers):
        wire, length = _ANSWER.unpack_from(held, at)
        at += _ANSWER.size
        if distance(wire, flow.corrections.shift(flow.decided & MASK)) < 0:
            flow.answers.append(Answer(wire, held[at : at + length]))
        at += length
    flow.stored = True


def _restore_chunk(flow: Flow, decided: int, old: bytes, new: bytes | None) -> None:
    end = flow.stream.next + len(old)
    if end <= decided:
        flow.chunks.append(Chunk(flow.decided, end, old, new))
        flow.retained += len(old)
        flow.decided = end
    else:
        flow.stream.pending += old
    flow.stream.next = end
