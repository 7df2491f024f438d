"""A time limit on plug-ins: a call that takes too long is interrupted, which costs only its own session.

The law of this file: time and one signal of the process, nothing about protocols. The engine knows no clock; to it, a
plug-in that is too slow is one that raised. A blocking call is measured by the clock, a computation by the processor
time that it got, so that a busy machine makes no plug-in too slow.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import ParamSpec, TypeVar

from algate.alg.plugin.contract import PluginFaultError, plainly, raised

BUDGET = 0.1  # s of processor time for one call; a line of a dialogue takes 5 µs
SHARE = 0.9  # of a budget: what a computation gets between two ticks, apart from the ticks themselves
PATIENCE = 10  # budgets by the clock, for a plug-in that sleeps: 1 s, a third of the default helper_timeout


P = ParamSpec("P")
T = TypeVar("T")


class TooSlowError(PluginFaultError):
    """A plug-in took longer than its budget."""


class _Interrupted(BaseException):
    """Raised inside the plug-in's code; no `except Exception` there stops it."""


class Guard:
    """Calls plug-ins under a budget. One per process: it owns SIGALRM until closed.

    The timer ticks once per budget while calls come, and stops when none came between two ticks, so a call needs no
    system call. A call's processor time counts from the first tick that finds it running.
    """

    def __init__(self, budget: float = BUDGET) -> None:
        self.budget = budget
        self._armed = False
        self._ticking = False
        self._number = 0  # number of the latest call
        self._seen = 0  # the number at the latest tick
        self._clock = 0.0  # when the latest call began
        self._cpu = 0.0  # processor time when a tick first found it running
        self._interrupting = threading.current_thread() is threading.main_thread()
        if self._interrupting:
            self._former = signal.signal(signal.SIGALRM, self._tick)

    def close(self) -> None:
        """Give the signal back."""
        if self._interrupting:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._former)
            self._interrupting = False

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what the function returns. PluginFaultError from what it raised; TooSlowError if it took too long,
        even if it would never have ended."""
        self._number += 1
        self._clock = time.monotonic()
        if not self._interrupting:
            return self._measured(function, *args, **kwargs)
        if not self._ticking:
            self._ticking = True
            signal.setitimer(signal.ITIMER_REAL, self.budget, self.budget)
        try:
            self._armed = True
            answer = function(*args, **kwargs)
            self._armed = False
        except _Interrupted:
            self._armed = False
            raise self._error() from None
        except Exception as error:
            raise raised(error) from error
        finally:
            self._armed = False
        return answer

    def _measured(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same where nothing can be interrupted: outside the main thread."""
        self._cpu = time.thread_time()
        answer = plainly(function, *args, **kwargs)
        if self._late():
            raise self._error()
        return answer

    def _tick(self, _number: int, _frame: FrameType | None) -> None:
        known, self._seen = self._seen == self._number, self._number
        if not self._armed:
            if known:
                self._ticking = False
                signal.setitimer(signal.ITIMER_REAL, 0)
            return
        if not known:
            self._cpu = time.thread_time()
        if self._late():  # again at each tick until the call ends: what ran just now may have swallowed it, as a
            raise _Interrupted  # destructor or a callback of the garbage collector does

    def _late(self) -> bool:
        spent = time.thread_time() - self._cpu
        return spent > self.budget * SHARE or time.monotonic() - self._clock > self.budget * PATIENCE

    def _error(self) -> TooSlowError:
        took = time.monotonic() - self._clock
        return TooSlowError(f"took {took:.2g} s for one call, more than {self.budget:g} s are not granted")
