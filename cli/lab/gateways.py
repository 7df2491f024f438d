"""What can stand in the middle of a lab: algate, the kernel's NAT with its FTP helper, or bare forwarding.

The law of this file: all three have one interface, so that demo, tests and bench treat them alike. Each works only
in the lab's gateway namespace, and its `stop` leaves nothing of it there.
"""

from __future__ import annotations

import abc
import contextlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self

from algate.alg.errors import MISSING, USAGE
from algate.bpf.pins import BPFFS, folder_name
from algate.cli.lab.host import PATIENCE, LabError, Spawned, call_in
from algate.cli.lab.lab import LAN_DEVICE, WAN_DEVICE, Lab
from algate.client import Client

DOWN_SECONDS = 90  # `algate down --purge` takes one; the machine may be busy


@dataclass(frozen=True)
class PortForward:
    """A server inside, reachable on the public address."""

    port: int
    to: str  # "ip:port"
    proto: str = "tcp"
    alg: str | None = "ftp"


class LabGateway(abc.ABC):
    """The middle of a lab. A context manager: started on entry, stopped on exit."""

    name: str

    def __init__(self, lab: Lab, forwards: tuple[PortForward, ...] = ()) -> None:
        self.lab = lab
        self.forwards = forwards

    @abc.abstractmethod
    def start(self) -> None:
        """Return once traffic is translated. Raises LabError."""

    @abc.abstractmethod
    def stop(self) -> None:
        """Remove the gateway from the namespace. Safe to call again."""

    def ask(self, verb: str, args: dict[str, Any] | None = None) -> Any:
        """What the gateway answers to a verb; only algate has verbs."""
        raise LabError(f"the {self.name} gateway has no verb {verb}")

    def tell(self, verb: str) -> Iterator[Any]:
        """What the gateway says as it happens; only algate has verbs."""
        raise LabError(f"the {self.name} gateway has no verb {verb}")

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class RouteGateway(LabGateway):
    """Plain forwarding: the upper bound of a bench, and the proof that the judge can fail a gateway."""

    name = "route"

    def start(self) -> None:
        self.lab.gw.sysctl("ipv4/ip_forward", "1")
        for name in ("router", "server"):
            if name in self.lab.hosts:
                via = self.lab.plan.public[0] if name == self._first() else self._server_hop()
                self.lab.hosts[name].run(["ip", "route", "replace", self.lab.plan.inside, "via", via], check=True)

    def _first(self) -> str:
        return "router" if self.lab.plan.router else "server"

    def _server_hop(self) -> str:
        return self.lab.plan.servers[0].rpartition(".")[0] + ".1"

    def stop(self) -> None:
        self.lab.gw.sysctl("ipv4/ip_forward", "0")
        for name in ("router", "server"):
            if name in self.lab.hosts:
                self.lab.hosts[name].run(["ip", "route", "del", self.lab.plan.inside])


class KernelGateway(LabGateway):
    """nft masquerade, nf_conntrack and the kernel's FTP helper: what algate is compared with."""

    name = "kernel"

    def start(self) -> None:
        if shutil.which("nft") is None:
            raise LabError("nft is missing: install Debian's nftables (deploy/dev.sh setup test does)", MISSING)
        self.lab.gw.sysctl("ipv4/ip_forward", "1")
        self.lab.gw.run(["nft", "-f", "-"], text=self._rules(), check=True)

    def _rules(self) -> str:
        dnat = "\n".join(f"iifname {WAN_DEVICE} {f.proto} dport {f.port} dnat to {f.to}" for f in self.forwards)
        return f"""
table ip nat {{
  ct helper ftp {{ type "ftp" protocol tcp; }}
  chain helpers {{ type filter hook prerouting priority filter; tcp dport 21 ct helper set "ftp"; }}
  chain to_inside {{ type nat hook prerouting priority dstnat; {dnat}
  }}
  chain to_outside {{ type nat hook postrouting priority srcnat; oifname {WAN_DEVICE} masquerade; }}
}}
table ip guard {{
  chain forward {{ type filter hook forward priority filter; policy accept;
    ct status dnat accept
    iifname {WAN_DEVICE} ct state new drop
  }}
}}
"""

    def stop(self) -> None:
        self.lab.gw.run(["nft", "flush", "ruleset"])
        self.lab.gw.sysctl("ipv4/ip_forward", "0")


class Spares(Protocol):
    """What purged gateways had loaded, for those that start after them (tests/spare.py)."""

    def lend(self, run_dir: Path, config: str) -> None: ...

    def keeping(self, run_dir: Path) -> contextlib.AbstractContextManager[None]: ...


