"""IPv6 beside IPv4: what a packet costs by filter and NAT64, how many sessions begin a second, FTP by NAT64.

The law of this file: which family goes through which gateway, and which figure that is.

A packet of IPv6 is 20 bytes longer and meets another XDP_DROP, so each family has its own floor. Tayga keeps no
sessions, so none begin there, and it loses packets at the others' rate: it is measured at TAYGA_RATE.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

from algate.cli.bench import conntrack
from algate.cli.bench.benchmark import shared
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
    leftovers,
)
from algate.cli.bench.openings import KINDS, TITLES, Openings
from algate.cli.bench.packet_lab import IN, OUT, Family, PacketLab, Traffic
from algate.cli.bench.packets import MAKING, RATE, lossless
from algate.cli.bench.plan import SIX, Plan
from algate.cli.bench.record import MORE, Figure, Record
from algate.cli.bench.six_ftp import SixFtp
from algate.cli.bench.tayga import TaygaGateway
from algate.cli.lab.host import LabError

FAMILIES = {
    TC: Family.FOUR, NFT: Family.FOUR, FILTER6: Family.SIX, NFT6: Family.SIX, NAT64: Family.NAT64,
    NAT64_XDP: Family.NAT64, TAYGA: Family.NAT64,
}  # fmt: skip
GATEWAYS = (FLOOR, *FAMILIES)
NEWS = (TC, NFT, FILTER6, NFT6, NAT64)
WAYS = {"out": OUT, "in": IN}
TAYGA_RATE = 40_000  # frames/s


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


class SixBench:
    """One lab with both families; gateways take turns in it. FTP has labs of its own."""

    group = SIX

    def __init__(self, plan: Plan, record: Record, stack: ExitStack) -> None:
        self.plan, self.record = plan, record
        stack.enter_context(conntrack.room())
        self.programs = shared()
        self.bench = stack.enter_context(PacketLab(self.programs, six=True))
        self.ftp = SixFtp(plan, record, stack)

    def steps(self, number: int) -> Iterator[tuple[str, Callable[[], None]]]:
        """What a round does: (what it is called, how it is done)."""
        for name in self.plan.turn(GATEWAYS, number):
            yield f"six: {name}", partial(self._with, name, partial(self._established, name, number))
        yield "six: sums", partial(self._net, number)
        for name in self.plan.turn(NEWS, number) if not self.plan.quick else ():
            yield f"six, new sessions: {name}", partial(self._with, name, partial(self._new, name, number))
        yield from self.ftp.steps(number)

    def _with(self, name: str, act: Callable[[], None]) -> None:
        with contender(name, self.bench.lab, self.programs) as gateway:
            process = gateway.process if isinstance(gateway, TaygaGateway) else None
            self.bench.workers = (process.pid,) if process else ()
            self.bench.find_threads()
            self.bench.place(apart=False)
            act()
            self.bench.workers = ()
        left = leftovers(self.bench.lab)
        if left:
            raise LabError(f"{name} left {', '.join(left)}: the next gateway's figures would be wrong")

    def _established(self, name: str, number: int) -> None:
        for sessions in self.plan.sessions:
            for family in dict.fromkeys(FAMILIES.values()) if name == FLOOR else (FAMILIES[name],):
                self._sessions(name, family, sessions, number)
        if self.plan.quick and name in NEWS:  # not worth a start of its own
            self._new(name, number)

    def _sessions(self, name: str, family: Family, sessions: int, number: int) -> None:
        self.bench.forget()
        tayga = name == TAYGA
        trouble = "" if name == FLOOR else self.bench.establish(sessions, TAYGA_RATE if tayga else MAKING, family)
        for way, kind in WAYS.items():
            figure = total_figure(family, way, sessions)
            if trouble:
                self.record.refuse(figure, name, trouble)
                continue
            rate = TAYGA_RATE if tayga else RATE
            passed = lossless(self.bench, Traffic(kind, sessions, rate, family=family), self.plan.frames)
            if passed.lost:
                self.record.refuse(figure, name, f"{passed.lost} of {passed.sent} frames lost at {rate:,}/s")
            else:
                self.record.add(figure, name, number, passed.cost)

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

    def _new(self, name: str, number: int) -> None:
        for proto in KINDS:
            rate = rate_figure(proto) if self.plan.search else None
            openings = Openings(self.bench, proto, family=FAMILIES[name])
            openings.measure(self.record, name, number, cost_figure(proto), rate)
