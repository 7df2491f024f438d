"""What a gateway does again and again while it runs, and how often.

The law of this file: when; what a duty does is elsewhere. A duty that fails ends all of them, not just itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from algate.alg.daemon.garbage import Garbage
from algate.alg.daemon.pacing import paced
from algate.alg.daemon.running import Running
from algate.alg.daemon.turns import Turns
from algate.alg.helper.helper import now

TICK = 0.05  # s between two refills of the room for events
TRANSFERS = 0.5  # s between looks for data connections that ended
ENDINGS = 0.5  # s between looks for control sessions that ended; never more than a fifth of the time
CARE = 1.0  # s between looks at what can perhaps be repaired by now
GARBAGE = 1.0  # s between looks for a quiet moment


class Duties:
    """Of one running gateway, until `stopping`."""

    def __init__(self, running: Running, turns: Turns, garbage: Garbage, stopping: asyncio.Event) -> None:
        self._running = running
        self._turns = turns
        self._garbage = garbage
        self._stopping = stopping

    async def run(self, *others: Awaitable[Any]) -> None:
        """These and `others`, until stopped. Raises what the first that fails raises."""
        duties = [
            asyncio.ensure_future(one)
            for one in (self._turns.failed, self.repeat(TICK, self._tick), self._look_at_transfers(),
                        self._look_at_controls(), self.repeat(CARE, self._running.ports.blocks.retry),
                        self.repeat(GARBAGE, self._look_for_quiet), *others, self._stopping.wait())
        ]  # fmt: skip
        try:
            done, _ = await asyncio.wait(duties, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()
        finally:
            for one in duties:
                one.cancel()
            await asyncio.gather(*duties, return_exceptions=True)

    async def repeat(self, interval: float, duty: Callable[[], object]) -> None:
        """Once per `interval` s, until stopped."""
        while not await self._sleep(interval):
            duty()

    async def _sleep(self, seconds: float) -> bool:
        """Whether the service is to stop."""
        try:
            async with asyncio.timeout(seconds):  # wait_for may swallow a cancellation (Python 3.11)
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True

    def _tick(self) -> None:
        self._running.events.tick(TICK)
        self._running.helper.lost_ends.tick()

    async def _look_at_transfers(self) -> None:
        while not await self._sleep(TRANSFERS):
            await paced(self._running.helper.look_at_transfers())

    async def _look_at_controls(self) -> None:
        took = 0.0
        while not await self._sleep(max(ENDINGS, 4 * took)):
            took = await paced(self._running.helper.look_at_controls())

    def _look_for_quiet(self) -> None:
        self._garbage.look(self._running.helper.taken, now())
