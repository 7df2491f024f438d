"""FTP sessions through each gateway: how many per second, how long each takes, and whose CPU time that is.

The law of this file: which sessions are driven through which gateway, and which figure each number is. Clients and the
minimal server are in C so that they aren't what is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

from algate.cli.bench.contenders import NFT, ROUTE, TC, contender
from algate.cli.bench.driven import Drive, Driven
from algate.cli.bench.ftp_helper import HelperBench, add_bound, helper_stats, helper_time
from algate.cli.bench.ftp_servers import MINIMAL, BenchServer, BenchServers, make_room
from algate.cli.bench.histogram import quantile
from algate.cli.bench.meter import softirq_time
from algate.cli.bench.plan import FTP, Plan
from algate.cli.bench.record import MORE, Figure, Record
from algate.cli.bench.spread import percentile
from algate.cli.lab.lab import Lab

GATEWAYS = (ROUTE, NFT, TC)
ALONE = 1  # client: nothing waits for another session
MODES = ("pasv", "port", "epsv", "eprt")  # of one client alone
CROWD_MODES = ("pasv", "port")  # of many, and in every other round: EPSV and EPRT differ by their words alone
ENOUGH = 200  # sessions of a sample; more of many clients, so that each has its share
EACH = 4
MS, US = 1e6, 1000.0  # ns
PASV = {part: Figure(f"pasv.{part}", f"PASV exchange, {part}", "µs") for part in ("p50", "p99")}
PARTS = {"p50": 0.5, "p99": 0.99, "max": 1.0}
SPENDERS = {
    "helper": "the helper", "client": "the client", "server": "the server",
    "softirq": "soft interrupts, mostly within the other three",
}  # fmt: skip


def _what(server: str, mode: str, clients: int) -> str:
    return f"{mode.upper()}, {server}, {clients} client{'s' if clients > 1 else ''}"


def sessions_figure(server: str, mode: str, clients: int) -> Figure:
    title = f"FTP sessions/s, {_what(server, mode, clients)}"
    return Figure(f"ftp.{server}.{mode}.{clients}", title, "sessions/s", MORE)


def time_figure(server: str, mode: str, clients: int, part: str) -> Figure:
    """Of whole sessions, from connect to the reply to QUIT."""
    title = f"FTP session, {part}, {_what(server, mode, clients)}"
    return Figure(f"ftptime.{server}.{mode}.{clients}.{part}", title, "ms", info=True)


def cpu_figure(server: str, mode: str, clients: int, who: str) -> Figure:
    title = f"CPU of a session, {_what(server, mode, clients)}: {SPENDERS[who]}"
    return Figure(f"ftpcpu.{server}.{mode}.{clients}.{who}", title, "µs", info=True, loose=True)


def held_figure(server: str, mode: str, clients: int, part: str) -> Figure:
    """From a segment's arrival to its decision, by the buckets of the helper's histogram."""
    title = f"A segment is held for, {part}, {_what(server, mode, clients)}: at most"
    return Figure(f"ftpheld.{server}.{mode}.{clients}.{part}", title, "ms", info=True, loose=True)


def longer_figure(server: str, mode: str) -> Figure:
    title = f"Longest FTP session above nft's longest, {_what(server, mode, ALONE)}"
    return Figure(f"ftplonger.{server}.{mode}", title, "ms", info=True, loose=True)


class Stand:
    """A lab of its own for a gateway, with the servers behind it. All of them stand at once, so that samples of two
    gateways lie a second apart and meet the same machine."""

    def __init__(self, name: str, stack: ExitStack) -> None:
        self.name = name
        lab = stack.enter_context(Lab())
        for host in (lab.client, lab.server):
            make_room(host)
        self.drive = Drive(lab)
        self.servers = BenchServers(lab.server, lab.folder)
        self.gateway = stack.enter_context(contender(name, lab, None))


class FtpBench:
    """Gateways take turns sample by sample; one that needs no sample rests."""

    group = FTP

    def __init__(self, plan: Plan, record: Record, stack: ExitStack) -> None:
        self.plan = plan
        self.record = record
        self.places = [Stand(name, stack) for name in GATEWAYS]
        self.helper = HelperBench(plan, record)

    def steps(self, number: int) -> Iterator[tuple[str, Callable[[], None]]]:
        """The steps of a round: (title, function)."""
        for kind in self.plan.servers:
            yield f"ftp: {kind}", partial(self._server, kind, number)
        yield "ftp: sums", partial(self._sums, number)

    def _server(self, kind: str, number: int) -> None:
        """Only what a command costs is compared with routing, and only before the minimal server."""
        places = [place for place in self.plan.turn(self.places, number) if place.name != ROUTE or kind == MINIMAL]
        with ExitStack() as stack:
            pairs = [(place, stack.enter_context(place.servers.start(kind))) for place in places]
            for clients in self.plan.clients:
                for mode in MODES if clients == ALONE and self.plan.thorough(number) else CROWD_MODES:
                    for place, server in pairs:
                        if place.name != ROUTE:
                            self._sessions(place, server, mode, clients, number)
            for place, server in pairs if kind == MINIMAL else ():
                self.helper.measure(place.gateway, place.name, partial(place.drive.run, server), number)

    def _sessions(self, place: Stand, server: BenchServer, mode: str, clients: int, number: int) -> None:
        what = (server.kind, mode, clients)
        spent: dict[str, Callable[[], float]] = {
            "helper": partial(helper_time, place.gateway), "server": server.cpu, "softirq": softirq_time,
        }  # fmt: skip
        stats, before = helper_stats(place.gateway), {who: ask() for who, ask in spent.items()}
        driven = place.drive.run(server, mode, clients, self.plan.ftp_seconds, max(ENOUGH, EACH * clients))
        if isinstance(driven, str):
            self.record.refuse(sessions_figure(*what), place.name, driven)
            return
        cpu = {who: ask() - before[who] for who, ask in spent.items()} | {"client": driven.cpu}
        for who, seconds in cpu.items():
            self.record.add(cpu_figure(*what, who), place.name, number, 1e6 * seconds / len(driven.sessions))
        for word, part in PARTS.items():
            bound = quantile(stats, helper_stats(place.gateway), "algate_decision_seconds", part)
            add_bound(self.record, held_figure(*what, word), place.name, number, bound)
        self._times(place.name, what, driven, number)

    def _times(self, name: str, what: tuple[str, str, int], driven: Driven, number: int) -> None:
        self.record.add(sessions_figure(*what), name, number, driven.count / driven.seconds)
        for word, part in PARTS.items():
            self.record.add(time_figure(*what, word), name, number, percentile(driven.sessions, part) / MS)
        if what == (MINIMAL, "pasv", min(self.plan.clients)):
            for word, figure in PASV.items():
                self.record.add(figure, name, number, percentile(driven.times, PARTS[word]) / US)

    def _sums(self, number: int) -> None:
        """What takes the figures of two gateways."""
        self.helper.added(GATEWAYS, number)
        for place in self.places:
            self.helper.durations(place.gateway, place.name, number)
        for kind in self.plan.servers:
            for mode in MODES if ALONE in self.plan.clients else ():
                longest = time_figure(kind, mode, ALONE, "max").key
                mine = self.record.by_round(longest, TC).get(number)
                theirs = self.record.by_round(longest, NFT).get(number)
                if mine is not None and theirs is not None:
                    self.record.add(longer_figure(kind, mode), TC, number, mine - theirs)
