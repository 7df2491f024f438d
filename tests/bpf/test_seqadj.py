"""Shifted sequence numbers: the kernel's against algate.alg.engine.corrections, for any history of length changes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from algate.alg.engine.corrections import Corrections
from algate.bpf.abi import Direction
from tests import packets
from tests.bpf.rig import REDIRECT, TCP, Rig
from tests.bpf.watched import CONTROL, FIRST, IN, OUT, Watched, watch

SIDES = [OUT, IN]
WRAP = 2**32


@st.composite
def histories(draw: st.DrawFn, start: int) -> Corrections:
    """Replacements of a stream's lines, oldest first, some already folded as acknowledged."""
    made = Corrections(base=draw(st.integers(-50, 50)))
    at = start
    for _ in range(draw(st.integers(0, 8))):
        at += draw(st.integers(0, 60))
        size = draw(st.integers(1, 60))
        made.add(at % WRAP, (at + size) % WRAP, draw(st.integers(1 - size, 60)))
        at += size
    return made


def write(watched: Watched, out: Corrections, into: Corrections) -> None:
    watched.adjust([*map(tuple, out.items)], [*map(tuple, into.items)], (out.base, into.base))


def shifted(watched: Watched, side: Direction, frame: bytes, own: Corrections, other: Corrections) -> bytes:
    """The oracle for a segment of `side`."""
    fields: dict[str, Any] = {
        "TCP_seq": own.shift(packets.field(frame, "TCP_seq")),
        "TCP_ack": other.unshift(packets.field(frame, "TCP_ack")),
    }
    options = packets.field(frame, "TCP_options")
    if options:
        fields["TCP_options"] = [
            (name, tuple(other.unshift(edge) for edge in value)) if name == "SAck" else (name, value)
            for name, value in options
        ]
    return watched.expected(side, frame, **fields)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("isn", [1000, WRAP - 200], ids=["plain", "wrapping"])
def test_numbers_against_the_model(rig: Rig, side: Direction, isn: int, data: st.DataObject) -> None:
    session = rig.session(CONTROL, TCP)
    watched = Watched(rig, session.id) if session else watch(rig)
    own, other = data.draw(histories(isn)), data.draw(histories(isn + 77))
    histories_by_side = (own, other) if side == OUT else (other, own)
    write(watched, *histories_by_side)
    numbers = st.integers(isn - 100, isn + 1200).map(lambda n: n % WRAP)
    blocks = data.draw(st.integers(0, 4))
    edges = tuple(data.draw(numbers) for _ in range(2 * blocks))
    padding = [("NOP", None)] * data.draw(st.integers(0, 2))
    options: list[Any] = [*padding, ("SAck", edges)] if blocks else []
    if data.draw(st.booleans()) and blocks < 4:
        options = [("NOP", None), ("NOP", None), ("Timestamp", (1, 2)), *options]
    frame = watched.frame(side, b"", "A", seq=data.draw(numbers), ack=data.draw(numbers), options=options)
    frame = packets.changed(frame)
    watched.doubt()
    out = watched.send(side, frame)
    assert out.action == REDIRECT
    packets.same(out.data, shifted(watched, side, frame, own, other))


@pytest.mark.parametrize("side", SIDES)
def test_decided_payload_is_shifted_too(rig: Rig, side: Direction) -> None:
    """The segment after a grown line, passed and replaced."""
    watched = watch(rig)
    own = Corrections()
    own.add(FIRST[side], FIRST[side] + 20, 5)
    write(watched, *((own, Corrections()) if side == OUT else (Corrections(), own)))
    load = b"LIST\r\n"
    frame = watched.frame(side, load, at=20)
    watched.decide(side, load, at=20)
    out = watched.send(side, frame)
    assert out.action == REDIRECT
    packets.same(out.data, watched.expected(side, frame, TCP_seq=FIRST[side] + 25))


@pytest.mark.parametrize("side", SIDES)
def test_the_replaced_line_itself_keeps_its_number(rig: Rig, side: Direction) -> None:
    from algate.bpf.abi import Verdict

    watched = watch(rig)
    line, new = b"PORT 10,0,0,2,4,1\r\n", b"PORT 203,0,113,1,195,80\r\n"
    own = Corrections()
    own.add(FIRST[side], FIRST[side] + len(line), len(new) - len(line))
    write(watched, *((own, Corrections()) if side == OUT else (Corrections(), own)))
    watched.decide(side, line, Verdict.REPLACE, new)
    frame = watched.frame(side, line)
    packets.same(watched.send(side, frame).data, watched.expected(side, frame, Raw_load=new))
    back = Direction(1 - side)
    half = watched.frame(back, b"", "A", ack=FIRST[side] + 10)
    packets.same(watched.send(back, half).data, watched.expected(back, half, TCP_ack=FIRST[side]), "half acknowledged")
    whole = watched.frame(back, b"", "A", ack=FIRST[side] + len(new))
    wanted = watched.expected(back, whole, TCP_ack=FIRST[side] + len(line))
    packets.same(watched.send(back, whole).data, wanted, "all acknowledged")
    track = watched.track()
    assert track.acked[side] == FIRST[side] + len(line)
    assert track.ack_sent[side] == FIRST[side] + len(new)


def test_shifts_of_a_dead_generation_mean_nothing(rig: Rig) -> None:
    watched = watch(rig)
    stale = Watched(rig, watched.id + 256)
    stale.adjust([(FIRST[OUT], FIRST[OUT] + 5, 0, 9)], [(FIRST[IN], FIRST[IN] + 5, 0, 9)], (3, 4))
    for side in SIDES:
        frame = watched.frame(side, b"", "A", at=50, ack=FIRST[Direction(1 - side)] + 50)
        packets.same(watched.send(side, frame).data, watched.expected(side, frame))


def test_urgent_pointer_and_reserved_bits_stay(rig: Rig) -> None:
    watched = watch(rig)
    own = Corrections()
    own.add(FIRST[OUT], FIRST[OUT] + 5, 3)
    write(watched, own, Corrections())
    frame = watched.frame(OUT, b"", "AUEC", at=40)
    frame = packets.changed(frame, TCP_urgptr=77, TCP_reserved=5)
    packets.same(watched.send(OUT, frame).data, watched.expected(OUT, frame, TCP_seq=FIRST[OUT] + 43))


@pytest.mark.parametrize("change", [3, -3])
def test_urgent_pointer_reaches_across_a_replacement(rig: Rig, change: int) -> None:
    """FTP-39: it counts from the sequence number, so what is inserted or removed between moves it."""
    watched = watch(rig)
    own = Corrections()
    own.add(FIRST[OUT] + 20, FIRST[OUT] + 30, change)
    write(watched, own, Corrections())
    for at, pointer, wanted in ((10, 30, 30 + change), (10, 10, 10), (40, 30, 30)):
        frame = packets.changed(watched.frame(OUT, b"", "AU", at=at), TCP_urgptr=pointer)
        moved = FIRST[OUT] + at + (change if at >= 30 else 0)
        packets.same(watched.send(OUT, frame).data, watched.expected(OUT, frame, TCP_seq=moved, TCP_urgptr=wanted))
