"""IPv6 beside IPv4: what a packet costs by filter and NAT64, how many sessions begin a second, FTP by NAT64.

The law of this file: which family goes through which gateway, and which figure that is.

What a packet costs is a matter of some per cent, and a machine's speed changes by more within seconds. So for that all
gateways are up at once, each in a lab of its own, and take turns sample by sample; a round has the median of its
samples.
A packet of IPv6 is 20 bytes longer and meets another XDP_DROP, so each family has its own floor. Tayga keeps no
sessions, so none begin there, and it loses packets at the others' rate: it is measured at TAYGA_RATE.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from statistics import median

from algate.cli.bench import conntrack
from algate.cli.bench.benchmark import BenchPrograms
from algate.cli.bench.contenders import (
    FILTER6,
    FLOOR,
    NAT64,
    NAT64_XDP,
    NFT,
    NFT6,
    TAYGA,
    TC,
    contender,
)
from algate.cli.bench.openings import KINDS, TITLES, Openings
from algate.cli.bench.packet_lab import IN, OUT, Family, PacketLab, Traffic
from algate.cli.bench.packets import MAKING, RATE
from algate.cli.bench.plan import SIX, Plan
from algate.cli.bench.record import MORE, Figure, Record
from algate.cli.bench.six_ftp import SixFtp
from algate.cli.bench.tayga import TaygaGateway

FAMILIES = {
    TC: Family.FOUR, NFT: Family.FOUR, FILTER6: Family.SIX, NFT6: Family.SIX, NAT64: Family.NAT64,
    NAT64_XDP: Family.NAT64, TAYGA: Family.NAT64,
}  # fmt: skip
GATEWAYS = (FLOOR, *FAMILIES)
NEWS = (TC, NFT, FILTER6, NFT6, NAT64)
WAYS = {"out": OUT, "in": IN}
TAYGA_RATE = 40_000  # frames/s
SAMPLE = 4_000  # frames
LEAST = 3  # samples of each gateway


def total_figure(family: Family, way: str, sessions: int) -> Figure:
    title = f"Total cost per packet, {family.name}, {way}, {sessions:,} sessions"
    return Figure(f"total6.{str(family.name).lower()}.{way}.{sessions}", title, "ns", info=True)


def net_figure(way: str, sessions: int) -> Figure:
    title = f"IPv4, IPv6 and NAT64: cost per packet above XDP_DROP, {way}, {sessions:,} sessions"
    return Figure(f"net6.{way}.{sessions}", title, "ns")


def cost_figure(proto: str) -> Figure:
    return Figure(f"newcost6.{proto}", f"IPv4, IPv6 and NAT64: CPU time of a new session, {TITLES[proto]}", "ns")


def rate_figure(proto: str) -> Figure:
    title = f"IPv4, IPv6 and NAT64: new sessions/s without a loss, {TITLES[proto]}"
    return Figure(f"new6.{proto}", title, "sessions/s", MORE)


@dataclass(frozen=True, slots=True)
class Contestant:
    """One gateway in a lab of its own."""

    name: str
    bench: PacketLab

    @property
    def families(self) -> tuple[Family, ...]:
        return tuple(dict.fromkeys(FAMILIES.values())) if self.name == FLOOR else (FAMILIES[self.name],)

    @property
    def making(self) -> int:
        """Frames/s while sessions are made."""
        return TAYGA_RATE if self.name == TAYGA else MAKING

    @property
    def rate(self) -> int:
        """Frames/s of a sample."""
        return TAYGA_RATE if self.name == TAYGA else RATE


class SixBench:
    """Labs with both families. FTP has labs of its own."""

    group = SIX

    def __init__(self, plan: Plan, record: Record, stack: ExitStack) -> None:
        self.plan, self.record = plan, record
        stack.enter_context(conntrack.room())
        self.programs = {name: BenchPrograms() for name in GATEWAYS}  # each knows the public ports of its gateway
        self.ftp = SixFtp(plan, record, stack)

    def steps(self, number: int) -> Iterator[tuple[str, Callable[[], None]]]:
        """What a round does: (what it is called, how it is done)."""
        yield "six: side by side", partial(self._side_by_side, number)
        yield "six: sums", partial(self._net, number)
        for name in self.plan.turn(NEWS, number) if not self.plan.quick else ():
            yield f"six, new sessions: {name}", partial(self._alone, name, number)
        yield from self.ftp.steps(number)

    def _side(self, name: str, stack: ExitStack) -> Contestant:
        """Start a gateway. Its poll threads are those that weren't there before its lab."""
        bench = stack.enter_context(PacketLab(self.programs[name], six=True))
        gateway = stack.enter_context(contender(name, bench.lab, bench.programs))
        process = gateway.process if isinstance(gateway, TaygaGateway) else None
        bench.workers = (process.pid,) if process else ()
        bench.find_threads()
        bench.place(apart=False)
        return Contestant(name, bench)

    def _alone(self, name: str, number: int) -> None:
        with ExitStack() as stack:
            self._new(self._side(name, stack), number)

    def _side_by_side(self, number: int) -> None:
        with ExitStack() as stack:
            sides = [self._side(name, stack) for name in self.plan.turn(GATEWAYS, number)]
            for sessions in self.plan.sessions:
                ready = [side for side in sides if self._established(side, sessions)]
                for way, kind in WAYS.items():
                    self._sample(ready, way, kind, sessions, number)
            for side in sides if self.plan.quick else ():  # not worth a start of its own
                if side.name in NEWS:
                    self._new(side, number)

    def _established(self, side: Contestant, sessions: int) -> bool:
        """Make sessions in a gateway; False if it couldn't, which is noted."""
        side.bench.forget()
        trouble = "" if side.name == FLOOR else side.bench.establish(sessions, side.making, side.families[0])
        for way in WAYS if trouble else ():
            self.record.refuse(total_figure(side.families[0], way, sessions), side.name, trouble)
        return not trouble

    def _sample(self, sides: list[Contestant], way: str, kind: int, sessions: int, number: int) -> None:
        """What a packet costs: the middle one of lossless samples, which all gateways take in turns."""
        cells = [(side, family) for side in sides for family in side.families]
        costs: list[list[float]] = [[] for _ in cells]
        turns = max(self.plan.frames // SAMPLE, LEAST)
        for turn in range(turns):
            for place in self.plan.turn(range(len(cells)), turn):
                side, family = cells[place]
                passed = side.bench.send(Traffic(kind, sessions, side.rate, family=family), SAMPLE, turn * SAMPLE)
                if not passed.lost:
                    costs[place].append(passed.cost)
        for (side, family), found in zip(cells, costs, strict=True):
            figure = total_figure(family, way, sessions)
            if len(found) * 2 > turns:
                self.record.add(figure, side.name, number, median(found))
            else:
                why = f"frames lost at {side.rate:,}/s in {turns - len(found)} of {turns} samples"
                self.record.refuse(figure, side.name, why)

    def _net(self, number: int) -> None:
        """The cost above the same round's floor of the same frames."""
        for sessions in self.plan.sessions:
            for way in WAYS:
                net = net_figure(way, sessions)
                for name, family in FAMILIES.items():
                    total = total_figure(family, way, sessions).key
                    value, floor = (self.record.by_round(total, one).get(number) for one in (name, FLOOR))
                    if value is None or floor is None:
                        void = self.record.void.get((total, name if value is None else FLOOR))
                        self.record.refuse(net, name, void[-1] if void else "not measured")
                    else:
                        self.record.add(net, name, number, value - floor)

    def _new(self, side: Contestant, number: int) -> None:
        for proto in KINDS:
            rate = rate_figure(proto) if self.plan.search else None
            openings = Openings(side.bench, proto, family=side.families[0])
            openings.measure(self.record, side.name, number, cost_figure(proto), rate)
