"""FTP through each gateway: sessions per second, the delay of an exchange, the helper's capacity.

The law of this file: it builds and drives the small C programs ftp_serve and ftp_drive, and says which figure each
number is. Clients and the minimal server are in C so that they aren't what is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from algate.cli.bench.contenders import NFT, ROUTE, TC, contender
from algate.cli.bench.histogram import Stats, quantile
from algate.cli.bench.meter import cpu_time
from algate.cli.bench.native import build
from algate.cli.bench.plan import FTP, Plan
from algate.cli.bench.record import MORE, Figure, Record
from algate.cli.bench.spread import percentile
from algate.cli.lab.gateways import AlgateGateway, LabGateway
from algate.cli.lab.host import Host, LabError, Spawned
from algate.cli.lab.lab import Lab
from algate.cli.lab.servers import start_server

GATEWAYS = (ROUTE, NFT, TC)
MINIMAL = "minimal"
US = 1000.0  # ns
PASV = {part: Figure(f"pasv.{part}", f"PASV exchange, {part}", "µs") for part in ("p50", "p99")}
# NOOP passes in the kernel while nobody follows every command; SITE always goes to the helper.
NOOP = {part: Figure(f"noop.{part}", f"NOOP exchange, {part}, 1 client", "µs") for part in ("p50", "p99")}
SITE = {part: Figure(f"site.{part}", f"SITE exchange, {part}, 1 client", "µs") for part in ("p50", "p99")}
ADDED = {
    part: Figure(f"punt.{part}", f"Added to a SITE exchange above routing, {part}", "µs") for part in ("p50", "p99")
}
CROWDS = (64, 256, 1000)  # clients that send commands at once


def commands_figure(clients: int) -> Figure:
    return Figure(f"helper.commands.{clients}", f"SITE commands/s, {clients:,} clients", "commands/s", MORE)


# By the buckets of the helper's own histograms: the bound of the one that the figure lies in.
TURN = Figure("helper.turn.p99", f"A turn of the helper, p99, {CROWDS[-1]:,} clients: at most", "ms")
GAP = Figure("helper.gap", f"Between two heartbeats, longest, {CROWDS[-1]:,} clients: at most", "ms")
LATE = Figure("helper.late.p99", f"How late a timer of the helper is, p99, {CROWDS[-1]:,} clients: at most", "ms")
PULSE = (
    (TURN, "algate_helper_turn_seconds", 0.99), (GAP, "algate_heartbeat_gap_seconds", 1.0),
    (LATE, "algate_helper_timer_late_seconds", 0.99),
)  # fmt: skip
CAPACITY = Figure("helper.capacity", "Commands per second of the helper's CPU time", "commands/s", MORE)


def sessions_figure(server: str, mode: str, clients: int) -> Figure:
    title = f"FTP sessions/s, {mode.upper()}, {server}, {clients} client(s)"
    return Figure(f"ftp.{server}.{mode}.{clients}", title, "sessions/s", MORE)


@dataclass(frozen=True, slots=True)
class Driven:
    """What ftp_drive did: sessions (or commands), seconds, failed sessions, ascending ns of the exchanges."""

    count: int
    seconds: float
    failures: int
    times: tuple[int, ...]


def read_driven(text: str) -> Driven:
    """From the two lines that ftp_drive prints. ValueError if they are something else."""
    first, _, second = text.partition("\n")
    count, seconds, failures = first.split()
    return Driven(int(count), float(seconds), int(failures), tuple(sorted(int(word) for word in second.split())))


class FtpBench:
    """One lab for the whole run; the servers stay up, the gateways take turns."""

    group = FTP

    def __init__(self, plan: Plan, record: Record, stack: ExitStack) -> None:
        self.plan = plan
        self.record = record
        self.lab = stack.enter_context(Lab())
        self.drive = build(self.lab.folder, "ftp_drive")
        self.serve = build(self.lab.folder, "ftp_serve")
        for host in (self.lab.client, self.lab.server):
            make_room(host)

    def steps(self, number: int) -> Iterator[tuple[str, Callable[[], None]]]:
        """The steps of a round: (title, function)."""
        for name in self.plan.turn(GATEWAYS, number):
            yield f"ftp: {name}", partial(self._gateway, name, number)
        yield "ftp: sums", partial(self._added, number)

    def _gateway(self, name: str, number: int) -> None:
        with contender(name, self.lab, None) as gateway:
            for server in self.plan.servers:
                self._server(gateway, name, server, number)

    def _server(self, gateway: LabGateway, name: str, kind: str, number: int) -> None:
        server = self._start(kind)
        try:
            for clients in self.plan.clients:
                for mode in ("pasv", "port"):
                    self._sessions(name, kind, mode, clients, number)
            if kind == MINIMAL:
                self._exchanges(gateway, name, number)
        finally:
            server.stop()

    def _start(self, kind: str) -> Spawned:
        host = self.lab.server
        if kind != MINIMAL:
            return start_server(kind, host).process
        process = host.spawn("ftp_serve", [str(self.serve), "21"])
        if not host.wait_port(21, alive=process.alive):
            raise LabError(f"the minimal FTP server isn't listening: {process.tail()}")
        return process

    def _run(self, mode: str, clients: int, seconds: float) -> Driven | str:
        """The result, or why it doesn't count."""
        argv = [str(self.drive), self.lab.plan.servers[0], "21", str(clients), str(seconds), mode]
        done = self.lab.client.run(argv, timeout=seconds + 30)
        if done.returncode != 0:
            return (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
        driven = read_driven(done.stdout)
        if driven.failures:
            return f"{driven.failures} sessions failed, {driven.count} didn't"
        return driven if driven.times else "no exchange finished"

    def _sessions(self, name: str, kind: str, mode: str, clients: int, number: int) -> None:
        figure = sessions_figure(kind, mode, clients)
        driven = self._run(mode, clients, self.plan.ftp_seconds)
        if isinstance(driven, str):
            self.record.refuse(figure, name, driven)
            return
        self.record.add(figure, name, number, driven.count / driven.seconds)
        if kind == MINIMAL and mode == "pasv" and clients == min(self.plan.clients):
            for part, figure in PASV.items():
                self.record.add(figure, name, number, percentile(driven.times, int(part[1:]) / 100) / US)

    def _exchanges(self, gateway: LabGateway, name: str, number: int) -> None:
        for mode, figures in (("noop", NOOP), ("site", SITE)):
            driven = self._run(mode, 1, self.plan.ftp_seconds)
            for part, figure in figures.items():
                if isinstance(driven, str):
                    self.record.refuse(figure, name, driven)
                else:
                    self.record.add(figure, name, number, percentile(driven.times, int(part[1:]) / 100) / US)
        crowds = CROWDS[:1] if self.plan.quick else CROWDS
        best = [self._crowd(gateway, name, clients, number) for clients in crowds]
        if name == TC and max(best) > 0:
            self.record.add(CAPACITY, name, number, max(best))

    def _crowd(self, gateway: LabGateway, name: str, clients: int, number: int) -> float:
        """Commands per second of the helper's CPU time; 0 if the ring lost any, or there is no helper."""
        figure = commands_figure(clients)
        before, lost, stats = helper_time(gateway), lost_punts(gateway), helper_stats(gateway)
        driven = self._run("site", clients, self.plan.ftp_seconds)
        if isinstance(driven, str):
            self.record.refuse(figure, name, driven)
            return 0.0
        if clients == CROWDS[-1]:
            self._pulse(name, stats, helper_stats(gateway), number)
        if lost_punts(gateway) > lost:
            self.record.refuse(figure, name, f"the ring lost {lost_punts(gateway) - lost:g} punts")
            return 0.0
        self.record.add(figure, name, number, driven.count / driven.seconds)
        spent = helper_time(gateway) - before
        return driven.count / spent if spent > 0 else 0.0

    def _pulse(self, name: str, before: Stats, after: Stats, number: int) -> None:
        """Whether the helper kept its time meanwhile."""
        for figure, metric, part in PULSE:
            bound = quantile(before, after, metric, part)
            if bound is not None:
                self.record.add(figure, name, number, 1000 * bound)

    def _added(self, number: int) -> None:
        """The delay that the helper adds to a command and its reply."""
        for part, figure in SITE.items():
            for name in GATEWAYS:
                bare = self.record.by_round(figure.key, ROUTE).get(number)
                value = self.record.by_round(figure.key, name).get(number)
                if name != ROUTE and bare is not None and value is not None:
                    self.record.add(ADDED[part], name, number, value - bare)


def make_room(host: Host) -> None:
    """Ports for thousands of sessions per second, which connections in TIME-WAIT must not use up."""
    host.sysctl("ipv4/ip_local_port_range", "1024 65535")
    host.sysctl("ipv4/tcp_max_tw_buckets", "64")


def helper_time(gateway: LabGateway) -> float:
    """CPU seconds so far of the thread that runs algate's helper; 0 for other gateways."""
    if isinstance(gateway, AlgateGateway) and gateway.process is not None:
        with suppress(OSError):
            return cpu_time(Path(f"/proc/{gateway.process.pid}/schedstat").read_text()) / 1e9
    return 0.0


def helper_stats(gateway: LabGateway) -> Stats:
    """The metrics of algate; none of others."""
    found: Stats = gateway.ask("stats") if isinstance(gateway, AlgateGateway) else {}
    return found


def lost_punts(gateway: LabGateway) -> float:
    """Samples that the perf ring lost so far; 0 for gateways without one."""
    return float(sum(value for key, value in helper_stats(gateway).items() if key.startswith("algate_punts_lost")))
