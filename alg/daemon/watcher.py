"""When the devices are looked at: at once when the kernel says that one changed, and now and then all the same.

The law of this file: the time of a look. The look itself is made beside the loop, which waits for nobody's lock in the
kernel; what follows from it happens in the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeVar

from algate.alg.gateway.rtnetlink import Changes

T = TypeVar("T")
GATHER = 0.01  # s in which more word may come, before the next look
NET = 10.0  # s between looks without any word
AGAIN = 0.5  # s until the next look if something was amiss


class Watcher:
    """Hears of changes from its making on; needs a running loop. `close` when done."""

    def __init__(self) -> None:
        self._changes = Changes()
        self._heard = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._changes.fileno(), self._hear)

    def _hear(self) -> None:
        if self._changes.drain():
            self._heard.set()

    async def run(self, look: Callable[[], T], follow: Callable[[T], bool]) -> None:
        """Look and follow, at every change, for ever. `follow` says whether all is well: else again soon."""
        well = True
        while True:
            await self.change(NET if well else AGAIN)
            well = follow(await asyncio.to_thread(look))
            await asyncio.sleep(GATHER)

    async def change(self, seconds: float) -> None:
        """Until something changed since the last call, or that long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._heard.wait()
        self._heard.clear()

    def wake(self) -> None:
        """As if something had changed."""
        self._heard.set()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._changes.fileno())
        self._changes.close()
