"""The lease of the node that leads: renewed as long as this daemon works and nobody else leads.

The law of this file: when; what the kernel does without one is gateway/fence.py's.
"""

from __future__ import annotations

import asyncio
import logging

from algate.alg.gateway.fence import LEASE, RENEW, Fence, boot
from algate.alg.ha.leading import Leader

log = logging.getLogger(__name__)
LAPSED = "neither the witness nor the other node's engine answers: no public port is given out (when_alone = hold)"


class LeaseKeeping:
    """Of one leading node. `go_on`: with nobody there who could say that somebody else leads, the lease goes on; else
    it counts from when the witness or the other node's engine last said that nobody does."""

    def __init__(self, fence: Fence, leader: Leader, go_on: bool) -> None:
        self._fence = fence
        self._leader = leader
        self._go_on = go_on
        self._lapsed = False

    async def run(self) -> None:
        """For ever."""
        while True:
            self.renew()
            await asyncio.sleep(RENEW)

    def renew(self) -> None:
        """For another LEASE, unless somebody else leads."""
        if self._leader.fenced:
            return
        until = (boot() if self._go_on else self._leader.sure) + LEASE
        self._fence.allow(until)
        lapsed = until < boot()
        if lapsed != self._lapsed:
            self._lapsed = lapsed
            log.warning("ha: %s", LAPSED if lapsed else "somebody answers again: public ports are given out")
