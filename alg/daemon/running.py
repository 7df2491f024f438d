"""What exists while a gateway runs, all of it or nothing: the kernel's part, the helper, and what reads them.

The law of this file: it joins the parts and waits for nothing. The service says when each starts and ends.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from algate.alg.audit.events import Events
from algate.alg.audit.families import Sources
from algate.alg.audit.metrics import Metrics
from algate.alg.audit.places import Logs
from algate.alg.audit.relay import Relay
from algate.alg.config import conflicts
from algate.alg.config.load import Config
from algate.alg.daemon.blockkeeping import BlockKeeping
from algate.alg.daemon.devices import Devices
from algate.alg.daemon.losses import Losses
from algate.alg.daemon.notices import Notices
from algate.alg.daemon.prefixkeeping import TranslatedPrefix, prefix_in_force
from algate.alg.daemon.standing import ServiceFacts, alive, standing
from algate.alg.daemon.sweeper import Sweeper
from algate.alg.gateway import prefixes, reach, settings
from algate.alg.gateway.admission_table import AllowInTable
from algate.alg.gateway.admissions import Admissions
from algate.alg.gateway.forwards import Forwards
from algate.alg.gateway.listing import STATE_NAMES
from algate.alg.gateway.settings import PROTO
from algate.alg.helper.helper import Helper
from algate.alg.helper.ports import KernelPorts
from algate.alg.helper.tap import Tap
from algate.alg.plugin.registry import Plugins
from algate.bpf import ticks
from algate.bpf.loader import Gateway
from algate.bpf.requests import ControlProgram

log = logging.getLogger(__name__)


@dataclass
class Running:
    """Only `devices` and `told` change. `control` is the kernel's control program; `admissions`: None where IPv6 isn't
    filtered.

    `told`: what was logged about forwards that lead nowhere."""

    devices: Devices
    gateway: Gateway
    control: ControlProgram
    ports: KernelPorts
    forwards: Forwards
    helper: Helper
    sweeper: Sweeper
    metrics: Metrics
    events: Events
    plugins: Plugins
    losses: Losses
    blocks: BlockKeeping
    notices: Notices
    logs: Logs
    admissions: Admissions | None = None
    beaten: float | None = None
    told: set[str] = field(default_factory=set)

    @property
    def names(self) -> dict[int, str]:
        """Plug-in's number in the kernel -> its name."""
        return {plugin.number: name for name, plugin in self.plugins.items()}

    def stats(self) -> dict[str, float]:
        """The metrics' values, with the sessions that began a moment ago. For the loop: the listener's thread may not
        read the ring."""
        self.helper.sessions()
        return self.metrics.stats()

    def adopt(self, fresh: Config) -> None:
        """Put another configuration in force. AlgateError if something of it can't be."""
        self.metrics.listen(fresh.metrics.listen, fresh.metrics.names)  # first: a port may be taken
        self.logs.apply(fresh.log)  # or a file that can't be written
        self.helper.apply(fresh)
        self.apply(fresh)
        self.sweeper.wanted.set()  # at once, with the new timeouts and filtering

    def apply(self, config: Config) -> None:
        """Write configuration, watched ports and forwards into the kernel."""
        now = self.devices
        self.blocks.pause(config.nat)
        self.logs.apply(config.log)
        settings.write_config(self.gateway, config, now.lans, now.wan, now.addresses)
        former = prefix_in_force(self.gateway)
        settings.write_config6(self.gateway, config, now.lans, now.wan)
        if former:
            TranslatedPrefix(self.gateway, self.control).look(former)
        settings.write_services(self.gateway, config, self.plugins)
        self.forwards.sync(config.forwards, len(now.addresses))
        if self.admissions is not None:
            self.admissions.sync(config.allow_in)
        self.ports.addresses = list(now.addresses)
        self.hold_passive_ports(config)
        self.look_at_blocks(config)
        self.helper.refused.gateway_address = now.own_address
        self.helper.refused.gateway_address6 = prefixes.own_address(config.gateway.lan)
        self._complain(config)

    def _complain(self, config: Config) -> None:
        """Log forwards, and what is let in, that lead nowhere, once each."""
        wan = config.gateway.wan
        words = {f"forward: {word}" for _, word in reach.obstacles(self.forwards.all(), wan)}
        for one in self.admissions.all() if self.admissions is not None else ():
            words |= {f"allow: {word}" for word in (reach.obstacle(one.to, wan),) if word}
        for word in words - self.told:
            log.warning("%s", word)
        self.told = words

    def hold_passive_ports(self, config: Config) -> None:
        """Hold the public ports that plug-ins want for servers behind the present forwards."""
        wanted = conflicts.held_ports(config, self.forwards.all())
        self.ports.configure((PROTO[one.proto], one.ip, one.ports) for one in wanted)

    def look_at_blocks(self, config: Config) -> None:
        """What became of port blocks, and where they may be given out now."""
        forwards = self.forwards.all()
        held = [one.wan_port for one in forwards] + [one.ports for one in conflicts.held_ports(config, forwards)]
        self.blocks.settle(config.nat, self.devices.addresses, held)
        self.blocks.look()

    def beat(self) -> None:
        """Tell the kernel that the helper is alive."""
        self.gateway.heartbeat.put(0, ticks.count())
        former, self.beaten = self.beaten, time.monotonic()
        if former is not None:
            self.metrics.gap.observe(self.beaten - former)

    def close(self) -> None:
        """Close the helper and tell the kernel at once; programs and maps stay. What a log wants goes on being told, so
        that the next daemon knows how much is missing."""
        self.notices.stop(quiet=self.logs.wanted)
        self.logs.close()
        self.gateway.heartbeat.put(0, 0)
        self.helper.close()
        self.metrics.close()


