"""What a sweep judges to be expired, from raw columns, near the wrap of the clock too."""

from __future__ import annotations

from typing import Any

import pytest

from algate.alg.gateway import gc
from algate.bpf import abi
from algate.bpf.ticks import WRAP

TCP, UDP, ICMP = 6, 17, 1
NEW, ESTABLISHED, ACTIVE = abi.SessionState.NEW, abi.SessionState.ESTABLISHED, abi.SessionState.ACTIVE
LIMITS = {ICMP: [60] * 10, TCP: [0, 240, 7440, *[240] * 7], UDP: [300] * 10}


def batch(now: int, *sessions: tuple[int, int, int], **fields: Any) -> gc.Batch:
    """Sessions as (proto, state, idle ticks) at tick `now`."""
    keys, values = b"", b""
    for number, (proto, state, idle) in enumerate(sessions):
        keys += bytes(abi.SessionKey(inside_port=number, proto=proto))
        values += bytes(abi.Session(id=number + 1, state=state | 256, last_seen=(now - idle) % WRAP, **fields))
    return gc.Batch(keys, values, now % WRAP)


@pytest.mark.parametrize("now", [0, 1, 5000, 1 << 30, 1 << 31, (1 << 31) + 3000, 3 << 30, WRAP - 1, WRAP + 200])
def test_expired(now: int) -> None:
    """Each kind at its own limit; a tick that is ahead, as another CPU's may be, is no age."""
    made = batch(
        now,
        (TCP, ESTABLISHED, 7439), (TCP, ESTABLISHED, 7440), (TCP, NEW, 239), (TCP, NEW, 240), (UDP, ACTIVE, 299),
        (UDP, ACTIVE, 300), (ICMP, ACTIVE, 60), (UDP, ACTIVE, -3), (TCP, ESTABLISHED, 0), (47, ACTIVE, 9999),
    )  # fmt: skip
    assert made.expired(LIMITS) == [1, 3, 5, 6]


@pytest.mark.parametrize("now", [0, 1 << 31, WRAP - 1])
def test_what_is_spare(now: int) -> None:
    """What had time to be answered; what is over, and whose last ACK would have been asked for again."""
    young = gc.EMBRYONIC_IDLE
    made = batch(now, (TCP, NEW, young + 1), (TCP, NEW, young), (UDP, ACTIVE, 500), (TCP, NEW, 5000))
    assert made.spare() == [(young + 1, 0), (5000, 3)]
    state, old = abi.SessionState, gc.OVER_IDLE + 1
    ended = [(TCP, one, old) for one in (state.TIME_WAIT, state.RESET, state.CLOSING, state.FIN_OUT, ESTABLISHED)]
    assert batch(now, *ended, (TCP, state.TIME_WAIT, gc.OVER_IDLE)).spare() == [(old, 0), (old, 1)]


def test_places_of_what_is_rare() -> None:
    assert sorted(gc.marked(b"\0\1\0\2\1\0")) == [1, 3, 4]
    assert list(gc.marked(bytes(1000))) == []


def test_fields() -> None:
    """Columns and single fields are where the ABI says."""
    made = batch(7, (TCP, ESTABLISHED, 0), (UDP, ACTIVE, 0), alg=3, flags=8)
    assert (made.protos, made.states, made.algs, made.flags) == (bytes([TCP, UDP]), b"\2\t", b"\3\3", b"\x08\x08")
    assert made.id(1) == 2 and made.expected(()) == {1, 2} and made.expected({0}) == {2}
    assert abi.SessionKey.unpack(made.key(1)).inside_port == 1
