"""What a restart must know of a direction, as bytes that survive the helper.

The law of this file: one format, written by pack() and read by restore(). It is stored before the acknowledgement or
the adjust record that it is about: it may be newer than the record, never older. What is in neither passes.
"""

from __future__ import annotations

import struct
from typing import Final

from .corrections import MASK, Correction, distance
from .flow import Flow
from .ledger import Answer, Chunk

_HEAD: Final = struct.Struct("=IIHHH")  # promised, start of the held bytes, their size, chunks, answers
_CHUNK: Final = struct.Struct("=IHH")  # start, size, size of its replacement or _PASSES
_ANSWER: Final = struct.Struct("=IH")  # receiver's sequence number, size
_PASSES: Final = 0xFFFF


def pack(flow: Flow, chunks: list[Chunk]) -> bytes:
    """Those chunks (Ledger.log), acknowledged bytes without a decision, answers."""
    ledger = flow.ledger
    held = bytes(flow.stream.pending[: max(0, ledger.promised - ledger.decided)])
    head = ledger.promised & MASK, ledger.decided & MASK, len(held), len(chunks), len(ledger.answers)
    parts = [_HEAD.pack(*head), held]
    for chunk in chunks:
        size = _PASSES if chunk.new is None else len(chunk.new)
        parts += [_CHUNK.pack(chunk.start & MASK, len(chunk.old), size), chunk.old, chunk.new or b""]
    for answer in ledger.answers:
        parts += [_ANSWER.pack(answer.wire, len(answer.data)), answer.data]
    return b"".join(parts)


def restore(flow: Flow, decided: int, base: int, corrections: tuple[Correction, ...], stored: bytes = b"") -> None:
    """Set a fresh flow up from the session's adjust record and what pack() made. struct.error if that is broken."""
    flow.take_over(decided, base, corrections)
    ledger = flow.ledger
    if not stored:
        return
    promised, start, size, chunks, answers = _HEAD.unpack_from(stored)
    at = _HEAD.size + size
    for _ in range(chunks):
        at = _restore_chunk(flow, stored, at)
    if (start - flow.stream.next) & MASK == 0:
        flow.again(_cut(stored, _HEAD.size, size))
    ledger.promise(decided + distance(promised, decided))
    for _ in range(answers):
        wire, length = _ANSWER.unpack_from(stored, at)
        at += _ANSWER.size
        # One that the record doesn't know was never sent: its question will be asked again.
        if distance(wire, ledger.corrections.shift(decided)) < 0:
            ledger.remember(Answer(wire, _cut(stored, at, length)))
        at += length
    ledger.stored_before()


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
    decided = flow.ledger.decided
    start = decided + distance(seq, decided & MASK)
    if start + size <= decided:
        flow.ledger.remember(Chunk(start, start + size, old, new))
    elif start == flow.stream.next:
        flow.again(old)
    return at


def _cut(stored: bytes, at: int, size: int) -> bytes:
    if at + size > len(stored):
        raise struct.error("cut short")
    return stored[at : at + size]
