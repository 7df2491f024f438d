"""When the devices are looked at: at once when the kernel says that one changed, and from time to time anyway.

The law of this file: when to look. The look itself runs in a thread, so that the loop waits for no lock in the kernel;
what follows from it happens in the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from algate.alg.gateway.rtnetlink import Changes

T = TypeVar("T")
GATHER = 0.01  # s in which more changes may come, before the next look
CROWD, CROWDED = 10, 0.1  # looks within a second after which there are so many s between them
NET = 10.0  # s between looks without a change
AGAIN = 0.5  # s until the next look if something was wrong


class Watcher:
    """Hears of changes as soon as it is created; needs a running loop. `close` it when done."""

    def __init__(self) -> None:
        self._changes = Changes()
        self._heard = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._changes.fileno(), self._hear)

    def _hear(self) -> None:
        if self._changes.drain():
            self._heard.set()

    async def run(self, look: Callable[[], T], follow: Callable[[T], bool]) -> None:
        """Look and follow, at every change, for ever. `follow` says whether all is well; if not, look again soon."""
        well, times = True, deque[float](maxlen=CROWD)
        while True:
            await self.change(NET if well else AGAIN)
            well = follow(await asyncio.to_thread(look))
            now = time.monotonic()
            crowd = len(times) == CROWD and now - times[0] < 1
            times.append(now)
            await asyncio.sleep(CROWDED if crowd else GATHER)

    async def change(self, seconds: float) -> None:
        """Wait until something has changed since the last call, at most that long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._heard.wait()
        self._heard.clear()

    def wake(self) -> None:
        """Act as if something had changed."""
        self._heard.set()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._changes.fileno())
        self._changes.close()
