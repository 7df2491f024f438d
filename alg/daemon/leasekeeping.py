"""The lease of the node that leads: renewed as long as this daemon works and nobody else leads.

The law of this file: when; what the kernel does without one is gateway/fence.py's.
"""

from __future__ import annotations

import asyncio

from algate.alg.gateway.fence import LEASE, RENEW, Fence, boot
from algate.alg.ha.leading import Leader


class LeaseKeeping:
    """Of one leading node. `go_on`: with nobody there who could say that somebody else leads, the lease goes on; else
    it counts from when the witness or the other node's engine last said that nobody does."""

    def __init__(self, fence: Fence, leader: Leader, go_on: bool) -> None:
        self._fence = fence
        self._leader = leader
        self._go_on = go_on

    async def run(self) -> None:
        """For ever."""
        while True:
            self.renew()
            await asyncio.sleep(RENEW)

    def renew(self) -> None:
        """For another LEASE, unless somebody else leads."""
        if not self._leader.fenced:
            self._fence.allow((boot() if self._go_on else self._leader.sure) + LEASE)
