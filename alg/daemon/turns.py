"""When the helper works: turns on its ring, its timers, its heartbeat, all on one loop and none ahead of the others.

The law of this file: it says when, never what. A turn is bounded, so sockets, timers and the heartbeat wait for at
most one turn, whatever comes through the ring. A failure ends the service through `failed`, not one duty unnoticed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from algate.alg.daemon.notify import Watchdog
from algate.alg.daemon.running import Running
from algate.alg.helper.helper import now

HEARTBEAT = 0.25  # s; a tenth of the default helper_timeout
TAIL_SECONDS = 0.003  # between looks for the heads of held fragments
QUIET = 0.01  # s between looks for samples that wake nobody, while any come
MANY = 20  # turns at most without a pause
NEVER = float("inf")


class Turns:
    """`number`: turns so far, idle ones included. `failed` never has a result, only an exception."""

    def __init__(self, running: Running, loop: asyncio.AbstractEventLoop) -> None:
        self.number = 0
        self.failed: asyncio.Future[None] = loop.create_future()
        self.settle: Callable[[Sequence[int]], bool] = lambda _: False  # behind a turn; True: there is more in the ring
        self._running = running
        self._helper = running.helper
        self._loop = loop
        self._fds: list[int] = []
        self._again: asyncio.Handle | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._beat: asyncio.TimerHandle | None = None
        self._tails: asyncio.TimerHandle | None = None
        self._look: asyncio.TimerHandle | None = None
        self._watchdog = Watchdog()

    def start(self, fds: Sequence[int]) -> None:
        """Start. `fds` become readable when the ring has something."""
        self._fds = list(fds)
        for fd in fds:
            self._loop.add_reader(fd, self._readable)
        self._helper.due_changed = self.arm
        self._helper.tails_waiting = self._tails_soon
        self.arm()
        self._pulse(self._loop.time())

    def stop(self) -> None:
        """Stop; what is in the ring stays there."""
        for fd in self._fds:
            self._loop.remove_reader(fd)
        self._fds = []
        self._helper.due_changed = self._helper.tails_waiting = lambda: None
        for one in (self._again, self._alarm, self._beat, self._tails, self._look):
            if one is not None:
                one.cancel()
        self._again = self._alarm = self._beat = self._tails = self._look = None

    def catch_up(self) -> None:
        """Take what is in the ring, or as much of it as some turns can."""
        for _ in range(MANY):
            if self.failed.done() or not self._helper.turn():
                break

    def arm(self) -> None:
        """Have the engine's next timer run when it is due. One that fires too early is cheap: it looks again."""
        due = self._helper.engine.next_due()
        if self._alarm is not None:
            if self._alarm.when() <= due:
                return
            self._alarm.cancel()
        self._alarm = None
        if due != NEVER:
            wanted = max(due, self._loop.time())  # one already due when set isn't late because of that
            self._alarm = self._loop.call_at(wanted, self._ring, wanted)

    def _ring(self, wanted: float) -> None:
        self._alarm = None
        self._running.metrics.late.observe(self._loop.time() - wanted)
        self._guarded(self._helper.tick)
        if not self.failed.done():
            self.arm()

    def _readable(self) -> None:
        # If several rings have something, the first one's turn reads all; if it left some, the next turn is scheduled.
        if self._again is None:
            self._turn()

    def _turn(self) -> None:
        self._again = None
        self._guarded(self._take)

    def _take(self) -> None:
        began = now()
        before = self._helper.taken
        left = self._helper.turn()
        self.number += 1
        if self._look is None and self._helper.taken != before:
            self._look = self._loop.call_at(self._loop.time() + QUIET, self._take_quiet)
        if left or self.settle(self._fds):
            # After whatever is ready now, so that sockets and timers get their share.
            self._again = self._loop.call_soon(self._turn)
        self.arm()
        self._running.metrics.turn.observe(now() - began)

    def _take_quiet(self) -> None:
        self._look = None
        self._readable()

    def _pulse(self, due: float) -> None:
        self._guarded(self._running.beat)
        if self._beat is not None:
            self._readable()  # what woke nobody, if nothing else came behind it
        self.arm()  # in case somebody set a timer and didn't say so
        if not self.failed.done():
            self._watchdog.feed(self._loop.time())
            # From when it was due, so that a late beat doesn't delay all later ones; after a standstill, from now.
            following = max(due + HEARTBEAT, self._loop.time())
            self._beat = self._loop.call_at(following, self._pulse, following)

    def _tails_soon(self) -> None:
        """Look for the heads of held fragments in a moment, and again while any are held."""
        if self._tails is None:
            self._tails = self._loop.call_later(TAIL_SECONDS, self._guarded, self._release_tails)

    def _release_tails(self) -> None:
        self._tails = None
        self._helper.tails.release(now())
        if self._helper.tails:
            self._tails_soon()

    def _guarded(self, duty: Callable[[], None]) -> None:
        try:
            duty()
        except Exception as error:
            if not self.failed.done():
                self.failed.set_exception(error)
