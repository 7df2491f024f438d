"""What a restart must know of a direction, as bytes that survive the helper.

The law of this file: one format, written by pack() and read by restore(). It is stored before the acknowledgement or
the adjust record that it is about: it may be newer than the record, never older. What is in neither passes.
"""

from __future__ import annotations

import struct
from typing import Final

from .corrections import MASK, Correction, Corrections, distance
from .flow import Answer, Chunk, Flow

_HEAD: Final = struct.Struct("=IIHHH")  # promised, start of the held bytes, their size, chunks, answers
_CHUNK: Final = struct.Struct("=IHH")  # start, size, size of its replacement or _PASSES
_ANSWER: Final = struct.Struct("=IH")  # receiver's sequence number, size
_PASSES: Final = 0xFFFF


def pack(flow: Flow) -> bytes:
    """Decided chunks that don't pass or are owed, acknowledged bytes without a decision, answers. Empty if nothing."""
    if not flow.indebted:
        return b""
    chunks = flow.logged()
    held = bytes(flow.stream.pending[: max(0, flow.promised - flow.decided)])
    parts = [_HEAD.pack(flow.promised & MASK, flow.decided & MASK, len(held), len(chunks), len(flow.answers)), held]
    for chunk in chunks:
        size = _PASSES if chunk.new is None else len(chunk.new)
        parts += [_CHUNK.pack(chunk.start & MASK, len(chunk.old), size), chunk.old, chunk.new or b""]
    for answer in flow.answers:
        parts += [_ANSWER.pack(answer.wire, len(answer.data)), answer.data]
    return b"".join(parts)


def restore(flow: Flow, decided: int, base: int, corrections: tuple[Correction, ...], stored: bytes = b"") -> None:
    """Set a fresh flow up from the session's adjust record and what pack() made. struct.error if that is broken."""
    flow.corrections = Corrections(base, corrections)
    flow.start(decided)
    flow.resumed = decided
    if not stored:
        return
    promised, start, size, chunks, answers = _HEAD.unpack_from(stored)
    at = _HEAD.size + size
    for _ in range(chunks):
        at = _restore_chunk(flow, stored, at)
    if (start - flow.stream.next) & MASK == 0:
        _undecided(flow, _cut(stored, _HEAD.size, size))
    flow.promised = decided + distance(promised, decided)
    for _ in range(answers):
        wire, length = _ANSWER.unpack_from(stored, at)
        at += _ANSWER.size
        # One that the record doesn't know was never sent: its question will be asked again.
        if distance(wire, flow.corrections.shift(decided)) < 0:
            flow.answers.append(Answer(wire, _cut(stored, at, length)))
        at += length
    flow.stored = True


def _restore_chunk(flow: Flow, stored: bytes, at: int) -> int:
    """A chunk that the record doesn't know was never released: its bytes are undecided once more."""
    seq, size, new_size = _CHUNK.unpack_from(stored, at)
    at += _CHUNK.size
    old = _cut(stored, at, size)
    at += size
    new = None
    if new_size != _PASSES:
        new = _cut(stored, at, new_size)
        at += new_size
    start = flow.decided + distance(seq, flow.decided & MASK)
    if start + size <= flow.decided:
        flow.chunks.append(Chunk(start, start + size, old, new))
        flow.retained += flow.chunks[-1].cost
    elif start == flow.stream.next:
        _undecided(flow, old)
    return at


def _cut(stored: bytes, at: int, size: int) -> bytes:
    if at + size > len(stored):
        raise struct.error("cut short")
    return stored[at : at + size]


def _undecided(flow: Flow, data: bytes) -> None:
    flow.stream.pending += data
    flow.stream.next += len(data)
