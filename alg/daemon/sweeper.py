"""When the tables are swept for what is over, and who is told.

The law of this file: when to sweep. What is over, and how it is deleted, is in gateway/gc.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain

from algate.alg.config.sections import Timeouts
from algate.alg.daemon.pacing import paced
from algate.alg.gateway import pools, shares
from algate.alg.gateway.gc import FAMILIES, Sweep
from algate.alg.gateway.handles import HandleSweep
from algate.alg.gateway.listing import STATE_NAMES
from algate.alg.gateway.shares import FULL
from algate.alg.gateway.whereabouts import Whereabouts
from algate.alg.helper.helper import Helper
from algate.bpf import abi
from algate.bpf.loader import Gateway
from algate.bpf.requests import ControlProgram

LEAST, MOST = 0.25, 10.0  # s between sweeps
CALM = 2.0  # s, where a host has its share and the last sweep found nothing of it to reclaim
CALM_REST = 10  # times what that sweep took, if that is more
LEFT = 4  # part of what a pool has left, which may go before a sweep that found little is repeated
REST = 3  # times what a sweep took: a flood makes it wanted always, and control sessions wait for nothing


class Sweeper:
    """`by_state`, `by_family`: sessions by name of the state, or of the family (gc.py) where IPv6 is on, as of the last
    sweep. `wanted`: set it to have a sweep at once. `trend`: how the public ports have filled; `whereabouts`: where
    sessions were."""

    def __init__(self, gateway: Gateway, control: ControlProgram, helper: Helper) -> None:
        self.by_state: Counter[str] = Counter()
        self.by_family: Counter[str] = Counter(dict.fromkeys(FAMILIES, 0) if gateway.six else {})
        self.wanted = asyncio.Event()
        self.trend = pools.Trend()
        self.whereabouts = Whereabouts()
        self._rest = 0.0  # no sweep before this moment, CLOCK_MONOTONIC
        self._calm = 0.0  # none for a host's share before this one
        self._little_at: dict[int, int] = {}  # scarce rows of `pools` -> in use when the last sweep found little
        self._gateway = gateway
        self._control = control
        self._handles = HandleSweep(gateway, control) if gateway.six else None
        self._helper = helper

    async def run(self, timeouts: Callable[[], Timeouts]) -> None:
        """Sweep for ever. `timeouts`: the current ones, which a reload may change."""
        last = time.monotonic()
        self.trend.note(last, pools.in_use(self._gateway))
        while True:
            # A short wait: a reload may bring shorter timeouts, and a full table needs room at once.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAST):
                    await self.wanted.wait()
            t = timeouts()
            if time.monotonic() < self._rest:
                await asyncio.sleep(self._rest - time.monotonic())
            due = time.monotonic() - last >= min(MOST, min(t.udp, t.icmp, t.tcp_transitory) / 4)
            if due or self.wanted.is_set() or self._nearly_full():
                self.wanted.clear()
                last = time.monotonic()
                await self._sweep()

    async def _sweep(self) -> None:
        sweep = Sweep(self._gateway, self._control, self._helper.refused.hosts())
        took = await paced(chain(sweep.run(), sweep.age_ports()))
        if self._handles is not None:
            took += await paced(self._handles.run(sweep.keys))
        self.by_state = Counter({STATE_NAMES[state]: number for state, number in sweep.by_state.items()})
        self.by_family.update({name: sweep.by_family[name] - self.by_family[name] for name in self.by_family})
        self.whereabouts.parts = sweep.keys
        self._helper.forget(sweep.control_ids)
        self._helper.refused.settle(sweep.deleted + sweep.reclaimed > 0)
        self._calm = time.monotonic() + (0 if sweep.reclaimed else max(CALM, CALM_REST * took))
        self.trend.note(time.monotonic(), pools.in_use(self._gateway))
        left = self._gateway.max_sessions - self._used(abi.POOL_SESSIONS)
        little = (sweep.deleted + sweep.reclaimed) * LEFT <= left
        self._little_at = {row: self._used(row) for row, _ in self._scarce()} if little else {}
        self._rest = time.monotonic() + REST * took

    def _used(self, row: int) -> int:
        used = int(self._gateway.pools[row].used)
        return used if used < 1 << 63 else 0

    def _scarce(self) -> Iterator[tuple[int, int]]:
        """Rows of `pools` that are nearly used up, and how much each has: sessions, and blocks of public ports."""
        if self._used(abi.POOL_SESSIONS) > FULL * self._gateway.max_sessions:
            yield abi.POOL_SESSIONS, self._gateway.max_sessions
        size = shares.range_size(self._gateway)
        yield from ((block, size) for block in shares.scarce_blocks(self._gateway))

    def _nearly_full(self) -> bool:
        if any(self._news(row, most) for row, most in self._scarce()):
            return True
        return time.monotonic() >= self._calm and bool(shares.crowding_hosts(self._gateway))

    def _news(self, row: int, most: int) -> bool:
        """Whether a sweep may find more of a scarce pool than the last one did. Time alone brings little: that is for
        the usual ten seconds, and a packet that is refused has one at once."""
        before = self._little_at.get(row)
        return before is None or (self._used(row) - before) * LEFT > most - before
