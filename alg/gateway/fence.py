"""Until when the kernel may give out public ports on a gateway of two: it needs nobody to tell it that the time is up.

The law of this file: one number in struct config, ns of CLOCK_BOOTTIME, which goes on while a host sleeps. Who is
stopped, or has died, can't renew it, and gives out no port from then on (bpf/include/lease.h); what exists goes on.
"""

from __future__ import annotations

import time

from algate.alg.gateway import settings
from algate.bpf.loader import Gateway

LEASE = 5.0  # s; a restart of the daemon takes less, and keepalived moves the address away from a silent one before
RENEW = 0.5  # s between two renewals
NEVER = 1  # ns: long ago


def boot() -> float:
    """Seconds of CLOCK_BOOTTIME."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Fence:
    """Of one gateway's kernel."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def allow(self, until: float) -> None:
        """Ports may be given out until then, in seconds of CLOCK_BOOTTIME."""
        self._put(max(NEVER, int(until * 1e9)))

    def shut(self) -> None:
        """Nobody begins anything from inside until `open`, not even through a mapping that there is."""
        self._put(NEVER)
        settings.refuse_new(self._gateway)

    def left(self) -> float:
        """Seconds for which ports may be given out, 0: none may."""
        return max(0.0, self._gateway.configs[0].new_until / 1e9 - boot())

    def _put(self, until: int) -> None:
        value = self._gateway.configs[0]
        value.new_until = until
        self._gateway.configs.put(0, value)
