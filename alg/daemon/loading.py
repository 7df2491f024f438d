"""What a start loads before anything is attached: maps and programs, with what another version's maps hold.

The law of this file: it changes no device and no packet's way, so a start that fails here leaves everything as it was.
The folder of pins is held from the loading to the end, so that nobody takes it for a dead gateway's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from pathlib import Path
from typing import NamedTuple

from algate.alg.config.load import Config
from algate.alg.daemon.carrying import CarryOver
from algate.alg.daemon.devices import Sight
from algate.alg.gateway.datapath import Datapath
from algate.alg.helper.helper import PAGES
from algate.alg.helper.tap import Tap
from algate.bpf import pins
from algate.bpf.loader import Gateway

log = logging.getLogger(__name__)


def pages() -> int:
    """Of the ring, per CPU; tests make it tiny."""
    return int(os.environ.get("ALGATE_RING_PAGES", PAGES))


class Prepared(NamedTuple):
    """What a daemon has made before it takes another's place."""

    seen: Sight
    gateway: Gateway
    tap: Tap


class Loading:
    """Of one daemon. `prepared`: None unless it takes another's place."""

    def __init__(self, run_dir: Path) -> None:
        self.prepared: Prepared | None = None
        self._run_dir = run_dir
        self._carry_over: CarryOver | None = None
        self._hold = -1  # on the pin folder

    async def prepare(self, config: Config, seen: Sight, datapath: Datapath) -> None:
        """Load while another daemon serves on the same run directory. At the end what the kernel sends comes into this
        daemon's ring, and waits there. AlgateError if that fails."""
        try:
            gateway = await self._load(config, seen, alone=False)
            self.prepared = Prepared(seen, gateway, Tap())
            datapath.attach_tap(self.prepared.tap.name, self.prepared.tap.index, gateway.fds)
            if self._carry_over is not None and not self._carry_over.found:
                gateway.open_ring(lambda _cpu, _sample: None, lambda _number: None, pages())
                gateway.lead_here()
        except BaseException:
            self.give_up()
            raise

    async def gateway(self, config: Config, seen: Sight) -> Gateway:
        """What was prepared, or is loaded now. From here on the pins are held."""
        ready = self.prepared
        made = ready.gateway if ready is not None else await self._load(config, seen, alone=True)
        if self._hold < 0:
            self._hold = pins.hold(self._run_dir)
        if pins.passing():
            made.notes.append(f"all traffic stops when the last process of this mount namespace ends: {pins.NSENTER}")
        return made

    def carry_over(self, gateway: Gateway) -> None:
        """Copy what another version's maps hold, if there are some."""
        if self._carry_over is not None and self._carry_over.found:
            self._carry_over.carry(gateway)

    async def _load(self, config: Config, seen: Sight, alone: bool) -> Gateway:
        """Maps and programs. `alone`: no other daemon holds the pins."""
        devices, nat = seen.devices, config.nat
        assert devices is not None
        limit = max(len(devices.addresses), len(nat.addresses))
        self._carry_over = CarryOver(self._run_dir)
        folder = pins.version_folder(self._run_dir)
        if alone:
            self._hold = pins.hold(self._run_dir)
        log.info("loading the programs; where no compiled ones are kept, clang makes them, which takes a while")
        six, nat64 = config.ipv6.filter, config.nat64.prefix is not None
        return await asyncio.to_thread(Gateway, folder, nat.max_sessions, limit, self._run_dir, six, nat64)

    def finish(self) -> None:
        """The new maps are in use: the other version's go."""
        if self._carry_over is not None:
            self._carry_over.finish()

    def give_up(self) -> None:
        """The start failed: another version's maps stay in use."""
        if self._carry_over is not None:
            self._carry_over.give_up()

    def hold_again(self) -> None:
        """The folder of pins was made anew. If it has gone once more, who made it makes it again, and comes here."""
        self.let_go()
        with contextlib.suppress(FileNotFoundError):
            self._hold = pins.hold(self._run_dir)

    def let_go(self) -> None:
        """Of the folder of pins."""
        if self._hold >= 0:
            os.close(self._hold)
            self._hold = -1