class AlgateGateway(LabGateway):
    """`algate run` as a separate process in the gateway's namespace."""

    name = "algate"
    spares: ClassVar[Spares | None] = None

    def __init__(
        self,
        lab: Lab,
        forwards: tuple[PortForward, ...] = (),
        *,
        config: str = "",
        datapath: str | None = None,
        options: tuple[str, ...] = (),
        wait: float = 120.0,
        path: tuple[Path, ...] = (),
    ) -> None:
        """`path`: folders where more plug-ins are installed."""
        super().__init__(lab, forwards)
        self.config = config
        self.path = path
        self.options = (*(("--datapath", datapath) if datapath else ()), *options)
        self.wait = wait
        self.process: Spawned | None = None
        self.run_dir = lab.folder / "run"
        self._clean = False

    def start(self) -> None:
        """Start, or start again after `stop_daemon` or a kill: the earlier run's pins are taken over."""
        self._prepare()
        config = self.lab.folder / "algate.toml"
        config.write_text(self.config + "".join(_forward_table(f) for f in self.forwards))
        argv = [*algate(), "run", "--lan", LAN_DEVICE, "--wan", WAN_DEVICE, "--run-dir", str(self.run_dir)]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, self.path))} if self.path else None
        self.process = self.lab.gw.spawn("algate", [*argv, "--config", str(config), *self.options], env=env)
        end = time.monotonic() + self.wait * PATIENCE
        while time.monotonic() < end:
            if "ready" in self.process.log.read_text(errors="replace").splitlines():
                return
            if not self.process.alive():
                break
            time.sleep(0.02)
        raise LabError(f"algate run doesn't become ready: {self.process.tail(20) or 'no output'}")

    def _prepare(self) -> None:
        if not self._clean:
            self._clean = True
            self.run_dir.mkdir(mode=0o700, exist_ok=True)
            self.lab.undo(if_left(self.run_dir, self.lab.gw.command(self._down())))
            if self.spares is not None:
                self.spares.lend(self.run_dir, self.config)

    def _down(self) -> list[str]:
        return [*algate(), "down", "--purge", "--run-dir", str(self.run_dir)]

    @property
    def log(self) -> str:
        return self.process.log.read_text(errors="replace") if self.process else ""

    def ask(self, verb: str, args: dict[str, Any] | None = None) -> Any:
        return Client(self.run_dir).ask(verb, args)

    def tell(self, verb: str) -> Iterator[Any]:
        return Client(self.run_dir).told(verb)

    def stop_daemon(self) -> int:
        """Send SIGTERM; programs and pins stay. Returns the exit status."""
        assert self.process is not None
        return self.process.stop(10)

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop(10)
            self.process = None
            with self.spares.keeping(self.run_dir) if self.spares is not None else contextlib.nullcontext():
                done = self.lab.gw.run(self._down(), timeout=DOWN_SECONDS)
            if done.returncode != 0 and "nothing was up" not in done.stderr:  # a test may have removed it all
                raise LabError(f"algate down --purge: exit code {done.returncode}: {done.stderr.strip()}")


def if_left(run_dir: Path, argv: list[str]) -> list[str]:
    """The command line that runs `argv` if pins or a state of that gateway are there: Python's start takes half a
    second of a processor, and who ended well has left neither."""
    traces = [str(BPFFS / folder_name(run_dir)), str(run_dir / "state.json")]
    return ["sh", "-c", '[ -e "$1" ] || [ -e "$2" ] || exit 0; shift 2; exec "$@"', "if_left", *traces, *argv]


def _forward_table(forward: PortForward) -> str:
    alg = f'alg = "{forward.alg}"\n' if forward.alg else ""
    return f'\n[[forward]]\nproto = "{forward.proto}"\nwan_port = {forward.port}\nto = "{forward.to}"\n{alg}'


def algate() -> list[str]:
    """The command line of this same algate."""
    script = Path(sys.executable).with_name("algate")
    return [str(script)] if script.exists() else [sys.executable, "-m", "algate.cli.app"]


def netfilter_traces(lab: Lab) -> list[str]:
    """Netfilter's rules and connections in the gateway's namespace; empty when only algate works there."""
    found = []
    if shutil.which("nft"):
        rules = lab.gw.run(["nft", "list", "ruleset"]).stdout.strip()
        found += [f"nft: {line.strip()}" for line in rules.splitlines()[:3]]

    def look() -> list[str]:
        seen = []
        tables = Path("/proc/thread-self/net/ip_tables_names")
        with contextlib.suppress(OSError):
            seen += [f"iptables table {name}" for name in tables.read_text().split()]
        with contextlib.suppress(OSError):
            count = Path("/proc/sys/net/netfilter/nf_conntrack_count").read_text().strip()
            seen += [f"{count} conntrack entries"] if count != "0" else []
        return seen

    return found + call_in(lab.gw.netns, look)


def make_gateway(name: str, lab: Lab, forwards: tuple[PortForward, ...] = ()) -> LabGateway:
    """The gateway of that name. Raises LabError if there is none."""
    kinds: dict[str, type[LabGateway]] = {g.name: g for g in (AlgateGateway, KernelGateway, RouteGateway)}
    if name not in kinds:
        raise LabError(f"no gateway called {name}: one of {', '.join(kinds)}", USAGE)
    return kinds[name](lab, forwards)
