"""Two gateways in one place: both on the inside switch and on the outside one, with a link of their own and a witness.

    client ──[switch]── lan0 GW  wan0 ──[outer]── server
                   └─── lan0 GW2 wan0 ────┘
             GW ha0 ──[witness]── ha0 GW2

The law of this file: topology, engines and keepalived; what happens to them is the caller's.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from typing import Any

from algate.alg.config import load as configuration
from algate.alg.errors import MISSING
from algate.alg.ha import keepalived
from algate.cli.lab.gateways import DOWN_SECONDS, algate, if_left
from algate.cli.lab.host import PATIENCE, Host, LabError, Spawned
from algate.cli.lab.lab import LAN_DEVICE, WAN_DEVICE, Lab, ip
from algate.client import Client

LINK = {"gw": "10.99.0.1", "gw2": "10.99.0.2", "witness": "10.99.0.3"}
OWN = {"gw": "11", "gw2": "12"}  # the last byte of a node's own addresses
PORT = 6379


def own_inside(network: str, name: str) -> str:
    """A node's own address there."""
    return f"{network.rsplit('.', 1)[0]}.2{OWN[name]}"


class PairLab(Lab):
    """As Lab, with two places for a gateway. The public and the inside address are nobody's yet."""

    def _build(self) -> None:
        plan = self.plan
        for index, address in enumerate(plan.clients):
            self._add_host(self._client_name(index), address, "eth0")
        for name in ("gw", "gw2"):
            self._add_host(name, LINK[name], WAN_DEVICE)
        for name in ("switch", "outer", "witness"):
            self._add_host(name, LINK.get(name, ""), "br0")
            ip("link add br0 type bridge\nlink set br0 up", self.hosts[name].netns)
        self._add_host("server", plan.servers[0], "eth0")
        self.record.save()
        self._wire_pair()
        self._cut_off_names()

    def _plug(self, host: str, device: str, switch: str, port: str) -> None:
        self._link(host, device, switch, port)
        ip(f"link set {port} master br0", self.hosts[switch].netns)

    def _wire_pair(self) -> None:
        plan = self.plan
        ip(f"addr add {LINK['witness']}/24 dev br0", self.hosts["witness"].netns)
        for index, name in enumerate(("gw", "gw2")):
            netns = self.hosts[name].netns
            self._plug(name, LAN_DEVICE, "switch", f"g{index}")
            self._plug(name, WAN_DEVICE, "outer", f"g{index}")
            self._plug(name, "ha0", "witness", f"g{index}")
            wan = plan.wan.rsplit(".", 1)[0]
            ip(f"addr add {own_inside(plan.inside, name)}/{plan.inside_length} dev {LAN_DEVICE}", netns)
            ip(f"addr add {wan}.{OWN[name]}/{plan.wan_length} dev {WAN_DEVICE}", netns)
            ip(f"addr add {LINK[name]}/24 dev ha0", netns)
            ip(f"route add default via {plan.next_hop}", netns)
        for index, client in enumerate(self.clients):
            self._plug(client.name, "eth0", "switch", f"c{index}")
            ip(f"addr add {client.address}/{plan.inside_length} dev eth0", client.netns)
            ip(f"route add default via {plan.gateway}", client.netns)
        self._plug("server", "eth0", "outer", "s0")
        ip(f"addr add {plan.next_hop}/{plan.wan_length} dev eth0", self.server.netns)
        for address in plan.servers:
            ip(f"addr add {address}/32 dev eth0", self.server.netns)
        ip(f"route replace {plan.wan} dev eth0 src {plan.servers[0]}", self.server.netns)


def engine(host: Host, *more: str) -> Spawned:
    """redis-server in a namespace, on its address of the nodes' own link, with the priority that the shipped unit
    gives it; it keeps nothing when it ends, unless `more` options say so."""
    program = shutil.which("redis-server")
    if program is None:
        raise LabError("redis-server is missing: install Debian's redis-server", MISSING)
    command = ["nice", "-n", "-15", program, "--bind", LINK[host.name], "--port", str(PORT), "--save", "",
               "--appendonly", "no", "--protected-mode", "no", "--dir", str(host.folder), *more]  # fmt: skip
    made = host.spawn("redis", command)
    if not host.wait_port(PORT, alive=made.alive):
        raise LabError(f"redis-server doesn't listen in {host.name}: {made.tail()}")
    return made


