"""What to do when devices or addresses have changed: programs, tables, and sessions of a lost address.

The law of this file: nothing from inside may leave untranslated meanwhile, so a device gets its programs first, then
the kernel's tables name it, and only then may packets be routed to it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from ipaddress import IPv4Address

from algate.alg.config.load import Config
from algate.alg.daemon.devices import Devices, Sight
from algate.alg.daemon.prefixkeeping import PrefixKeeping
from algate.alg.daemon.running import Running
from algate.alg.errors import AlgateError
from algate.alg.gateway import namespace, rtnetlink, settings
from algate.alg.gateway.datapath import Datapath
from algate.bpf import abi

log = logging.getLogger(__name__)
ROUTE_LOOKS, ROUTE_SECONDS = 20, 0.05


class Following:
    """For one running gateway. `config`: the one in force."""

    def __init__(self, running: Running, datapath: Datapath, config: Callable[[], Config]) -> None:
        self._running = running
        self._datapath = datapath
        self._config = config
        self._written: tuple[object, object] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._prefixes = PrefixKeeping(running.gateway, running.control) if running.gateway.six else None

    def follow(self, seen: Sight) -> str:
        """Why nothing can be translated, "" if it can. Raises what stopped the ending of sessions."""
        if self._ending is not None and self._ending.done():
            self._ending.result()
            self._ending = None
        try:
            if seen.devices is not None:
                self._take_up(seen.devices, bool(seen.problem))
        except AlgateError as error:
            return str(error)
        finally:
            self.know(seen)
        if self._prefixes is not None:
            lans = [one.name for one in self._running.devices.lans]
            self._prefixes.look(lans)
            settings.write_own_address6(self._running.gateway, lans)
        return seen.problem

    def begin(self, seen: Sight) -> None:
        """Attach for the first time. A packet from inside meets a table that knows all devices already, but for a WAN
        without programs: the earlier run's LAN programs would let it leave by that."""
        now, former = self._running.devices, self._datapath.state.devices.values()
        self.know(seen, [one.index for one in former])
        self._datapath.attach(now.lans, now.wan, self._running.gateway.fds, lambda: self.know(seen))

    def know(self, seen: Sight, attached: list[int] | None = None) -> None:
        """Write what untranslated packets are judged by, if it differs from last time."""
        now = self._running.devices
        around = now.wan, seen.known(self._config(), now.indices if attached is None else attached)
        if around != self._written:
            settings.write_surroundings(self._running.gateway, *around)
            self._written = around

    def _take_up(self, now: Devices, amiss: bool) -> None:
        """`amiss`: they are there, but without an address that could be used. The former ones are kept for that long:
        the sessions go on if they come back."""
        running = self._running
        former = running.devices
        if amiss:
            now = replace(now, addresses=former.addresses)
        if now == former:
            return
        if now.indices != former.indices:
            self._datapath.attach(now.lans, now.wan, running.gateway.fds)
        running.devices = now
        try:
            running.apply(self._config())
        except AlgateError:
            running.devices = former  # half done: the next look tries it again
            raise
        if now.addresses != former.addresses:
            self._ending = asyncio.get_running_loop().create_task(self._end_others(now.addresses))

    async def _end_others(self, addresses: Sequence[IPv4Address]) -> None:
        """End the sessions of other addresses, and tell whom one can: of control sessions both ends, though the outside
        one hears of it only if its network still takes packets from the old address."""
        running = self._running
        others = running.helper.others(addresses)
        await _until_routed(others.values())
        for number in others:
            key = running.helper.executor.keys.get(number)
            running.helper.lost_ends.note([key] if key else [])
            running.helper.kill(number, "address-lost")
        ended = len(others)
        for keys in namespace.sessions_of_others(running.gateway, addresses):
            ended += running.control.keys(abi.ControlOp.KILL, keys)
            running.helper.lost_ends.note(keys)
            await asyncio.sleep(0)
        log.warning("the WAN address is %s now: %d sessions of others ended", addresses[0], ended)


async def _until_routed(remotes: Collection[bytes]) -> None:
    """Wait until the first of them can be reached, for a moment at most: an address comes before its routes."""
    for remote in list(remotes)[:1]:
        for _ in range(ROUTE_LOOKS):
            if rtnetlink.route(remote) is not None:
                return
            await asyncio.sleep(ROUTE_SECONDS)
