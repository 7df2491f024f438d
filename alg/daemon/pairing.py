"""A gateway of two: it stands by until the public address is this host's, goes on with what the other node held, and
tells that one what it holds itself.

The law of this file: when; the address alone says which node works, and keepalived moves it. What is told and read is
the room `ha`'s.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from algate.alg.answers import HaAnswer
from algate.alg.audit.metrics import Metrics
from algate.alg.audit.pair import PairFamilies
from algate.alg.config.load import Config
from algate.alg.daemon.devices import Sight, look
from algate.alg.daemon.fitness import BEHIND, IN_STEP, UNFIT, YIELDS, Fitness
from algate.alg.daemon.leasekeeping import LeaseKeeping
from algate.alg.daemon.loading import Loading
from algate.alg.daemon.notify import notify
from algate.alg.daemon.pairstanding import page, standing
from algate.alg.daemon.turns import Turns
from algate.alg.daemon.watcher import Watcher
from algate.alg.daemon.witnessing import Witnessing
from algate.alg.errors import AlgateError
from algate.alg.gateway import estate, settings
from algate.alg.gateway.datapath import Datapath
from algate.alg.gateway.fence import LEASE, Fence, boot
from algate.alg.ha import epoch as epochs
from algate.alg.ha import written
from algate.alg.ha.bulk import READ, BulkWalk
from algate.alg.ha.counts import LeaderCounts
from algate.alg.ha.credentials import where
from algate.alg.ha.entries import Authorship
from algate.alg.ha.epoch import Epoch
from algate.alg.ha.following import GATHER, LogFollower
from algate.alg.ha.inheriting import authorship, inherit
from algate.alg.ha.leading import Leader
from algate.alg.ha.outbox import Outbox
from algate.alg.ha.redis import RedisKeys, RedisLog
from algate.alg.ha.store import StoreError, StoreLog
from algate.alg.ha.warming import Warming, WarmTables
from algate.alg.helper.helper import Helper
from algate.alg.helper.raw_tables import RawTables
from algate.bpf import pins
from algate.bpf.loader import Gateway

log = logging.getLogger(__name__)
MARK = "ha-stands-by"  # in the run directory: what is pinned is empty
PATIENCE = {"control": 1.0, "bulk": 30.0}  # s that a commit may take
LOGS = {"control": GATHER, "bulk": 0.0}  # what is read at this node's engine, and the s between looks
LAST_WORDS = 0.2  # s that a node which gave the address away takes to tell the rest
HASTE = 0.3  # s that a take-over waits for the witness and the engine beside it


class Pairing:
    """Of one daemon with [ha]. `yielded`: the address went while it led."""

    def __init__(self, config: Config, run_dir: Path) -> None:
        self.yielded = False
        self.leader: Leader | None = None
        self._config = config
        self._run_dir = run_dir
        self.families = PairFamilies(self.status)
        self._estate: estate.Estate | None = None
        self._epoch: Epoch | None = None
        self._fit = Fitness(run_dir)
        self._bars: Fence | None = None
        self._living: asyncio.Task[None] | None = None
        self._keys = RedisKeys(where(config.ha, config.ha.witness), HASTE)
        self._witness = Witnessing(self._keys, lambda: self._config)
        self._engine, self._peer = (where(config.ha, one) for one in (config.ha.engine, config.ha.peer))
        self._followers: list[LogFollower] = []
        self._warming: Warming | None = None
        self._tasks: list[asyncio.Task[None]] = []

    # -- standing by ---------------------------------------------------------------------------------------------------

    def here(self, seen: Sight) -> bool:
        """Whether the first public address is on the WAN device."""
        devices, wanted = seen.devices, self._config.nat.addresses[0]
        return devices is not None and any(one.ip == wanted for one in devices.wan.addresses)

    async def stand_by(
        self, watcher: Watcher, stopping: asyncio.Event, datapath: Datapath, loading: Loading,
        say: Callable[[str], None],
    ) -> None:  # fmt: skip
        """Return once the address is here, or when `stopping`; what the other node held is known then, and all is
        loaded."""
        self._living = asyncio.create_task(self._fit.live())  # to the end: a start takes a while too
        self._fit.announce(UNFIT)
        own, mark = self._engine, self._run_dir / MARK
        self._followers = [LogFollower(name, RedisLog(own, name), pause) for name, pause in LOGS.items()]
        seen = await asyncio.to_thread(look, self._config)
        if self.here(seen) and pins.exists(self._run_dir) and not mark.exists():
            return  # a restart: the kernel has it all
        datapath.detach()
        pins.remove(self._run_dir)
        mark.touch()
        self._tasks = [asyncio.create_task(one.run()) for one in self._followers]
        try:
            if not self.here(seen):
                seen = await self._wait(watcher, stopping, datapath, loading, say)
        finally:
            for one in self._tasks:
                one.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for follower in self._followers:
                await follower.close()  # it waits for a record, and whatever is asked behind that waits too
        if stopping.is_set():
            self.withdraw()
            datapath.detach()
            loading.let_go()
            pins.remove(self._run_dir)
        else:
            await self._take_over()
            if loading.prepared is not None:
                loading.prepared = loading.prepared._replace(seen=seen)
        for follower in self._followers:
            await follower.close()

    async def _wait(
        self, watcher: Watcher, stopping: asyncio.Event, datapath: Datapath, loading: Loading,
        say: Callable[[str], None],
    ) -> Sight:  # fmt: skip
        """For the address; meanwhile the programs are loaded into empty maps."""
        address = self._config.nat.addresses[0]
        seen, told = await asyncio.to_thread(look, self._config), ""
        while not stopping.is_set() and not self.here(seen):
            if loading.prepared is None and not seen.problem:
                say(f"standing by: {address} isn't here; loading the programs")
                await self._load(seen, datapath, loading)
            told_all = self._followers[0].kept is not None and not self._followers[0].problem
            self._fit.announce(UNFIT if loading.prepared is None else IN_STEP if told_all else BEHIND)
            word = f"standing by: {address} isn't here" + (f"; {seen.problem}" if seen.problem else "")
            if word != told:
                told = word
                say(word)
                log.info("%s", word)
                notify(f"READY=1\nSTATUS={word}")
            await self._witness.give_back()
            await self._witness.leave_likeness()
            await watcher.change(1.0)
            seen = await asyncio.to_thread(look, self._config)
        return seen

    async def _load(self, seen: Sight, datapath: Datapath, loading: Loading) -> None:
        await loading.prepare(self._config, seen, datapath)
        loading.hold_again()
        if loading.prepared is not None:
            self._shield(seen, datapath, loading.prepared.gateway)
            self._warm(loading.prepared.gateway)

    def _warm(self, gateway: Gateway) -> None:
        """Have the tables filled from here on: with the address come packets, and those aren't to wait for anything."""
        tables = WarmTables(gateway.sessions, gateway.map_fd)
        bulk, warming = self._followers[1], Warming(tables, authorship(self._config.ha.node))
        warming.take(bulk.kept)
        bulk.taken = lambda told: warming.take(bulk.kept, told)
        self._tasks.append(asyncio.create_task(warming.run()))
        self._warming = warming

    def _shield(self, seen: Sight, datapath: Datapath, gateway: Gateway) -> None:
        """Attach, with tables that nothing can be opened in: whatever comes between the address and its session is
        dropped, so that no end hears from this host's stack that there is no such connection."""
        devices = seen.devices
        assert devices is not None
        settings.write_config(gateway, self._config, devices.lans, devices.wan, devices.addresses)
        Fence(gateway).shut()
        settings.write_surroundings(gateway, devices.wan, seen.known(self._config, devices.indices))
        gateway.install_stages()
        datapath.attach(devices.lans, devices.wan, gateway.fds)

    def adopt(self, fresh: Config) -> None:
        """A configuration was read again; [ha] is the same in it."""
        self._config = fresh

    async def _take_over(self) -> None:
        """Lead from now on, if the witness can be asked, and shut the log to the other node."""
        control, bulk = self._followers
        await bulk.hear_out()
        last, stood = control.position.epoch, None
        try:
            stood = await epochs.stands(self._keys)
            self._epoch = await epochs.take(self._keys, self._config.ha.node, last)
        except StoreError as error:
            log.warning("ha: no new epoch: %s", error)
        shut = self._epoch.number if self._epoch is not None else last + 1
        for one in self._followers:
            await one.shut(shut)
        if self._warming is not None:
            await self._warming.catch_up()
        kept = control.kept
        if kept is None or kept.beginning.node == self._config.ha.node:
            log.warning("ha: nothing is known of the other node's sessions")
        elif stood is not None and stood.number > last:
            log.warning("ha: what is known of the other node's sessions is of epoch %d, and the last was %d: it is let"
                        " go", last, stood.number)  # fmt: skip
        else:
            mine = authorship(self._config.ha.node)
            if kept.beginning.layout != mine.layout:
                log.warning("ha: the other node runs another version, whose tables can't be taken over")
                return
            self._estate = await asyncio.to_thread(inherit, kept, bulk.kept, mine)

    def enter(self, gateway: Gateway) -> None:
        """Write what the other node held into the maps of this one, as far as it isn't there already."""
        found, self._estate = self._estate, None
        (self._run_dir / MARK).unlink(missing_ok=True)
        if self._epoch is not None or self._config.ha.when_alone == "go-on":
            Fence(gateway).allow(boot() + LEASE)  # whoever leads goes on with that
        try:
            there = self._warming.settle(found or estate.Estate()) if self._warming is not None else ()
            if found is None:
                return
            estate.write(found, gateway.map_fd, there)
        except OSError as error:
            raise AlgateError(f"can't go on with the other node's sessions: {error.strerror or error}") from None
        log.info("ha: goes on with %d sessions of the other node, %d were left without their port",
                 len(found.maps["sessions"]), found.left)  # fmt: skip

    # -- leading -------------------------------------------------------------------------------------------------------

    async def lead(self, gateway: Gateway, helper: Helper, turns: Turns, tell: Callable[[bool], None]) -> None:
        """Tell the other node, for ever. `tell`: whether somebody else leads; if not, mappings may be made again."""
        tables = RawTables(gateway, helper.executor, lambda: self._config.nat.port_block > 0)
        go_on = self._config.ha.when_alone == "go-on"
        outbox = Outbox(
            tables.expect, lambda ticket, made: leader.write(ticket, made), helper.executor.carry_out, go_on,
            helper.executor.prepare,
        )  # fmt: skip
        bulk = BulkWalk(
            lambda: gateway.sessions.chunks(READ), tables.slot, tables.there, tables.blocks, tables.track_of
        )

        bars = self._bars = Fence(gateway)

        def fence(shut: bool) -> None:
            if shut:
                bars.shut()
            else:
                lease.renew()
            tell(shut)
            # Who was overtaken has older sessions, so the other one is to keep the addresses.
            self._fit.announce(YIELDS if shut else IN_STEP)

        counts = LeaderCounts(self.families.commit.observe, self.families.lag.observe)
        leader = self.leader = Leader(self._config.ha.node, outbox, bulk, self._keys, self._connect, tables.everything,
                                      self._who, fence, counts)  # fmt: skip

        def gone(number: int, forget: Callable[[], None]) -> None:
            outbox.tell([written.over(number)])
            outbox.after(number, forget)

        helper.carry_out, helper.gone, turns.settle = outbox.offer, gone, leader.settle
        self._living = self._living or asyncio.create_task(self._fit.live())
        lease = LeaseKeeping(bars, leader, go_on)
        self._fit.announce(IN_STEP)
        await asyncio.gather(leader.run(self._epoch), lease.run(), self._living, self._witness.run())

    def _who(self) -> Authorship:
        return authorship(self._config.ha.node)

    async def _connect(self, name: str) -> StoreLog:
        made = RedisLog(self._peer, name, PATIENCE[name])
        await made.opened()
        return made

    def see(self, seen: Sight) -> bool:
        """Whether this node still has the address. Once it hasn't, it doesn't lead."""
        if seen.devices is not None and not self.here(seen):
            self.yielded = True
        return not self.yielded

    def give_way(self) -> None:
        """Have keepalived move the address, and tell of the youngest sessions too until then."""
        if self.leader is None:
            raise AlgateError("this node stands by: there is nothing to yield")
        self.leader.part()
        self._fit.announce(YIELDS)

    async def last_words(self) -> None:
        """The address has left: what has begun since the last walk is told too, and translated here until then."""
        if self.leader is not None:
            await self.leader.last_words(LAST_WORDS)

    def withdraw(self) -> None:
        """This node is taken off its devices: it wants the addresses no more, whoever else is there."""
        self._fit.announce(UNFIT)

    def resync(self) -> None:
        """Tell the other node everything anew."""
        if self.leader is None:
            raise AlgateError("this node stands by: `algate ha resync` is for the one that leads")
        self.leader.resync()

    def page(self, health: Callable[[], tuple[bool, str]]) -> Metrics:
        """The metrics of this node while it stands by."""
        return page(self._config, self.families, health)

    def status(self) -> HaAnswer:
        """For `algate ha status`."""
        return standing(
            self._config.ha,
            self.leader,
            self._followers,
            self._fit.said != UNFIT,
            self._bars.left() if self._bars is not None else 0.0,
        )