class Node:
    """One of the two: algate, the engine beside it, keepalived."""

    def __init__(self, lab: PairLab, name: str, config: str = "") -> None:
        self.lab, self.name = lab, name
        self.host = lab.hosts[name]
        self.run_dir = lab.folder / f"run-{name}"
        self.run_dir.mkdir(mode=0o700, exist_ok=True)
        self.file = lab.folder / f"{name}.toml"
        peer = LINK["gw2" if name == "gw" else "gw"]
        self.file.write_text(
            f'[gateway]\nlan = ["{LAN_DEVICE}"]\nwan = "{WAN_DEVICE}"\n[nat]\naddresses = {list(lab.plan.public)}\n'
            f'[metrics]\nlisten = ""\n[ha]\nnode = "{"a" if name == "gw" else "b"}"\nengine = "{LINK[name]}:{PORT}"\n'
            f'peer = "{peer}:{PORT}"\nwitness = "{LINK["witness"]}:{PORT}"\n' + config
        )
        self.process: Spawned | None = None
        self.keeper: Spawned | None = None
        self.engine: Spawned | None = None
        down = [*algate(), "down", "--purge", "--run-dir", str(self.run_dir)]
        lab.undo(if_left(self.run_dir, self.host.command(down)))

    def begin(self) -> None:
        """Start algate."""
        argv = [*algate(), "run", "--run-dir", str(self.run_dir), "--config", str(self.file)]
        self.process = self.host.spawn("algate", argv)

    def able(self) -> bool:
        """Whether it could lead."""
        return self.status()["state"] not in ("", "loading the programs")

    def keep(self, advert: float = 0.1) -> None:
        """Start keepalived, with what `algate ha keepalived` says."""
        program = shutil.which("keepalived")
        if program is None:
            raise LabError("keepalived is missing: install Debian's keepalived", MISSING)
        config = configuration.load(self.file)
        inside = (f"{self.lab.plan.gateway}/{self.lab.plan.inside_length}",)
        file = self.lab.folder / f"{self.name}-keepalived.conf"
        file.write_text(keepalived.text(config, "ha0", inside, self.run_dir, advert))
        file.chmod(0o644)
        pids = [f"--{kind}={self.run_dir / kind}" for kind in ("pid", "vrrp_pid")]
        self.keeper = self.host.spawn("keepalived", [program, "-n", "-l", "-P", "-f", str(file), *pids])

    def status(self) -> dict[str, Any]:
        """What `algate ha status` tells; a role of "" while nobody answers."""
        with contextlib.suppress(Exception):
            found: dict[str, Any] = Client(self.run_dir).ask("ha-status")
            return found
        return {"role": "", "state": ""}

    def until(self, true: Any, seconds: float = 60.0) -> None:
        """Wait; LabError with the end of the log if that takes too long."""
        end = time.monotonic() + seconds * PATIENCE
        while not true():
            if time.monotonic() > end or (self.process is not None and not self.process.alive()):
                raise LabError(f"{self.name}: {self.process.tail(20) if self.process else 'nothing runs'}")
            time.sleep(0.01)

    @property
    def log(self) -> str:
        return self.process.log.read_text(errors="replace") if self.process else ""

    def ask(self, verb: str) -> Any:
        """What it answers to a verb."""
        return Client(self.run_dir).ask(verb)

    def known(self) -> int:
        """Sessions of the other node that it knows."""
        return int(self.status().get("sessions", 0))

    def give_way(self) -> None:
        """A planned switch."""
        self.ask("ha-yield")

    def rejoin(self) -> None:
        """Stand by again: it does so by itself."""
        self.until(lambda: self.status()["role"] == "stands by" and self.status()["state"] == "in step")

    def die(self) -> None:
        """Power cut: nothing of it sends or answers any more."""
        # The nodes' own link first: else keepalived, which sees the others go, would still say goodbye.
        ip("\n".join(f"link set {one} down" for one in ("ha0", LAN_DEVICE, WAN_DEVICE)), self.host.netns)
        self.host.stop_all()

    def revive(self) -> None:
        """Power again: it stands by, and knows nothing of before."""
        self.host.run([*algate(), "down", "--purge", "--run-dir", str(self.run_dir)], timeout=DOWN_SECONDS)
        revive(self.lab, self.name)
        self.engine = engine(self.host)
        self.begin()
        self.until(self.able)
        self.keep()

    def stop(self) -> None:
        """End it and take it off its devices."""
        self.host.stop_all()
        self.host.run([*algate(), "down", "--purge", "--run-dir", str(self.run_dir)], timeout=DOWN_SECONDS)


def revive(lab: PairLab, name: str) -> None:
    """A node's links again, as they are when it has just been started: with its own addresses alone."""
    plan, netns = lab.plan, lab.hosts[name].netns
    moved = [f"addr del {plan.gateway}/{plan.inside_length} dev {LAN_DEVICE}"]
    moved += [f"addr del {one}/32 dev {WAN_DEVICE}" for one in plan.public]
    for line in moved:
        with contextlib.suppress(LabError):  # it may not have had them
            ip(line, netns)
    ip("\n".join(f"link set {one} up" for one in ("ha0", LAN_DEVICE, WAN_DEVICE)), netns)
    ip(f"route replace default via {plan.next_hop}", netns)
