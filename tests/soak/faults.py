"""What a soak does to its gateway, at random.

The law of this file: each fault is done, and undone as far as the gateway doesn't mend it; no judgement.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from typing import NamedTuple

from algate.bpf import pins
from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.lab import ip


class Trouble(NamedTuple):
    """`act` returns once it is undone or left to the gateway."""

    name: str
    act: Callable[[AlgateGateway], None]


def _pid(gateway: AlgateGateway) -> int:
    assert gateway.process is not None
    return gateway.process.pid


def terminate(gateway: AlgateGateway) -> None:
    """SIGTERM, and a new start."""
    gateway.stop_daemon()
    gateway.start()


def kill(gateway: AlgateGateway) -> None:
    """kill -9, and a new start."""
    assert gateway.process is not None
    gateway.process.kill()
    gateway.start()


def stand_still(gateway: AlgateGateway) -> None:
    """SIGSTOP for longer than the kernel waits for a sign of life."""
    os.kill(_pid(gateway), signal.SIGSTOP)
    time.sleep(4.0)
    os.kill(_pid(gateway), signal.SIGCONT)


def crash_loop(gateway: AlgateGateway) -> None:
    """Three kills in a row."""
    for _ in range(3):
        kill(gateway)


def reload(gateway: AlgateGateway) -> None:
    """SIGHUP."""
    os.kill(_pid(gateway), signal.SIGHUP)
    time.sleep(0.2)


def blink(device: str) -> Callable[[AlgateGateway], None]:
    """A link down and up again."""

    def act(gateway: AlgateGateway) -> None:
        netns = gateway.lab.gw.netns
        routes = gateway.lab.gw.run(["ip", "route", "show", "dev", device]).stdout.splitlines()
        ip(f"link set {device} down", netns)
        time.sleep(0.5)
        ip(f"link set {device} up", netns)
        for route in routes:
            if "proto kernel" not in route:
                gateway.lab.gw.run(["ip", "route", "replace", *route.split(), "dev", device])

    return act


def forwarding_off(gateway: AlgateGateway) -> None:
    """Somebody's sysctl; where the gateway doesn't mend it, it is put back here."""
    gateway.lab.gw.sysctl("ipv4/ip_forward", "0")
    time.sleep(2.0)
    gateway.lab.gw.sysctl("ipv4/ip_forward", "1")


def clsact(device: str) -> Callable[[AlgateGateway], None]:
    """All filters of a device go."""

    def act(gateway: AlgateGateway) -> None:
        gateway.lab.gw.run(["tc", "qdisc", "del", "dev", device, "clsact"], check=True)
        time.sleep(2.0)

    return act


def pins_removed(gateway: AlgateGateway) -> None:
    """The whole pin folder goes."""
    shutil.rmtree(pins.folder(gateway.run_dir))
    time.sleep(2.0)


def tap_removed(gateway: AlgateGateway) -> None:
    """The device by which the helper sends goes."""
    ip(f"link del {gateway.ask('status')['tap']}", gateway.lab.gw.netns)
    time.sleep(2.0)


def run_dir_removed(gateway: AlgateGateway) -> None:
    """Socket, lock and state go."""
    shutil.rmtree(gateway.run_dir, ignore_errors=True)  # the daemon may be making it anew meanwhile
    time.sleep(2.0)


def route_removed(gateway: AlgateGateway) -> None:
    """The default route goes, and comes back."""
    (route,) = gateway.lab.gw.run(["ip", "route", "show", "default"]).stdout.splitlines()
    gateway.lab.gw.run(["ip", "route", "del", "default"], check=True)
    time.sleep(1.0)
    gateway.lab.gw.run(["ip", "route", "replace", *route.split()], check=True)


TROUBLES = (
    Trouble("SIGTERM and start", terminate),
    Trouble("kill -9 and start", kill),
    Trouble("SIGSTOP for 4 s", stand_still),
    Trouble("three kills in a row", crash_loop),
    Trouble("reload", reload),
    Trouble("WAN link down and up", blink("wan0")),
    Trouble("LAN link down and up", blink("lan0")),
    Trouble("ip_forward = 0", forwarding_off),
    Trouble("clsact removed from lan0", clsact("lan0")),
    Trouble("clsact removed from wan0", clsact("wan0")),
    Trouble("pins removed", pins_removed),
    Trouble("TAP device removed", tap_removed),
    Trouble("run directory removed", run_dir_removed),
    Trouble("default route removed", route_removed),
)
