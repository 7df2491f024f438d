"""Verdicts in a row, and how many of them make one segment.

The law of this file: sizes and replacement bytes only; no stream, no sequence number but the position where urgent data
ends. A passing span may be cut anywhere, a replacement only if it is too large for any segment.
"""

from __future__ import annotations

from typing import NamedTuple


class SplitError(ValueError):
    """A replacement so much longer than what it replaces that no segments can carry it."""


class Span(NamedTuple):
    """A verdict on the next `size` bytes: pass (`new` None), replace, or with `answer` not None refuse."""

    size: int
    new: bytes | None = None
    answer: bytes | None = None


def gather(spans: list[Span], position: int, limit: int, urgent: int, full: bool) -> list[Span]:
    """Take from the head of `spans` what makes the next chunk of at most `limit` bytes, old and new.

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
