"""One gateway for many cases: the lab, captures on both links, what the gateway says about itself.

The law of this file: set-up and observation; dialogues are in dialogue.py, verdicts in the tests. The outside host's
address selects the options of [alg.ftp], so that one running gateway serves all of them.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from algate.alg.admin.control import ControlError
from algate.cli.lab.capture import Capture
from algate.cli.lab.gateways import AlgateGateway, KernelGateway, LabGateway, PortForward
from algate.cli.lab.host import Host, call_in
from algate.cli.lab.lab import Lab, LabPlan, ip
from algate.cli.lab.wire import SeenSegment, Trace, trace

FTP = 21
OTHER_FTP = 2121  # a configured control port
# Outside address -> keys of [alg.ftp] that hold for dialogues with it; the first has the defaults.
POLICIES: dict[str, str] = {
    "default": "",
    "third-party": 'third_party = ["203.0.113.40/32"]',
    "low-ports": "low_ports = [989]",
    "strict-lines": "strict_lines = true",
    "no-lprt": 'lprt = "refuse"',
    "deny": 'deny = ["SITE", "DELE"]',
    "no-tls": 'tls = "refuse"',
    "short-lines": "max_line = 512",
    "brief": "expect_timeout = 1",
    "log-in": "before_login = false",
}
ADDRESSES = {name: f"203.0.113.{10 + index}" for index, name in enumerate(POLICIES)}
STRANGER = "203.0.113.40"  # also outside, and nobody's peer
PLAN = LabPlan(clients=("10.77.0.2", "10.77.0.3"), servers=(*ADDRESSES.values(), STRANGER))
# The gateway must allow data connections in either direction: without an expectation nothing else goes out.
ALLOWED = ("tcp/21", "tcp/2121", "tcp/990")
CROWD = tuple(f"10.77.0.{number}" for number in range(101, 117))  # more addresses of the first inside host
LEAST = 0.4  # s to wait for a connection that must not come


def configuration() -> str:
    """The configuration file for algate."""
    text = f"[firewall]\nallow_out = {list(ALLOWED)}\n[metrics]\nlisten = ''\n[alg.ftp]\nports = [{FTP}, {OTHER_FTP}]\n"
    text += "before_login = true\n"  # most dialogues are about something else, and don't begin with one
    for name, keys in POLICIES.items():
        for whom in ("server", "client"):
            text += f'[[alg.ftp.rule]]\n{whom} = "{ADDRESSES[name]}"\n{keys}\n' if keys else ""
    return text


class Kernel(KernelGateway):
    """nft masquerade with nf_nat_ftp under the same firewall: new connections must be allowed or expected."""

    def _rules(self) -> str:
        ports = ", ".join(word.partition("/")[2] for word in ALLOWED)
        text = super()._rules().replace("tcp dport 21 ct helper", f"tcp dport {{ {FTP}, {OTHER_FTP} }} ct helper")
        return text.replace(
            "ct status dnat accept",
            f'ct status dnat accept\n    iifname "lan0" ct state new tcp dport != {{ {ports} }} drop',
        )


class Bed:
    """A running gateway and its captures. `algate`: it can be queried. `patience`: s that a peer may take."""

    def __init__(self, name: str, *, config: str = "") -> None:
        self.name = name
        self.algate = name == "algate"
        self.patience = 8.0 if self.algate else 1.0
        self.config = config
        self.events: list[dict[str, Any]] = []
        self._stack = contextlib.ExitStack()
        self._seen: tuple[list[SeenSegment], list[SeenSegment]] = ([], [])

    def __enter__(self) -> Bed:
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _open(self) -> None:
        self.lab = self._stack.enter_context(Lab(PLAN))
        ip("\n".join(f"addr add {one}/24 dev eth0" for one in CROWD), self.lab.client.netns)
        forwards = (PortForward(FTP, f"{self.lab.client.address}:{FTP}"),)
        config = self.config or configuration()
        made: LabGateway = (
            AlgateGateway(self.lab, forwards, config=config) if self.algate else Kernel(self.lab, forwards)
        )
        self.gateway = self._stack.enter_context(made)
        watched = (FTP, OTHER_FTP)
        self._inside = self._stack.enter_context(Capture(self.lab.hosts["switch"], "p0", control_ports=watched))
        self._outside = self._stack.enter_context(
            Capture(self.lab.server, control_ports=watched, forbidden=(PLAN.inside,))
        )
        if self.algate:
            threading.Thread(target=self._follow, daemon=True).start()
            self.until(lambda: self._subscribed())

    # -- what the gateway says -----------------------------------------------------------------------------------------

    def _follow(self) -> None:
        with contextlib.suppress(ControlError, OSError):
            for row in self.gateway.tell("follow"):
                self.events.append(row)

    def _subscribed(self) -> bool:
        """Cause events until the follower has heard one."""
        with self.lab.client.socket() as sock:
            sock.settimeout(self.patience)
            with contextlib.suppress(OSError):
                sock.connect((ADDRESSES["default"], FTP))
        with listener(self.lab.server, ADDRESSES["default"], FTP) as ear, self.lab.client.socket() as sock:
            ear.settimeout(self.patience)
            sock.connect((ADDRESSES["default"], FTP))
            with ear.accept()[0] as other:
                other.sendall(b"\x16\x03\x01\r\n")  # not FTP: the helper says so
                sock.settimeout(self.patience)
                sock.recv(1)
        time.sleep(0.02)
        return bool(self.events)

    def stats(self) -> dict[str, float]:
        """algate's counters; none for the kernel's NAT."""
        return dict(self.gateway.ask("stats")) if self.algate else {}

    def dropped(self, reason: str) -> float:
        """How many packets algate has dropped for that reason."""
        return self.stats().get(f'algate_drops_total{{reason="{reason}"}}', 0.0)

    def expectations(self) -> list[dict[str, Any]]:
        """Live ones: algate's rows; for the kernel, one row per line of its table."""
        if self.algate:
            return [row for row in self.gateway.ask("expectations") if row["state"] in ("pending", "open")]
        text = call_in(self.lab.gw.netns, lambda: Path("/proc/thread-self/net/nf_conntrack_expect").read_text())
        return [{"control": None, "state": "open", "text": line} for line in text.splitlines()]

    @contextlib.contextmanager
    def taken(self, port: int) -> Iterator[None]:
        """The second inside host has the public port of that number."""
        with listener(self.lab.server, STRANGER, FTP) as ear, self.lab.clients[1].socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((self.lab.clients[1].address, port))
            sock.settimeout(self.patience)
            ear.settimeout(self.patience)
            sock.connect((STRANGER, FTP))
            accepted, (_, mapped) = ear.accept()
            with accepted:
                assert mapped == port, f"port {port} is mapped to {mapped}"
                yield

    @contextlib.contextmanager
    def mute(self) -> Iterator[None]:
        """Lose what the outside host sends on control sessions, acknowledgements included, before it leaves."""
        rules = (
            "table ip mute { chain out { type filter hook output priority 0; tcp sport 21 drop; tcp dport 21 drop; }; }"
        )
        self.lab.server.run(["nft", "-f", "-"], text=rules, check=True)
        try:
            yield
        finally:
            self.lab.server.run(["nft", "delete", "table", "ip", "mute"], check=True)

    # -- what the links show -------------------------------------------------------------------------------------------

    def fresh(self) -> None:
        """Discard what was captured so far."""
        for capture in (self._inside, self._outside):
            capture.take(0.0)
        self._seen = ([], [])

    def links(self, quiet: float = 0.03) -> tuple[Trace, Trace]:
        """Everything captured since `fresh`, inside and outside, after both links are quiet."""
        for kept, capture in zip(self._seen, (self._inside, self._outside), strict=True):
            kept += capture.take(quiet)
        return trace(self._seen[0]), trace(self._seen[1])

    def until(self, true: Any, seconds: float | None = None) -> Any:
        """The first true answer; AssertionError if none comes in that time (default: patience)."""
        end = time.monotonic() + (seconds or self.patience)
        while not (answer := true()):
            assert time.monotonic() < end, "it does not come"
            time.sleep(0.01)
        return answer


@contextlib.contextmanager
def listener(host: Host, ip: str, port: int, backlog: int = 8) -> Iterator[socket.socket]:
    """A listening socket of a host."""
    with host.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((ip, port))
        sock.listen(backlog)
        yield sock
