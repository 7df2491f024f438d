"""The object of `algate status`: the daemon, its devices and plug-ins, and the figures that matter most.

The law of this file: it reads the whole service, since it reports on all of it, and changes nothing; its names are a
contract with scripts and `top`.
"""

from __future__ import annotations

import os
import time

from algate.alg.admin import ipv6, limits, reasons
from algate.alg.admin.build import build
from algate.alg.answers import PluginAnswer, StatusAnswer
from algate.alg.daemon.service import Daemon
from algate.alg.errors import AlgateError
from algate.alg.gateway.inforce import InForce, in_force
from algate.alg.gateway.state import State
from algate.alg.version import VERSION
from algate.bpf import abi
from algate.bpf.loader import Gateway


def _goes_on(service: Daemon) -> InForce:
    """What the programs that an earlier daemon attached do with IPv6."""
    try:
        return in_force(service.run_dir) if State.load(service.run_dir).devices else InForce()
    except AlgateError:
        return InForce()


def status(service: Daemon) -> StatusAnswer:
    """Works at any moment of the daemon's life; what isn't there yet is null."""
    config, running = service.config, service.running
    gateway, helper = (running.gateway, running.helper) if running else (None, None)
    controls = helper.sessions() if helper else []
    words = dict(abi.reasons().values())
    chosen = sorted({mode for mode, _ in service.modes.values()})
    return {
        "state": service.state, "version": VERSION, "build": build(), "pid": os.getpid(),
        "uptime": time.time() - service.started, "run_dir": str(service.run_dir),
        "config": str(config.path) if config.path else None,
        "lan": list(config.gateway.lan), "wan": config.gateway.wan,
        "addresses": [str(one) for one in running.devices.addresses] if running else [],
        "ipv6": ipv6.standing(config, before=None if running else _goes_on(service)),
        "datapath": "+".join(chosen) or None,
        "datapath_why": {name: why for name, (_, why) in service.modes.items()},
        "sessions": _sessions(gateway) if gateway else 0,
        "max_sessions": gateway.max_sessions if gateway else config.nat.max_sessions,
        "control_sessions": len(controls),
        "control_memory": sum(map(helper.engine.memory, controls)) if helper else 0,
        "plugins": [_plugin(service, name) for name in service.plugins],
        "fail": config.alg.fail,
        "headers": gateway.headers if gateway else None,
        "pins": str(gateway.pins) if gateway else None,
        "amiss": [{"what": one.kind, "detail": one.text, "fix": one.fix} for one in service.losses.amiss.values()],
        "drops": reasons.drops(_dropped(gateway), words) if gateway else [],
        "ha": service.pairing.status() if service.pairing is not None else None,
        "unconfirmed": service.reloading.unconfirmed(),
        "refused": limits.answers(running) if running else [],
        "tap": helper.tap.name if helper else None,
        "notes": [*(gateway.notes if gateway else []), *service.plugins.left_out],
    }  # fmt: skip


def _sessions(gateway: Gateway) -> int:
    """The kernel's own count, of this moment. While sessions end on several CPUs it may be read below zero."""
    used = gateway.pools[abi.POOL_SESSIONS].used
    return used if used < 1 << 63 else 0


def _dropped(gateway: Gateway) -> dict[str, int]:
    return {name: gateway.drops.sum(number) for number, (name, _) in abi.reasons().items()}


def _plugin(service: Daemon, name: str) -> PluginAnswer:
    """`origin`: the package that brought it."""
    plugin, policy = service.plugins[name], service.config.alg.protocols[name]
    return {
        "name": name, "enabled": bool(policy.enabled), "transport": plugin.transport,
        "ports": list(policy.watched or plugin.default_ports), "origin": service.plugins.origins[name],
    }  # fmt: skip
