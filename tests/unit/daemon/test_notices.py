"""When the kernel's notices are read: while somebody wishes for them, so many at a time, with every gap told."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from algate.alg.audit.relay import Relay, Wish
from algate.alg.audit.translations import Translation
from algate.alg.daemon import notices
from algate.bpf import abi, syscall
from tests.unit.gateway.test_notices import Configs, notice

pytestmark = pytest.mark.unit


class FakeRing:
    """Samples that a test put there."""

    open = 0

    def __init__(self, _fd: int, callback: Callable[[int, bytes], None], *_: object, watermark: int) -> None:
        assert watermark == notices.PAGES * 4096 // 2
        self.callback, self.samples, self.fds = callback, list[bytes](), list[int]()
        self.turns = 0
        FakeRing.open += 1

    def turn(self, most: int) -> bool:
        self.turns += 1
        for sample in self.samples[:most]:
            self.callback(0, sample)
        del self.samples[:most]
        return bool(self.samples)

    def close(self) -> None:
        FakeRing.open -= 1


class Counters:
    """The kernel's, by row."""

    fd = 9

    def __init__(self) -> None:
        self.rows: Counter[int] = Counter()

    def sum(self, row: int) -> int:
        return self.rows[row]


class Heard:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.told: list[int] = []  # how many records at a time; a gap as a negative number

    def take(self, translations: Sequence[Translation]) -> None:
        self.told.append(len(translations))

    def lost(self, number: int) -> None:
        self.told.append(-number)

    def close(self) -> None:
        pass


class Bench:
    """Notices of a gateway without a kernel."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        FakeRing.open = 0
        self.counters, self.configs = Counters(), Configs()
        self.configs.value = abi.Config()
        self.zeroed: list[bytes] = []
        monkeypatch.setattr(notices, "Ring", FakeRing)
        monkeypatch.setattr(syscall, "update", lambda _fd, key, _value: self.zeroed.append(key))
        gateway: Any = SimpleNamespace(counters=self.counters, configs=self.configs, map_fd=lambda _: 3)
        self.relay, self.sink = Relay(), Heard()
        self.notices = notices.Notices(gateway, self.relay, {})

    @property
    def ring(self) -> FakeRing:
        made: Any = self.notices._ring
        assert type(made) is FakeRing
        return made


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def in_loop(act: Callable[[], None], seconds: float = 0.0) -> None:
    async def run() -> None:
        act()
        await asyncio.sleep(seconds)

    asyncio.run(run())


def test_the_ring_is_there_while_somebody_wishes(bench: Bench) -> None:
    def act() -> None:
        bench.notices.start(asyncio.get_running_loop())
        assert (FakeRing.open, bench.configs.value.tell) == (0, 0)
        bench.relay.add(bench.sink, Wish(sessions=True))
        assert FakeRing.open == 1 and bench.configs.value.tell & abi.TellFlag.SESSIONS
        bench.relay.remove(bench.sink)
        assert (FakeRing.open, bench.configs.value.tell) == (0, 0)

    in_loop(act)


def test_an_earlier_wish_is_forgotten_at_the_start(bench: Bench) -> None:
    bench.configs.value.tell = 99
    in_loop(lambda: bench.notices.start(asyncio.get_running_loop()))
    assert bench.configs.value.tell == 0


def test_what_nobody_read_is_the_first_gap(bench: Bench) -> None:
    bench.counters.rows[abi.Counter.NOTICES_UNREAD] = 12
    bench.relay.add(bench.sink, Wish(mappings=True))
    in_loop(lambda: bench.notices.start(asyncio.get_running_loop()))
    assert bench.sink.told == [-12] and len(bench.zeroed) == 1


def test_turns_are_bounded_and_gaps_come_behind_what_was_before(bench: Bench) -> None:
    def act() -> None:
        bench.notices.start(asyncio.get_running_loop())
        bench.relay.add(bench.sink, Wish(sessions=True))
        bench.ring.samples = [notice(abi.NoticeKind.MADE)] * (2 * notices.TURN + 5)
        bench.counters.rows[abi.Counter.NOTICES_LOST] = 7

    in_loop(act, 2.5 * notices.PERIOD)
    assert [one for one in bench.sink.told if one > 0] == [notices.TURN, notices.TURN, 5]
    assert [one for one in bench.sink.told if one < 0] == [-7]
    assert (bench.relay.told, bench.relay.missed) == (2 * notices.TURN + 5, 7)


@pytest.mark.parametrize("quiet", [False, True])
def test_the_end_reads_the_rest(bench: Bench, quiet: bool) -> None:
    """`quiet`: the kernel goes on counting what a log misses until the next daemon comes."""

    def act() -> None:
        bench.notices.start(asyncio.get_running_loop())
        bench.relay.add(bench.sink, Wish(mappings=True, sessions=True))
        bench.ring.samples = [notice(abi.NoticeKind.MADE)] * 300
        bench.notices.stop(quiet=quiet)

    in_loop(act)
    assert sum(bench.sink.told) == 300 and FakeRing.open == 0
    assert bool(bench.configs.value.tell) == quiet
