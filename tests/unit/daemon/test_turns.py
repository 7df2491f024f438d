"""When the helper works: its timers on time, its turns one by one, its heartbeat whatever else happens."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from algate.alg.daemon import turns
from algate.alg.daemon.turns import HEARTBEAT, NEVER, Turns

pytestmark = pytest.mark.unit


class Handle:
    def __init__(self, at: float, call: Callable[..., None], args: tuple[Any, ...]) -> None:
        self.at, self.call, self.args, self.cancelled = at, call, args, False

    def when(self) -> float:
        return self.at

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """asyncio's loop, by hand: `run` lets time pass from one timer to the next."""

    def __init__(self) -> None:
        self.now = 100.0
        self.soon: list[Handle] = []
        self.timers: list[tuple[float, int, Handle]] = []
        self.readers: dict[int, Callable[[], None]] = {}
        self._numbers = count()
        self.futures = asyncio.new_event_loop()

    def time(self) -> float:
        return self.now

    def create_future(self) -> Any:
        return self.futures.create_future()

    def add_reader(self, fd: int, call: Callable[[], None]) -> None:
        self.readers[fd] = call

    def remove_reader(self, fd: int) -> None:
        del self.readers[fd]

    def call_soon(self, call: Callable[..., None], *args: Any) -> Handle:
        self.soon.append(Handle(self.now, call, args))
        return self.soon[-1]

    def call_at(self, at: float, call: Callable[..., None], *args: Any) -> Handle:
        made = Handle(at, call, args)
        heappush(self.timers, (at, next(self._numbers), made))
        return made

    def run(self, until: float, late: float = 0.0) -> None:
        """`late`: s by which every timer is late."""
        while self.timers and self.timers[0][0] <= until:
            at, _, handle = heappop(self.timers)
            self.now = max(self.now, at + late)
            if not handle.cancelled:
                handle.call(*handle.args)
        self.now = max(self.now, until)

    def armed(self) -> list[float]:
        return sorted(at for at, _, one in self.timers if not one.cancelled)