def assemble(
    gateway: Gateway, config: Config, devices: Devices, plugins: Plugins, events: Events,
    health: Callable[[], tuple[bool, str]], losses: Losses, told: ServiceFacts, tap: Tap | None = None,
) -> Running:  # fmt: skip
    """Join the parts around a loaded gateway; nothing is attached or started yet. `health`, `told`: for Metrics; `tap`:
    one made earlier."""
    control = ControlProgram(gateway.fds["control"], gateway.fds.get("control6", -1))
    ports = KernelPorts(control, devices.addresses, config.nat.ports.first, config.nat.ports.last)
    forwards = Forwards(gateway, control, plugins)
    blocks = BlockKeeping(gateway, control)
    blocks.pause(config.nat)
    secret = settings.write_config(gateway, config, devices.lans, devices.wan, devices.addresses)
    helper = Helper(gateway, control, ports, config, plugins, events, secret, tap)
    sweeper = Sweeper(gateway, control, helper)
    relay = Relay()
    logs = Logs(relay)
    blocks.tell = relay.take
    sources = Sources(
        gateway.counters, gateway.drops, lambda: {name: sweeper.by_state[name] for name in STATE_NAMES.values()},
        lambda: dict(helper.executor.outcomes), helper.counts, lambda: helper.lost,
        lambda: losses.taken, lambda: losses.mended, losses.now, relay, logs,
        lambda: dict(sweeper.by_family),
    )  # fmt: skip
    stands = standing(told, gateway, helper, lambda: blocks.fill)
    metrics = helper.metrics = Metrics(sources, health, stands, lambda: alive(gateway))
    helper.delays.tell(metrics.held)
    notices = Notices(gateway, relay, {plugin.number: name for name, plugin in plugins.items()})
    return Running(
        devices,
        gateway,
        control,
        ports,
        forwards,
        helper,
        sweeper,
        metrics,
        events,
        plugins,
        losses,
        blocks,
        notices,
        logs,
        Admissions(AllowInTable(gateway)) if gateway.six else None,
    )
