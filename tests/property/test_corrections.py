"""Mapping numbers forth and back through any corrections."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from algate.alg.engine.corrections import MASK, Corrections, distance

CHANGES = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 80)), max_size=8)


@given(st.integers(0, MASK), st.integers(-1000, 1000), CHANGES, st.integers(0, 8))
def test_a_byte_map_agrees(start: int, base: int, changes: list[tuple[int, int, int]], folded: int) -> None:
    """Compared with a plain list of which byte of the sender is where at the receiver."""
    model = Corrections(base)
    at = sent = 0
    boundaries = [(0, 0)]  # offsets at the sender and the receiver where both have a boundary
    for gap, old, new in changes:
        for _ in range(gap):
            at, sent = at + 1, sent + 1
            boundaries.append((at, sent))
        model.add(start + at, start + at + old, new - old)
        at, sent = at + old, sent + new
        boundaries.append((at, sent))
    for own, theirs in boundaries:
        last = max(t for o, t in boundaries if o == own)
        assert distance(model.shift((start + own) & MASK), (start + base + last) & MASK) == 0
        furthest = max(o for o, t in boundaries if t == theirs)
        assert model.unshift((start + base + theirs) & MASK) == (start + furthest) & MASK
    for ack in range(sent + 1):
        reached = max(o for o, t in boundaries if t <= ack)
        assert distance(model.unshift((start + base + ack) & MASK), (start + reached) & MASK) <= 0
    kept = Corrections(model.base, model.items)
    if folded and changes:
        kept.fold(model.items[min(folded, len(changes)) - 1].end)
        assert kept.latest == model.latest
        assert kept.shift((start + at) & MASK) == model.shift((start + at) & MASK)
