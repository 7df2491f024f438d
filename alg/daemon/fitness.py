"""What keepalived on the same host is told: how fit this node is, and that its daemon is alive.

The law of this file: two small files, each replaced whole. A daemon that is stopped or gone gives no sign of life, by a
clock that goes on while the host sleeps; keepalived reads both for itself.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from algate.alg.gateway.fence import RENEW, boot
from algate.alg.ha.keepalived import ALIVE, LOOK, LOOKING, PRIORITY

log = logging.getLogger(__name__)
SECONDS = 3.0  # without a sign, and keepalived moves the address, if the other node can have it: before LEASE is over

IN_STEP, BEHIND, YIELDS, UNFIT = 0, -20, -100, -254  # the last: never, whoever else is there


class Fitness:
    """Of one node. `said`: the latest that was announced, None: nothing yet."""

    def __init__(self, run_dir: Path) -> None:
        self.said: int | None = None
        self._run_dir = run_dir

    def announce(self, priority: int) -> None:
        """One of those above."""
        if priority != self.said:
            self.said = priority
            self._write(PRIORITY, f"{priority}\n")

    async def live(self) -> None:
        """Give signs of life for ever."""
        self._write(LOOK, LOOKING.format(alive=self._run_dir / ALIVE))
        while True:
            self._write(ALIVE, f"{boot() + SECONDS:.0f}\n")
            await asyncio.sleep(RENEW)

    def _write(self, name: str, text: str) -> None:
        """Whoever reads meanwhile sees the former text, never a part."""
        path, fresh = self._run_dir / name, self._run_dir / f"{name}.part"
        try:
            fresh.write_text(text)
            fresh.replace(path)
        except OSError as error:
            log.warning("%s can't be written: %s", path, error.strerror)
