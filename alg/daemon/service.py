"""The daemon: brings a gateway up, keeps it, takes it down. The only loop, and the only place that waits.

The law of this file: lifecycle. What a packet, a line or an effect means is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections import Counter
from collections.abc import Mapping
from ipaddress import IPv4Address
from itertools import chain
from pathlib import Path
from typing import Any

from algate.alg.admin import answering, control, verbs
from algate.alg.audit.events import Events
from algate.alg.audit.metrics import Metrics, Sources
from algate.alg.config import conflicts
from algate.alg.config import load as configuration
from algate.alg.config.load import Config
from algate.alg.daemon.notify import notify
from algate.alg.errors import DONE, AlgateError
from algate.alg.gateway import datapath, namespace, settings
from algate.alg.gateway.claim import Claim
from algate.alg.gateway.datapath import Datapath
from algate.alg.gateway.forwards import Forwards
from algate.alg.gateway.gc import FULL, Sweep
from algate.alg.gateway.listing import STATE_NAMES
from algate.alg.gateway.netlink import Device
from algate.alg.gateway.settings import PROTO
from algate.alg.gateway.state import State
from algate.alg.helper.helper import PAGES, Helper, now
from algate.alg.helper.ports import KernelPorts
from algate.alg.plugin import policy, registry
from algate.bpf import abi, pins, ticks
from algate.bpf.loader import Gateway
from algate.bpf.requests import Control

log = logging.getLogger(__name__)
HEARTBEAT = 0.25  # s; a tenth of the default helper_timeout
TICK = 0.05
PRIORITY = -10  # nice value: before batch work on the same host, behind what is real-time
TAIL_SECONDS = 0.003  # between looks for the heads of held fragments
TRANSFERS = 0.5  # s between looks for data connections that ended
WATCH = 1.0  # s between looks at devices and addresses
SWEEP_LEAST, SWEEP_MOST = 0.25, 10.0


class Service:
    """One gateway. `serve` runs it until `stop`."""

    def __init__(self, config: Config, run_dir: Path, wait: float | None) -> None:
        self.config = config
        self.run_dir = run_dir
        self.wait = wait
        self.started = time.time()
        self.events = Events()
        self.plugins = registry.discover()
        self.names = {plugin.number: name for name, plugin in self.plugins.items()}
        self.state = "starting"
        self.by_state: Counter[str] = Counter()
        self.addresses: list[IPv4Address] = []
        self.lans: list[Device] = []
        self.wan: Device | None = None
        self._stopping = asyncio.Event()
        self._room_wanted = asyncio.Event()
        self._tail_timer: asyncio.TimerHandle | None = None
        self._down: str | None = None
        self._gateway: Gateway | None = None
        self.helper: Helper | None = None
        self._metrics: Metrics | None = None
        self._forwards: Forwards | None = None
        self._control: Control | None = None
        self._datapath = Datapath(State.load(run_dir), config.gateway.datapath)

    @property
    def loaded(self) -> Gateway | None:
        """The gateway, None while there is none yet."""
        return self._gateway

    @property
    def modes(self) -> Mapping[str, tuple[str, str]]:
        """Device -> how packets are taken from it, and why so."""
        return self._datapath.modes

    @property
    def gateway(self) -> Gateway:
        """AlgateError while there is none yet."""
        if self._gateway is None:
            raise AlgateError(f"not translating yet: {self.state}")
        return self._gateway

    @property
    def control(self) -> Control:
        """The control program; AlgateError while there is none yet."""
        if self._control is None:
            raise AlgateError(f"not translating yet: {self.state}")
        return self._control

    @property
    def forwards(self) -> Forwards:
        """AlgateError while there are none yet."""
        if self._forwards is None:
            raise AlgateError(f"not translating yet: {self.state}")
        return self._forwards

    @property
    def metrics(self) -> Metrics:
        """AlgateError while there are none yet."""
        if self._metrics is None:
            raise AlgateError(f"not translating yet: {self.state}")
        return self._metrics

    def reload(self) -> dict[str, Any]:
        """Read the configuration again and apply what can change while running. ConfigError changes nothing."""
        fresh = configuration.reread(self.config, policy.kinds(self.plugins))
        if fresh.gateway != self.config.gateway:
            raise AlgateError("[gateway] can't change while running: stop `algate run` and start it again")
        changed = [name for name in ("nat", "timeouts", "firewall", "forwards", "alg", "metrics")
                   if getattr(fresh, name) != getattr(self.config, name)]  # fmt: skip
        if fresh.nat.max_sessions != self.config.nat.max_sessions:
            self.gateway.notes.append("max_sessions changes with `algate down --purge` and a new start")
        self.config = fresh
        if self.helper is not None:
            self.helper.apply(fresh)
        self._apply()
        self._room_wanted.set()  # a sweep at once, by the new timeouts and filtering
        log.info("configuration read again: %s", ", ".join(changed) or "nothing changed")
        return {"changed": changed}

    def stop(self, down: str | None = None) -> None:
        """End `serve`; `down` "detach" or "purge" takes the gateway off its devices as well."""
        self._down = down
        self._stopping.set()

    async def serve(self) -> int:
        """Until stopped. Whatever happens, nothing is left half attached."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload_by_signal)
        server = await answering.serve(control.socket_path(self.run_dir), verbs.handlers(self))
        try:
            if await self._find_devices():
                await self._bring_up_or_undo()
                await self._keep()
        finally:
            self._take_down()
            await server.close()
        return DONE

    async def _bring_up_or_undo(self) -> None:
        """A start that fails leaves what an earlier run left, and nothing else."""
        first = not self._datapath.state.devices
        unpinned = not pins.folder(self.run_dir).exists()
        try:
            await self._bring_up()
        except BaseException:
            if first:
                self._datapath.detach()
            if unpinned:
                pins.remove(self.run_dir)
            raise

    def _reload_by_signal(self) -> None:
        try:
            self.reload()
        except AlgateError as error:
            log.error("reload: %s", error)

    async def _find_devices(self) -> bool:
        """Wait for the WAN's address. False: stopped meanwhile."""
        since = time.monotonic()
        while True:
            self.lans = [datapath.need_device(name) for name in self.config.gateway.lan]
            self.wan = datapath.need_device(self.config.gateway.wan)
            self.addresses = settings.public_addresses(self.config, self.wan)
            if self.addresses:
                namespace.refuse_overlap(self.lans, self.wan)
                return True
            self.state = f"waiting for an address on {self.wan.name}"
            if self.wait is not None and time.monotonic() - since >= self.wait:
                raise AlgateError(
                    f"{self.wan.name} has no IPv4 address: give it one, or leave --wait out to wait for it"
                )
            notify(f"STATUS={self.state}")
            if await self._sleep(0.5):
                return False

    async def _bring_up(self) -> None:
        assert self.wan is not None
        folder = pins.version_folder(self.run_dir)
        limit = max(len(self.addresses), len(self.config.nat.addresses))
        self._gateway = await asyncio.to_thread(Gateway, folder, self.config.nat.max_sessions, limit, self.run_dir)
        gateway = self._gateway
        self._control = Control(gateway.fds["control"])
        nat = self.config.nat
        self._ports = KernelPorts(self.control, self.addresses, nat.ports.first, nat.ports.last)
        self._forwards = Forwards(gateway, self.control, self.plugins)
        secret = settings.write_config(gateway, self.config, self.lans, self.wan, self.addresses, 0)
        helper = Helper(gateway, self.control, self._ports, self.config, self.plugins, self.events, secret)
        self.helper = helper
        self._metrics = helper.metrics = Metrics(
            self._sources(gateway, helper), lambda: (self.state == "translating", self.state)
        )
        self._metrics.listen(self.config.metrics.listen)
        self._apply()
        self._ports.blocks.inherit(gateway)
        gateway.install_stages()
        self._datapath.attach_tap(helper.tap.index, gateway.fds)
        pages = int(os.environ.get("ALGATE_RING_PAGES", PAGES))  # tests make it tiny
        for fd in helper.open_ring(pages):
            asyncio.get_running_loop().add_reader(fd, helper.drain)
        helper.tails_waiting = self._tails_soon
        helper.room_wanted = self._room_wanted.set
        taken = helper.take_over(self.control)
        self._beat()
        self._datapath.attach(self.lans, self.wan, gateway.fds)
        for note in gateway.notes:
            log.warning("%s", note)
        if taken:
            log.info("took over %d control sessions", taken)
        self.state = "translating"
        print("ready", flush=True)
        notify("READY=1\nSTATUS=translating")

    def _sources(self, gateway: Gateway, helper: Helper) -> Sources:
        return Sources(
            gateway.counters, gateway.drops, lambda: {name: self.by_state[name] for name in STATE_NAMES.values()},
            lambda: dict(helper.executor.outcomes),
            helper.counts, lambda: helper.lost,
        )  # fmt: skip

    def _apply(self) -> None:
        """Configuration, watched ports and forwards into the kernel."""
        assert self.wan is not None and self.helper is not None
        gateway = self.gateway
        settings.write_config(gateway, self.config, self.lans, self.wan, self.addresses, self.helper.tap.index)
        settings.write_services(gateway, self.config, self.plugins)
        self.forwards.sync(self.config.forwards, len(self.addresses))
        self._ports.addresses = list(self.addresses)
        self.hold_passive_ports()
        self.helper.gateway_address = next((one.ip for lan in self.lans for one in lan.addresses), None)

    def hold_passive_ports(self) -> None:
        """The public ports that plug-ins want held for servers behind the forwards in force."""
        wanted = conflicts.held_ports(self.config, self.forwards.all())
        self._ports.configure((PROTO[one.proto], one.ip, one.ports) for one in wanted)

    def _tails_soon(self) -> None:
        """Look for the heads of held fragments in a moment, and again while any are held."""
        if self._tail_timer is None:
            self._tail_timer = asyncio.get_running_loop().call_later(TAIL_SECONDS, self._release_tails)

    def _release_tails(self) -> None:
        self._tail_timer = None
        if self.helper is not None:
            self.helper.tails.release(now())
            if self.helper.tails:
                self._tails_soon()

    def _beat(self) -> None:
        self.gateway.heartbeat.put(0, ticks.count())

    async def _keep(self) -> None:
        """Heartbeat, timers, sweep, devices: until stopped. A failing duty ends the service, not silently its own."""
        duties = [
            asyncio.ensure_future(one)
            for one in (self._repeat(HEARTBEAT, self._beat), self._repeat(TICK, self._tick), self._sweep_for_ever(),
                        self._repeat(TRANSFERS, self._transfers),
                        self._repeat(WATCH, self._watch), self._stopping.wait())
        ]  # fmt: skip
        try:
            done, _ = await asyncio.wait(duties, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()
        finally:
            for one in duties:
                one.cancel()
            await asyncio.gather(*duties, return_exceptions=True)

    async def _sleep(self, seconds: float) -> bool:
        """Whether the service is to stop."""
        try:
            async with asyncio.timeout(seconds):  # wait_for may swallow a cancellation (Python 3.11)
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True

    async def _repeat(self, interval: float, duty: Any) -> None:
        while not await self._sleep(interval):
            duty()

    def _tick(self) -> None:
        self.events.tick(TICK)
        if self.helper is not None:
            self.helper.tick()

    def _transfers(self) -> None:
        if self.helper is not None:
            self.helper.look_at_transfers()

    async def _sweep_for_ever(self) -> None:
        last = time.monotonic()
        while not self._stopping.is_set():
            # Short: a reload may bring shorter timeouts, and a full table is asked for room at once.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_LEAST):
                    await self._room_wanted.wait()
            t = self.config.timeouts
            due = time.monotonic() - last >= min(SWEEP_MOST, min(t.udp, t.icmp, t.tcp_transitory) / 4)
            if not due and not self._room_wanted.is_set() and not self._nearly_full():
                continue
            self._room_wanted.clear()
            last = time.monotonic()
            sweep = Sweep(self.gateway, self.control)
            for _ in chain(sweep.run(), sweep.age_ports()):
                await asyncio.sleep(0)
            self.by_state = Counter({STATE_NAMES[state]: number for state, number in sweep.by_state.items()})
            if self.helper is not None:
                self.helper.forget(sweep.control_ids)
                self.helper.settle_room(sweep.deleted + sweep.reclaimed > 0)

    def _nearly_full(self) -> bool:
        """By the counters of sessions made and ended."""
        made, ended = (self.gateway.counters.sum(one) for one in (abi.Counter.SESSIONS_NEW, abi.Counter.SESSIONS_ENDED))
        return made - ended > FULL * self.gateway.max_sessions

    def _watch(self) -> None:
        """Devices that vanish or come back, a WAN address that changes."""
        try:
            lans = [datapath.need_device(name) for name in self.config.gateway.lan]
            wan = datapath.need_device(self.config.gateway.wan)
            addresses = settings.public_addresses(self.config, wan)
            if not addresses:
                raise AlgateError(f"{wan.name} has no IPv4 address")
            namespace.refuse_overlap(lans, wan)
        except AlgateError as error:
            self._say_state(f"not translating: {error}")
            return
        indices = [one.index for one in (*self.lans, self.wan) if one is not None]
        anew = [one.index for one in (*lans, wan)] != indices
        moved = addresses != self.addresses
        self.lans, self.wan, self.addresses = lans, wan, addresses
        if anew or moved:
            self._apply()
        if anew:
            self._datapath.attach(lans, wan, self.gateway.fds)
        if moved:
            ended = namespace.end_sessions_of_others(self.gateway, self.control, addresses)
            log.warning("the WAN address is %s now: %d sessions of others ended", addresses[0], ended)
        self._ports.blocks.retry()
        if self.helper is not None:
            self.helper.close_ranges()
        self._say_state("translating")

    def _say_state(self, state: str) -> None:
        if state != self.state:
            self.state = state
            log.warning("%s", state)
            notify(f"STATUS={state}")

    def _take_down(self) -> None:
        """Stop the helper; programs and pins stay unless `down` was asked for."""
        notify("STOPPING=1")
        if self._gateway is not None:
            self._gateway.heartbeat.put(0, 0)
        if self.helper is not None:
            self.helper.close()
        if self._metrics is not None:
            self._metrics.close()
        if self._down:
            self._datapath.detach()
        if self._down == "purge":
            pins.remove(self.run_dir)


def run(config: Config, run_dir: Path, wait: float | None) -> int:
    """`algate run`. Returns the exit code; raises AlgateError if it can't begin or go on."""
    namespace.require_root("algate run")
    if not config.gateway.lan or not config.gateway.wan:
        raise AlgateError("which devices? give --lan and --wan, or [gateway] lan and wan in the configuration", 2)
    # A control connection waits while a decision is made; where priorities aren't to be had it waits a little longer.
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    with Claim(run_dir):
        return asyncio.run(_serve(config, run_dir, wait))


async def _serve(config: Config, run_dir: Path, wait: float | None) -> int:
    return await Service(config, run_dir, wait).serve()
