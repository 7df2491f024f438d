"""The namespace lab behind demo, tests and bench: client hosts, a gateway place and a server host, wired and addressed.

    client(s) ──[switch]── lan0 GW wan0 ──[router]── server

The law of this file: topology only. A `Gateway` (gateways.py) turns the middle namespace into a gateway; servers.py
and transfers.py talk through it. All names start with `ag-` and a random part; nothing else is ever touched.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from algate.alg.errors import MISSING
from algate.cli.lab.host import Host, LabError
from algate.cli.lab.record import LabRecord, start_time, sweep

LAN_DEVICE = "lan0"
WAN_DEVICE = "wan0"


@dataclass(frozen=True)
class LabPlan:
    """Addresses and hosts of a lab. Documentation prefixes outside (RFC 5737), a private one inside (RFC 1918)."""

    inside: str = "10.77.0.0/24"  # the gateway has the first address
    clients: tuple[str, ...] = ("10.77.0.2",)  # more than one: a switch namespace joins them
    wan: str = "198.51.100.0/24"
    public: tuple[str, ...] = ("198.51.100.2",)  # the gateway's; the first is the primary address
    next_hop: str = "198.51.100.1"  # the server host itself, or the router in front of it
    servers: tuple[str, ...] = ("203.0.113.10", "203.0.113.11")  # all on one host
    router: bool = False
    mtu: int = 1500
    six: bool = False  # IPv6 beside it, of RFC 3849's prefix
    inside6: str = "2001:db8:77::/64"  # the gateway has ::1, the clients ::2 and up
    wan6: str = "2001:db8:51::/64"  # the next hop has ::1, the gateway ::2
    servers6: tuple[str, ...] = ("2001:db8:113::10",)

    @property
    def gateway(self) -> str:
        return str(IPv4Network(self.inside)[1])

    @property
    def inside_length(self) -> int:
        return IPv4Network(self.inside).prefixlen

    @property
    def clients6(self) -> list[str]:
        """The clients' IPv6 addresses."""
        return [str(IPv6Network(self.inside6)[2 + index]) for index in range(len(self.clients))]

    @property
    def wan_length(self) -> int:
        return IPv4Network(self.wan).prefixlen


