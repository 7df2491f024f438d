"""A plug-in that takes too long is stopped, and its caller goes on."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from algate.alg.helper.guard import Guard, TooSlowError
from algate.alg.plugin.contract import PluginFaultError
from algate.alg.plugin.model import Action, EndPoint, Pass, Side


@pytest.fixture
def guard() -> Iterator[Guard]:
    made = Guard(0.05)
    yield made
    made.close()


class Slow:
    """A conversation that never ends, in one way or another."""

    def feed(self, side: Side, data: bytes, now: float, *, end: bool = False) -> Sequence[Action]:
        while data == b"spin":
            try:
                while True:
                    pass
            except Exception:  # it won't be stopped by this
                continue
        if data == b"sleep":
            time.sleep(3600)
        return [Pass(len(data))]

    def reserved(self, tag: int, public: EndPoint | None, now: float) -> Sequence[Action]:
        while True:
            pass

    def outcome(self, tag: int, outcome: str, now: float) -> Sequence[Action]:
        raise ValueError(outcome)


@pytest.mark.parametrize("word", [b"spin", b"sleep"])
def test_what_never_ends_is_stopped_and_the_next_call_works(guard: Guard, word: bytes) -> None:
    made = Slow()
    with pytest.raises(TooSlowError, match=r"more than 0\.05 s"):
        guard.call(made.feed, Side.CLIENT, word, 0.0)
    with pytest.raises(TooSlowError):
        guard.call(made.reserved, 1, None, 0.0)
    assert guard.call(made.feed, Side.CLIENT, b"fine", 0.0) == [Pass(4)]


def test_it_is_interrupted_again_if_something_swallowed_that(guard: Guard) -> None:
    """As the interpreter does with what a destructor raises, or a callback of the garbage collector."""
    swallowed: list[bool] = []

    def deaf() -> None:
        while len(swallowed) < 3:
            try:
                while True:
                    pass
            except BaseException:
                swallowed.append(True)
        while True:
            pass

    with pytest.raises(TooSlowError):
        guard.call(deaf)
    assert len(swallowed) == 3
    assert guard.call(lambda: 1) == 1


def test_the_timer_stops_where_no_call_comes(guard: Guard) -> None:
    made = Slow()
    for _ in range(3):
        assert guard.call(made.feed, Side.CLIENT, b"fine", 0.0) == [Pass(4)]
        assert signal.getitimer(signal.ITIMER_REAL)[1] > 0
        end = time.monotonic() + 20
        while signal.getitimer(signal.ITIMER_REAL) != (0.0, 0.0) and time.monotonic() < end:
            time.sleep(0.01)
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_what_it_raises_is_the_plug_ins_fault(guard: Guard) -> None:
    with pytest.raises(PluginFaultError, match="ValueError: used") as caught:
        guard.call(Slow().outcome, 1, "used", 0.0)
    assert isinstance(caught.value.__cause__, ValueError), "the log shows where"
    assert issubclass(TooSlowError, PluginFaultError)


def test_what_the_guard_itself_raises_is_not(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError("no timer")

    monkeypatch.setattr(signal, "setitimer", broken)
    with pytest.raises(OSError, match="no timer"):
        guard.call(Slow().feed, Side.CLIENT, b"fine", 0.0)


def test_the_signal_is_given_back() -> None:
    before = signal.getsignal(signal.SIGALRM)
    Guard().close()
    assert signal.getsignal(signal.SIGALRM) == before


def test_where_nothing_can_be_interrupted_it_is_measured() -> None:
    """Run outside the main thread."""
    found: list[BaseException] = []

    def spend() -> None:
        end = time.thread_time() + 0.1
        try:
            Guard(0.05).call(lambda: [time.thread_time() for _ in iter(lambda: time.thread_time() > end, True)])
        except TooSlowError as error:
            found.append(error)

    one = threading.Thread(target=spend)
    one.start()
    one.join()
    assert len(found) == 1