class Helper:
    """`due`: of the engine. `ticks`: when it was told to look."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.due = NEVER
        self.ticks: list[float] = []
        self.turns = 0
        self.samples = 0
        self.taken = 0
        self.due_changed: Callable[[], None] = lambda: None
        self.engine = SimpleNamespace(next_due=lambda: self.due)
        self.fail: Exception | None = None
        self.during: Callable[[], None] = lambda: None

    def tick(self) -> None:
        self.ticks.append(self.loop.now)
        if self.fail:
            raise self.fail
        if self.due <= self.loop.now:
            self.due = NEVER

    def turn(self) -> bool:
        self.turns += 1
        self.during()
        self.taken += min(64, self.samples)
        self.samples = max(0, self.samples - 64)
        return self.samples > 0


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loop]:
    made = Loop()
    monkeypatch.setattr(turns, "now", made.time)
    yield made
    made.futures.close()


@pytest.fixture
def helper(loop: Loop) -> Helper:
    return Helper(loop)


@pytest.fixture
def made(loop: Loop, helper: Helper) -> Turns:
    beats: list[float] = []
    late: list[float] = []
    metrics = SimpleNamespace(turn=SimpleNamespace(observe=lambda _: None), late=SimpleNamespace(observe=late.append))
    running: Any = SimpleNamespace(
        helper=helper, metrics=metrics, late=late, beats=beats, beat=lambda: beats.append(loop.now)
    )
    found = Turns(running, loop)  # type: ignore[arg-type]
    found.start([7, 8])
    return found


def beats(made: Turns) -> list[float]:
    found: list[float] = made._running.beats  # type: ignore[attr-defined]
    return found


def test_a_timer_runs_when_it_is_due_and_none_without_one(loop: Loop, helper: Helper, made: Turns) -> None:
    loop.run(101)
    assert helper.ticks == []
    helper.due = 101.0123
    helper.due_changed()
    loop.run(102)
    assert helper.ticks == [101.0123]


def test_an_earlier_timer_takes_its_place_and_a_later_one_is_not_forgotten(
    loop: Loop, helper: Helper, made: Turns
) -> None:
    for helper.due in (101.5, 101.2, 101.9):
        helper.due_changed()
    assert [at for at in loop.armed() if at > 101] == [101.2], "one, at the earliest"
    loop.run(103)
    assert helper.ticks == [101.2, 101.9], "the early look finds nothing and is set anew"


def test_a_timer_that_was_set_before_it_started_is_armed(loop: Loop, helper: Helper) -> None:
    helper.due = 100.05
    metrics = SimpleNamespace(
        late=SimpleNamespace(observe=lambda _: None), turn=SimpleNamespace(observe=lambda _: None)
    )
    running: Any = SimpleNamespace(helper=helper, metrics=metrics, beat=lambda: None)
    Turns(running, loop).start([])  # type: ignore[arg-type]
    loop.run(100.1)
    assert helper.ticks == [100.05]


def test_a_timer_that_nobody_told_of_is_found_by_the_next_heartbeat(loop: Loop, helper: Helper, made: Turns) -> None:
    helper.due = 100.01
    loop.run(101)
    assert helper.ticks == [100 + HEARTBEAT]


def test_how_late_a_timer_is_counts_from_when_it_could_have_run(loop: Loop, helper: Helper, made: Turns) -> None:
    helper.due = 100.5
    helper.due_changed()
    loop.run(100.6, late=0.02)
    helper.due = 90.0  # already past when it is set
    helper.due_changed()
    loop.run(100.7, late=0.03)
    assert made._running.late == pytest.approx([0.02, 0.03])  # type: ignore[attr-defined]


def test_a_turn_that_sets_a_timer_arms_it(loop: Loop, helper: Helper, made: Turns) -> None:
    def work() -> None:
        helper.due = 100.01

    helper.during = work
    loop.readers[7]()
    loop.run(100.2)
    assert helper.ticks == [100.01]


def test_two_rings_with_samples_make_one_turn_at_a_time(loop: Loop, helper: Helper, made: Turns) -> None:
    helper.samples = 150
    loop.readers[7]()
    loop.readers[8]()
    assert helper.turns == 1 and len(loop.soon) == 1
    loop.soon.pop().call()
    loop.readers[8]()
    assert helper.turns == 2 and len(loop.soon) == 1
    loop.soon.pop().call()
    assert helper.turns == 3 and not loop.soon, "nothing was left"
    loop.readers[7]()
    assert helper.turns == 4


def test_what_waits_for_another_gateway_is_settled_behind_the_last_turn(
    loop: Loop, helper: Helper, made: Turns
) -> None:
    """Not while there is more in the ring; and whoever looked at the ring meanwhile says whether there is, since its
    descriptor may not."""
    asked, more = list[list[int]](), [True, False]

    def settle(fds: Sequence[int]) -> bool:
        asked.append(list(fds))
        return more.pop(0)

    made.settle = settle
    helper.samples = 150
    loop.readers[7]()
    assert helper.turns == 1 and not asked
    while loop.soon:
        loop.soon.pop().call()
    assert asked == [[7, 8]] * 2 and not more


def test_after_samples_it_looks_again_for_those_that_wake_nobody(loop: Loop, helper: Helper, made: Turns) -> None:
    helper.samples = 1
    loop.readers[7]()
    helper.samples = 1  # a quiet one
    loop.run(100.015)
    assert (helper.turns, helper.samples) == (2, 0)
    loop.run(100.1)
    assert helper.turns == 3, "once more, and no further"
    helper.samples = 1
    loop.run(100.3)
    assert helper.samples == 0, "at the heartbeat at the latest"


def test_the_heartbeat_keeps_its_pace_although_each_one_is_late(loop: Loop, helper: Helper, made: Turns) -> None:
    loop.run(110, late=0.01)
    wanted = [100.0] + [100.01 + HEARTBEAT * number for number in range(1, 41)]
    assert beats(made) == pytest.approx(wanted, abs=1e-6)


def test_after_a_standstill_there_is_one_heartbeat_and_not_a_hundred(loop: Loop, helper: Helper, made: Turns) -> None:
    loop.now = 150
    loop.run(150)
    assert len(beats(made)) <= 3
    loop.run(151)
    assert len(beats(made)) <= 7


@pytest.mark.parametrize("what", ["tick", "beat", "turn"])
def test_a_failure_ends_the_service(what: str, loop: Loop, helper: Helper, made: Turns) -> None:
    error = OSError("gone")

    def fail() -> None:
        raise error

    if what == "tick":
        helper.fail, helper.due = error, 100.0
        helper.due_changed()
    elif what == "beat":
        made._running.beat = fail  # type: ignore[method-assign]
    else:
        helper.during = fail
        loop.readers[7]()
    loop.run(101)
    assert made.failed.exception() is error


def test_nothing_runs_after_the_end(loop: Loop, helper: Helper, made: Turns) -> None:
    helper.due, helper.samples = 101.0, 200
    helper.due_changed()
    loop.readers[7]()
    made.stop()
    assert loop.readers == {} and loop.armed() == [] and all(one.cancelled for one in loop.soon)
    helper.due = 100.5
    helper.due_changed()
    assert loop.armed() == []


def test_a_ring_that_never_empties_starves_neither_sockets_nor_timers() -> None:
    """On asyncio's own loop, counted in turns instead of seconds."""
    seen: dict[str, int] = {}

    async def run() -> None:
        loop = asyncio.get_running_loop()
        ring, filler = socket.socketpair()
        reader, writer = socket.socketpair()
        helper: Any = Helper(Loop())
        helper.turn = lambda: (helper.__dict__.update(turns=helper.turns + 1), True)[1]
        metrics = SimpleNamespace(turn=SimpleNamespace(observe=lambda _: None))
        running: Any = SimpleNamespace(helper=helper, metrics=metrics, beat=lambda: None)
        made = Turns(running, loop)
        over = loop.create_future()

        def note(name: str) -> None:
            seen.setdefault(name, helper.turns)
            if len(seen) == 2 and not over.done():
                over.set_result(None)

        made.start([ring.fileno()])
        filler.send(b"x")
        while helper.turns < 10:
            await asyncio.sleep(0)
        seen.clear()
        helper.turns = 0
        loop.add_reader(reader.fileno(), note, "socket")
        loop.call_at(loop.time(), note, "timer")
        writer.send(b"x")
        await over
        made.stop()
        loop.remove_reader(reader.fileno())
        for one in (ring, filler, reader, writer):
            one.close()
        helper.loop.futures.close()

    asyncio.run(run())
    assert seen.keys() == {"socket", "timer"} and max(seen.values()) <= 3, seen
