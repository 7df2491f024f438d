"""The daemon: brings a gateway up, keeps it running, takes it down. The only loop, and the only place that waits.

The law of this file: lifecycle. What a packet, a line or an effect means is decided elsewhere; who may ask the
service for something, and how it hears of that, is above it (admin/run.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from algate.alg.audit.events import Events
from algate.alg.config import load as configuration
from algate.alg.config.load import Config
from algate.alg.daemon.beginning import Beginning
from algate.alg.daemon.devices import Sight, described, look
from algate.alg.daemon.duties import Duties
from algate.alg.daemon.following import Following
from algate.alg.daemon.garbage import Garbage
from algate.alg.daemon.keeping import Keeping, Survey, survey
from algate.alg.daemon.loading import Loading, pages
from algate.alg.daemon.losses import Losses
from algate.alg.daemon.notify import notify
from algate.alg.daemon.prefixkeeping import end_unserved
from algate.alg.daemon.reloading import Reloading
from algate.alg.daemon.running import Running, assemble
from algate.alg.daemon.standing import ServiceFacts
from algate.alg.daemon.turns import Turns
from algate.alg.daemon.waiting import for_address
from algate.alg.daemon.watcher import Watcher
from algate.alg.errors import DONE, AlgateError
from algate.alg.gateway.datapath import Datapath
from algate.alg.gateway.state import State
from algate.alg.helper.helper import now
from algate.alg.plugin import policy, registry
from algate.bpf import pins

if TYPE_CHECKING:
    from algate.alg.daemon.leaseholding import Leaseholder
    from algate.alg.daemon.pairing import Pairing

log = logging.getLogger(__name__)
AGAIN = 64  # exit code of a daemon that has to begin anew: its node stands by from now on
BLOCKS = 1.0  # s between looks at port blocks
UNTOLD = 0.5  # s between looks for pins and programs of devices' own hooks that somebody removed: nobody tells of those


class Daemon:
    """One gateway. `serve` runs it until `stop`; `running` is None until it is up, `state` says how far it got."""

    def __init__(self, config: Config, run_dir: Path, wait: float | None) -> None:
        self.config = config
        self.run_dir = run_dir
        self.wait = wait
        self.started = time.time()
        self.events = Events()
        self.plugins = registry.discover()
        self.state = "starting"
        self.running: Running | None = None
        self.losses = Losses()
        self._beginning = Beginning()
        self._stopping = asyncio.Event()
        self._watcher: Watcher | None = None
        self._down: str | None = None
        self._turns: Turns | None = None
        self._garbage: Garbage | None = None
        self.reloading = Reloading(lambda: self.config, self._reread, self._apply)
        six = config.ipv6.filter or config.nat64.prefix is not None
        self._datapath = Datapath(State.load(run_dir), config.gateway.datapath, six)
        self._loading = Loading(run_dir)
        self._since: float | None = None  # when the helper stopped whose place this one takes
        self._given = False
        self.pairing = _paired(config, run_dir)
        self._parting: asyncio.Task[None] | None = None
        self.lease: Leaseholder | None = None
        if config.lease.node:
            from algate.alg.daemon.leaseholding import Leaseholder  # what nobody leases needs no engine

            self.lease = Leaseholder(config, run_dir)
        self.pause: float | None = None  # s between that helper's last turn and this one's first

    @property
    def state_file(self) -> State:
        """What is written down of the devices, for whoever has to undo it."""
        return self._datapath.state

    @property
    def modes(self) -> Mapping[str, tuple[str, str]]:
        """Device -> how packets are taken from it, and why that way."""
        return self._datapath.modes

    @property
    def ending(self) -> str:
        """What `serve` left when it ended, for the log's last line."""
        if self._given:
            return "another daemon has taken its place"
        if self._down:
            return "down: detached from its devices" + (", sessions forgotten" if self._down == "purge" else "")
        if self.running is None:
            return "nothing was attached yet"
        return "programs and sessions stay; `algate run` takes over, `algate down` detaches"

    def need_running(self) -> Running:
        """What runs; AlgateError while nothing does."""
        if self.running is None:
            raise AlgateError(f"not translating yet: {self.state}")
        return self.running

    def _reread(self) -> Config:
        return configuration.reread(self.config, policy.kinds(self.plugins))

    def _apply(self, fresh: Config) -> None:
        """Put a configuration in force. AlgateError if something of it can't be."""
        if self.running is not None:
            self.running.adopt(fresh)
        self.config = fresh
        if self.pairing is not None:
            self.pairing.adopt(fresh)
        if self._watcher is not None:
            self._watcher.wake()  # [nat] addresses may be others

    def stop(self, down: str | None = None) -> None:
        """End `serve`; `down` "detach" or "purge" also detaches the gateway from its devices."""
        self._down = down
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.wake()

    async def prepare(self) -> None:
        """Do what a start can do while another daemon serves on the same run directory. AlgateError if that fails."""
        seen = await asyncio.to_thread(look, self.config)
        if seen.problem:
            raise AlgateError(seen.problem)
        await self._loading.prepare(self.config, seen, self._datapath)

    def resume(self) -> None:
        """Another daemon prepared, and failed: what the kernel sends comes here again."""
        if self.running is not None:
            self.running.gateway.lead_here()

    def inherit(self, since: float) -> None:
        """The run directory is this daemon's now; the former one's last turn was at `since`."""
        self._since = since
        self._datapath.state = State.load(self.run_dir)

    def give_way(self) -> float:
        """End `serve` for another daemon that is prepared: at once, and telling the kernel nothing, since the helper
        will be back before it is missed. Returns the moment of the last turn. AlgateError while nothing runs."""
        running = self.need_running()
        if self._turns is None or self._stopping.is_set():
            raise AlgateError(f"nothing to take over yet: {self.state}")
        self._given = True
        self._turns.catch_up()
        self._turns.stop()
        running.notices.stop(quiet=True)
        running.beat()
        self.stop()
        return now()

    async def serve(self) -> int:
        """Run until stopped. Whatever happens, nothing is left half attached."""
        watcher = self._watcher = Watcher()
        try:
            if self.pairing is not None and self._loading.prepared is None:
                with contextlib.closing(self.pairing.page(self._health)):
                    await self.pairing.stand_by(watcher, self._stopping, self._datapath, self._loading, self._wait_for)
            ready = self._loading.prepared
            seen = ready.seen if ready is not None and not self._stopping.is_set() else None
            if seen is None:
                seen = await for_address(lambda: self.config, watcher, self._stopping, self.wait, self._wait_for)
            if seen is not None:
                await self._keep(watcher, *await self._bring_up_or_undo(seen))
        finally:
            watcher.close()
            self._take_down()
        return AGAIN if self.pairing is not None and self.pairing.yielded else DONE

    async def _bring_up_or_undo(self, seen: Sight) -> tuple[Running, Following]:
        """Start; if that fails, leave what an earlier run left, and nothing else."""
        first = not self._datapath.state.devices
        unpinned = not pins.folder(self.run_dir).exists()
        try:
            return await self._bring_up(seen)
        except BaseException:
            if first:
                self._datapath.detach()
            if unpinned:
                pins.remove(self.run_dir)
            else:
                self._loading.give_up()
            raise

    def _wait_for(self, state: str) -> None:
        self.state = state

    async def _bring_up(self, seen: Sight) -> tuple[Running, Following]:
        devices, ready = seen.devices, self._loading.prepared
        assert devices is not None
        gateway = await self._loading.gateway(self.config, seen)
        self._beginning.done("load")
        self._loading.carry_over(gateway)
        if self.pairing is not None:
            self.pairing.enter(gateway)
        tap = ready.tap if ready is not None else None
        told = ServiceFacts(
            self.started, lambda: self.state, lambda: self.reloading.last, lambda: self.config.metrics.top_hosts
        )  # fmt: skip
        running = assemble(
            gateway, self.config, devices, self.plugins, self.events, self._health, self.losses, told, tap
        )  # fmt: skip
        self.running = running
        helper = running.helper
        running.ports.look = lambda: next(helper.look_at_transfers(), None)  # the oldest: one step is bounded
        if self.pairing is not None:
            running.metrics.registry.register(self.pairing.families)
        running.metrics.listen(self.config.metrics.listen, self.config.metrics.names)
        if self.lease is not None:
            running.metrics.registry.register(self.lease.begin(gateway, running.control, running.blocks))
        running.apply(self.config)
        running.ports.blocks.inherit(gateway)
        gateway.install_stages()
        end_unserved(gateway, running.control, self.config)  # not before: the former start's stages go on making some
        if ready is None:
            self._datapath.attach_tap(helper.tap.name, helper.tap.index, gateway.fds)
        fds = helper.open_ring(pages())
        helper.refused.room_wanted = running.sweeper.wanted.set
        running.beat()  # what is repeated from here on is for the ring, not to be dropped once more
        taken = helper.take_over(running.control)
        self._turns = Turns(running, asyncio.get_running_loop())
        self._turns.start(fds)
        running.notices.start(asyncio.get_running_loop())
        self._turns.catch_up()  # with what came while no helper worked, ahead of attaching
        if self._since is not None:
            self.pause = now() - self._since
        self._beginning.done("take-over")
        self._loading.finish()
        following = Following(running, self._datapath, lambda: self.config)
        following.begin(seen)
        self._beginning.done("attach")
        for note in gateway.notes:
            log.warning("%s", note)
        self._say_ready(taken, gateway.kept)
        return running, following

    def _say_ready(self, taken: int, kept: bool) -> None:
        self._beginning.tell(taken, kept, described(self.need_running().devices, self.modes), self.pause)
        self._garbage = Garbage()
        self._garbage.settle(now())
        self.state = "translating"
        with contextlib.suppress(OSError):  # a full disk behind stdout is no reason to end
            print("ready", flush=True)
        notify("READY=1\nSTATUS=translating")

    def _health(self) -> tuple[bool, str]:
        return self.state == "translating", self.state

    async def _keep(self, watcher: Watcher, running: Running, following: Following) -> None:
        """All duties, until stopped."""
        assert self._turns is not None and self._garbage is not None
        duties = Duties(running, self._turns, self._garbage, self._stopping)
        keeping = Keeping(running, self._datapath, self.losses)
        watcher.wake()  # something may have changed during the start
        pairing, turns = self.pairing, self._turns
        others = [] if pairing is None else [pairing.lead(running.gateway, running.helper, turns, self._fence)]
        others += [] if self.lease is None else [self.lease.run()]
        await duties.run(
            running.sweeper.run(lambda: self.config.timeouts),
            watcher.run(self._look, lambda found: self._follow(following, keeping, *found)),
            duties.repeat(UNTOLD, lambda: self._look_untold(keeping)),
            duties.repeat(BLOCKS, lambda: running.look_at_blocks(self.config)),
            *others,
        )

    def _fence(self, shut: bool) -> None:
        """Say that somebody else leads; or let new mappings be made again, as the configuration says."""
        self.losses.fence(shut)
        if not shut:
            self.need_running().apply(self.config)
        self.judge()

    def _look(self) -> tuple[Sight, Survey | None]:
        """What there is, and what of ours isn't any more. In a thread."""
        running, seen = self.need_running(), look(self.config)
        return seen, survey(seen, running.devices, self._datapath, running.helper.tap.name)

    def _follow(self, following: Following, keeping: Keeping, seen: Sight, found: Survey | None) -> bool:
        """Devices that vanish or come back, a WAN address that changes, programs that others took off. Whether all is
        well."""
        if self.pairing is not None and not self.pairing.see(seen) and self._parting is None:
            self._parting = asyncio.get_running_loop().create_task(self._part(self.pairing))
        self.losses.problem = following.follow(seen)
        well = keeping.keep(seen, found)
        self.judge()
        return well and not self.losses.problem

    async def _part(self, pairing: Pairing) -> None:
        """The address has left for the other node."""
        await pairing.last_words()
        self.stop("purge")

    def judge(self) -> None:
        """Say how the gateway does, once it is up."""
        if self._turns is not None:
            self._say_state(self.losses.state())

    def _look_untold(self, keeping: Keeping) -> None:
        keeping.keep_hooks()
        if keeping.keep_pins():
            self._loading.hold_again()
        self.judge()

    def _say_state(self, state: str) -> None:
        if state != self.state:
            self.state = state
            log.warning("%s", state)
            notify(f"STATUS={state}")

    def _take_down(self) -> None:
        """Stop the helper; programs and pins stay unless `down` was asked for."""
        if self._given:
            self._let_go()
            return
        notify("STOPPING=1")
        if self._turns is not None:
            self._turns.catch_up()  # of quiet copies there may be some that passed 10 ms ago
            self._turns.stop()
        if self._garbage is not None:
            self._garbage.unsettle()
        if self.running is not None:
            self.running.close()
        self._loading.let_go()
        if self._down:
            if self.pairing is not None and not self.pairing.yielded:
                self.pairing.withdraw()
            self._datapath.detach()
        if self._down == "purge":
            pins.remove(self.run_dir)

    def _let_go(self) -> None:
        """What the next daemon waits for; the rest ends with the process."""
        if self.running is not None:
            self.running.metrics.close()
            self.running.logs.close()
        self._loading.let_go()


def _paired(config: Config, run_dir: Path) -> Pairing | None:
    """The gateway's part in a pair. A gateway alone loads nothing of the kind."""
    if not config.ha.node:
        return None
    from algate.alg.daemon.pairing import Pairing

    return Pairing(config, run_dir)
