"""When the kernel's notices of sessions are read: while a sink wishes for them.

The law of this file: when, and how many at a time; a turn is bounded, so that control sessions wait for at most one.
What a notice says is in gateway/notices.py. What the kernel couldn't tell is counted there and told here, as a gap."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from mmap import PAGESIZE

from algate.alg.audit.relay import Relay
from algate.alg.gateway import notices
from algate.alg.gateway.addresses import Addresses
from algate.bpf import abi, syscall
from algate.bpf.loader import Gateway
from algate.bpf.packing import picker
from algate.bpf.ring import Ring
from algate.bpf.tables import U32, possible_cpus

PAGES = 512  # of the ring, per CPU: 18,000 notices, a fifth of a second's at the rate that is aimed at
PERIOD = 0.05  # s between looks; a ring that is half full is looked at at once
TURN = 128  # notices: a millisecond with one sink
MOST = 1 << 16  # notices read when the ring is given up


class Notices:
    """Of one gateway. `names`: plug-in number -> name. Call `start` in the loop, and `stop` before the gateway
    closes."""

    def __init__(self, gateway: Gateway, relay: Relay, names: Mapping[int, str]) -> None:
        self.relay = relay
        self._gateway = gateway
        self._names = names
        self._ring: Ring | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._samples: list[bytes] = []
        self._again: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._lost = 0

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Follow the relay's wishes from now on. AlgateError if the ring can't be opened."""
        self._loop = loop
        self.relay.changed = self.settle
        unread = self._gateway.counters.sum(abi.Counter.NOTICES_UNREAD)
        self.settle()
        if unread:
            zeros = bytes(8 * possible_cpus())
            syscall.update(self._gateway.counters.fd, U32.pack(abi.Counter.NOTICES_UNREAD), zeros)
            if self.relay.wish:
                self.relay.lost(unread)

    def stop(self, quiet: bool = False) -> None:
        """Read what there is, and no more. `quiet`: the kernel goes on telling, so that what is missed is counted."""
        if self._loop is None:
            return
        self.relay.changed = lambda: None
        if not quiet:
            self._ask_nothing()
        self._close()
        self._loop = None

    def settle(self) -> None:
        """The relay wishes for something else."""
        wish = self.relay.wish
        if wish and self._ring is None:
            self._open()
        if wish:
            notices.ask(self._gateway, wish)
        else:
            self._ask_nothing()
            self._close()

    def turn(self) -> bool:
        """Hand on the oldest notices, at most TURN. True: there are more."""
        if self._ring is None:
            return False
        left = self._ring.turn(TURN)
        samples, self._samples = self._samples, []
        wish = self.relay.wish
        if samples and wish:
            packed = Addresses(self._gateway).packed
            self.relay.take(notices.records(samples, self._names, wish.sessions, wish.mappings, packed))
        return left

    def _open(self) -> None:
        assert self._loop is not None
        self._lost = self._counted()
        fd = self._gateway.map_fd("notices")
        # The kernel's own count of what had no room is exact, and the ring's comes only with the next notice.
        self._ring = Ring(
            fd, self._keep, lambda _: None, PAGES, picker("notice", "time"), watermark=PAGES * PAGESIZE // 2
        )
        for one in self._ring.fds:
            self._loop.add_reader(one, self._readable)
        self._look()

    def _close(self) -> None:
        if self._ring is None or self._loop is None:
            return
        for _ in range(0, MOST, TURN):
            if not self.turn():
                break
        self._count_lost()
        for one in self._ring.fds:
            self._loop.remove_reader(one)
        for handle in (self._again, self._timer):
            if handle is not None:
                handle.cancel()
        self._ring.close()
        self._ring = self._again = self._timer = None

    def _ask_nothing(self) -> None:
        if self._gateway.configs[0].tell:
            notices.ask(self._gateway, type(self.relay.wish)())

    def _keep(self, _: int, sample: bytes) -> None:
        self._samples.append(sample)

    def _look(self) -> None:
        """From time to time."""
        assert self._loop is not None
        self._timer = self._loop.call_later(PERIOD, self._look)
        self._readable()
        self._count_lost()

    def _readable(self) -> None:
        if self._again is None:
            self._read()

    def _read(self) -> None:
        self._again = None
        if self.turn() and self._loop is not None:
            # After whatever is ready now, so that control sessions and timers get their share.
            self._again = self._loop.call_soon(self._read)

    def _counted(self) -> int:
        return self._gateway.counters.sum(abi.Counter.NOTICES_LOST) if self._loop is not None else 0

    def _count_lost(self) -> None:
        """Tell how many found no room since the last look, behind what came before them."""
        now = self._counted()
        if now > self._lost:
            self.relay.lost(now - self._lost)
        self._lost = now
