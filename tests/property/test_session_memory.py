"""The memory of a control session, counting all its Python objects, against `Limits.session` (invariant 9)."""

from __future__ import annotations

import sys
from collections import deque
from enum import Enum
from types import FunctionType
from typing import Any

import pytest

from algate.alg.engine import effects as fx
from algate.alg.engine.limits import Limits
from algate.alg.plugin.model import Lines
from algate.alg.protocols.ftp.policy import FtpPolicy
from tests.ftplab import FtpLab
from tests.kernel_model import frame_of
from tests.textbook import Exchange
from tests.wire import KEY, REMOTE, Lab

GREETED = [Exchange(b"", b"220 hi\r\n")]


def size_of(thing: Any, seen: set[int]) -> int:
    """Bytes of everything that it holds, without what all sessions share (enums, classes, policies)."""
    if id(thing) in seen or isinstance(thing, Enum | type | FtpPolicy | FunctionType | Lines):
        return 0
    seen.add(id(thing))
    total = sys.getsizeof(thing)
    if isinstance(thing, dict):
        return total + sum(size_of(key, seen) + size_of(value, seen) for key, value in thing.items())
    if isinstance(thing, tuple | list | set | frozenset | deque):
        return total + sum(size_of(item, seen) for item in thing)
    names = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    return total + sum(size_of(getattr(thing, name, None), seen) for name in [*names, *getattr(thing, "__dict__", ())])


def cost(lab: Lab) -> int:
    session = lab.engine._sessions.get(77)
    return 0 if session is None else size_of(session, set())


def greeted(deny: tuple[str, ...] = ()) -> FtpLab:
    lab = FtpLab(GREETED, True, deny=deny)
    lab.finish()
    return lab


def punt(lab: Lab, direction: int, seq: int, payload: bytes) -> None:
    """A held segment as the kernel hands it over; nothing is ever acknowledged."""
    end = lab.ends[direction]
    end.stream = payload
    frame = frame_of(end.packet(0x18, 0, len(payload), seq=seq))
    start = len(frame) - len(payload)
    info = lab.kernel.info
    acked = lab.kernel.tracked.acked[0], lab.kernel.tracked.acked[1]
    lab.do(lab.engine.segment(fx.Segment(info, direction, seq, frame, 14, start, len(payload), 0x18, acked), lab.now))


def test_lines_of_one_byte_that_nobody_acknowledges() -> None:
    lab = greeted()
    for number in range(70_000):
        punt(lab, fx.OUT, 1001 + number, b"\n")
    assert 0 < cost(lab) <= Limits().session
    assert lab.engine.counts["retained-limit"] > 0


@pytest.mark.parametrize("piece", [1, 1460, 60_000])
def test_everything_full_both_ways(piece: int) -> None:
    """Unfinished lines, bytes beyond gaps, unacknowledged bytes, all at once and in both directions."""
    lab = greeted()
    worst = 0
    for direction, first, line in ((fx.OUT, 1001, b"NOOP\r\n"), (fx.IN, 5009, b"text\r\n")):
        at = first
        for _ in range(8):
            load = (line * (piece // 6 + 1))[:-2]
            punt(lab, direction, at, load)
            at += len(load)
        for number in range(200):
            punt(lab, direction, at + 2 + number * 2 * piece, b"x" * piece)
        worst = max(worst, cost(lab))
    assert 0 < worst <= Limits().session


@pytest.mark.parametrize("count", [1000, 10_000])
def test_refused_lines_that_wait_for_each_other(count: int) -> None:
    """More of them than a client can mean end the session."""
    lab = greeted(("DELE",))
    worst = cost(lab)
    for at in range(3):
        if not lab.kernel.reset:
            punt(lab, fx.OUT, 1001 + at * 6 * count, b"DELE\r\n" * count)
        worst = max(worst, cost(lab))
    assert bool(lab.kernel.reset) == (count > 340)
    assert 0 < worst <= Limits().session


def test_commands_ahead_of_their_answers() -> None:
    lab = greeted()
    worst, at = 0, 1001
    for number in range(3000):
        line = b"PORT 10,0,0,5,%d,%d\r\n" % (4 + number // 250, number % 250) + b"TYPE I\r\nLIST\r\n" * (number % 3)
        punt(lab, fx.OUT, at, line)
        at += len(line)
        worst = max(worst, cost(lab))
    assert 0 < worst <= Limits().session
    assert len(lab.kernel.expectations) <= Limits().expectations_per_session


def test_a_quiet_session_is_cheap() -> None:
    lab = greeted()
    assert lab.kernel.info.key == KEY and lab.outside.packet(0).src == REMOTE
    assert cost(lab) < 10_000