class Lab:
    """`with Lab() as lab:` builds it, and removes it on any exit, including SIGTERM and SIGHUP."""

    def __init__(self, plan: LabPlan | None = None, *, keep: bool = False) -> None:
        self.plan = plan or LabPlan()
        self.keep = keep
        self.tag = f"ag-{secrets.token_hex(3)}"
        self.folder = Path()
        self.hosts: dict[str, Host] = {}
        self.record = LabRecord(self.tag, os.getpid(), start_time(os.getpid()), "")
        self._handlers: dict[signal.Signals, object] = {}

    # -- hosts ---------------------------------------------------------------------------------------------------------

    @property
    def clients(self) -> list[Host]:
        return [self.hosts[self._client_name(i)] for i in range(len(self.plan.clients))]

    @property
    def client(self) -> Host:
        return self.clients[0]

    @property
    def gw(self) -> Host:
        return self.hosts["gw"]

    @property
    def server(self) -> Host:
        return self.hosts["server"]

    @staticmethod
    def _client_name(index: int) -> str:
        return "client" if index == 0 else f"client{index + 1}"

    def undo(self, argv: list[str]) -> None:
        """Have this command line run before the lab is removed, even if a later process removes it."""
        self.record.undo.append(argv)
        self.record.save()

    # -- life ----------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        require_root()
        mount_bpffs()
        sweep()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.tag}-"))
        self.folder.chmod(0o755)
        self.record.folder = str(self.folder)
        self._catch_signals()
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.keep and error is None:
            self.record.keep = True
            self.record.save()
            self._restore_signals()
        else:
            self.close()

    def close(self) -> None:
        """Remove the lab. A second signal doesn't interrupt this halfway."""
        ignored = {}
        if self._handlers:
            ignored = {s: signal.signal(s, signal.SIG_IGN) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            for host in self.hosts.values():
                host.stop_all()
            self.record.remove()
        finally:
            for number, handler in ignored.items():
                signal.signal(number, handler)
            self._restore_signals()

    def _catch_signals(self) -> None:
        def leave(number: int, _frame: FrameType | None) -> None:
            sys.exit(128 + number)

        with contextlib.suppress(ValueError):  # not the main thread: the caller handles signals
            for number in (signal.SIGTERM, signal.SIGHUP):
                self._handlers[number] = signal.signal(number, leave)

    def _restore_signals(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._handlers.clear()

    # -- building ------------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        plan = self.plan
        several = len(plan.clients) > 1
        for index, address in enumerate(plan.clients):
            self._add_host(self._client_name(index), address, "eth0")
        self._add_host("gw", plan.public[0], WAN_DEVICE)
        if several:
            self._add_host("switch", "", "br0")
        if plan.router:
            self._add_host("router", plan.next_hop, "eth0")
        self._add_host("server", plan.servers[0], "eth0")
        self.record.save()
        self._wire_inside(several)
        self._wire_outside()
        if plan.six:
            self._wire_six()
        self._cut_off_names()

    def _cut_off_names(self) -> None:
        """Make name lookups fail at once instead of waiting for a name server that no lab has."""
        for line in _resolver_lines():
            word, _, address = line.partition(" ")
            if word == "nameserver" and ":" not in address and not address.strip().startswith("127."):
                for name in ("server", *(client.name for client in self.clients)):
                    ip(f"route replace unreachable {address.strip()}", self.hosts[name].netns)

    def _add_host(self, name: str, address: str, device: str) -> None:
        netns = f"{self.tag}-{name}"
        self.record.namespaces.append(netns)
        self.record.save()
        ip(f"netns add {netns}")
        host = Host(name, netns, address, device, self.folder)
        self.hosts[name] = host
        for key, value in (("all", "1"), ("default", "1")):
            host.sysctl(f"ipv6/conf/{key}/disable_ipv6", "0" if self.plan.six else value)
            host.sysctl(f"ipv6/conf/{key}/accept_dad", "0")  # nobody speaks while it looks for doubles
        host.sysctl("ipv4/ip_forward", "1" if name == "router" else "0")
        ip("link set lo up", netns)

    def _link(self, one: str, device: str, other: str, peer: str) -> None:
        a, b = self.hosts[one].netns, self.hosts[other].netns
        ip(f"link add {device} mtu {self.plan.mtu} type veth peer name {peer} mtu {self.plan.mtu} netns {b}", a)
        ip(f"link set {device} up", a)
        ip(f"link set {peer} up", b)

    def _wire_inside(self, several: bool) -> None:
        plan = self.plan
        if several:
            switch = self.hosts["switch"].netns
            ip("link add br0 type bridge\nlink set br0 up", switch)
            self._link("gw", LAN_DEVICE, "switch", "p0")
            ip("link set p0 master br0", switch)
        for index, client in enumerate(self.clients):
            if several:
                self._link(client.name, "eth0", "switch", f"p{index + 1}")
                ip(f"link set p{index + 1} master br0", self.hosts["switch"].netns)
            else:
                self._link(client.name, "eth0", "gw", LAN_DEVICE)
            ip(f"addr add {client.address}/{plan.inside_length} dev eth0", client.netns)
            ip(f"route add default via {plan.gateway}", client.netns)
        ip(f"addr add {plan.gateway}/{plan.inside_length} dev {LAN_DEVICE}", self.gw.netns)

    def _wire_outside(self) -> None:
        plan = self.plan
        first = "router" if plan.router else "server"
        self._link("gw", WAN_DEVICE, first, "eth0")
        for address in plan.public:
            ip(f"addr add {address}/{plan.wan_length} dev {WAN_DEVICE}", self.gw.netns)
        ip(f"route add default via {plan.next_hop}", self.gw.netns)
        ip(f"addr add {plan.next_hop}/{plan.wan_length} dev eth0", self.hosts[first].netns)
        if plan.router:
            self._link("router", "eth1", "server", "eth0")
            hop = str(IPv4Network(f"{plan.servers[0]}/24", strict=False)[1])
            ip(f"addr add {hop}/24 dev eth1", self.hosts["router"].netns)
        length = 24 if plan.router else 32
        for address in plan.servers:
            ip(f"addr add {address}/{length} dev eth0", self.server.netns)
        # The server host uses its own address, not the link's.
        via = f"via {hop} " if plan.router else ""
        ip(f"route replace {plan.wan} {via}dev eth0 src {plan.servers[0]}", self.server.netns)

    def _wire_six(self) -> None:
        """IPv6 on the same links; nothing is translated, so the outside has a route to the inside."""
        plan = self.plan
        inside, wan = IPv6Network(plan.inside6), IPv6Network(plan.wan6)
        for address, client in zip(plan.clients6, self.clients, strict=True):
            ip(f"addr add {address}/{inside.prefixlen} dev eth0 nodad", client.netns)
            ip(f"route add default via {inside[1]}", client.netns)
        ip(f"addr add {inside[1]}/{inside.prefixlen} dev {LAN_DEVICE} nodad", self.gw.netns)
        ip(f"addr add {wan[2]}/{wan.prefixlen} dev {WAN_DEVICE} nodad", self.gw.netns)
        ip(f"route add default via {wan[1]}", self.gw.netns)
        first = self.hosts["router" if plan.router else "server"]
        ip(f"addr add {wan[1]}/{wan.prefixlen} dev eth0 nodad", first.netns)
        ip(f"route add {inside} via {wan[2]}", first.netns)
        hop = IPv6Network(f"{plan.servers6[0]}/64", strict=False)[1]
        for address in plan.servers6:
            ip(f"addr add {address}/{64 if plan.router else 128} dev eth0 nodad", self.server.netns)
        if not plan.router:  # the server host uses its own address, not the link's
            ip(f"route replace {inside} via {wan[2]} dev eth0 src {plan.servers6[0]}", self.server.netns)
        if plan.router:
            ip(f"addr add {hop}/64 dev eth1 nodad", first.netns)
            ip(f"route add default via {hop}", self.server.netns)
        for host in (self.gw, *([first] if plan.router else ())):
            host.sysctl("ipv6/conf/all/forwarding", "1")


def _resolver_lines() -> list[str]:
    try:
        return Path("/etc/resolv.conf").read_text().splitlines()
    except OSError:
        return []


def ip(lines: str, netns: str | None = None) -> None:
    """Run lines of `ip` commands, in a namespace if one is given. Raises LabError with the first complaint."""
    # Not `ip -n`: it first makes mounts private, which fails in a chroot whose root isn't a mount point.
    argv = [*(["nsenter", f"--net=/run/netns/{netns}", "--"] if netns else []), "ip", "-batch", "-"]
    done = subprocess.run(argv, input=lines + "\n", text=True, capture_output=True)
    if done.returncode != 0:
        raise LabError(f"ip {lines!r} in {netns or 'the host'}: {done.stderr.strip().splitlines()[0]}")


def require_root() -> None:
    """Raise LabError (exit code 3) unless namespaces can be made here."""
    if os.geteuid() != 0:
        raise LabError("the lab needs root (network namespaces, BPF programs): run it with sudo", MISSING)
    for tool in ("ip", "nsenter"):
        if shutil.which(tool) is None:
            raise LabError(
                f"{tool} is missing: install Debian's iproute2 and util-linux (deploy/dev.sh setup does)", MISSING
            )


def mount_bpffs(path: Path = Path("/sys/fs/bpf")) -> None:
    """Mount bpffs where the pins go, if nothing is mounted there yet."""
    if not path.is_mount():
        done = subprocess.run(["mount", "-t", "bpf", "bpf", str(path)], capture_output=True, text=True)
        if done.returncode != 0:
            raise LabError(f"cannot mount bpffs: {done.stderr.strip()}; try `mount -t bpf bpf {path}`", MISSING)
