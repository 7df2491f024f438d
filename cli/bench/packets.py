"""Cost per packet of established sessions, and how many packets a gateway forwards without a loss, round by round.

The law of this file: what is sent through which gateway, and which figure that is. PacketLab measures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

from algate.cli.bench import capacity, conntrack
from algate.cli.bench.benchmark import shared
from algate.cli.bench.contenders import FLOOR, NAT, NFT, ROUTE, TC, XDP, XDP_FORWARD, contender, leftovers
from algate.cli.bench.packet_lab import IN, MIXED, OUT, PacketLab, Passage, Traffic
from algate.cli.bench.plan import PACKETS, Plan
from algate.cli.bench.record import MORE, Figure, Record
from algate.cli.lab.gateways import LabGateway
from algate.cli.lab.host import LabError

GATEWAYS = (FLOOR, XDP_FORWARD, XDP, TC, NFT, ROUTE)
WAYS = {"out": OUT, "in": IN, "mixed": MIXED}
ONE_WAY = "oneway"  # outbound, of sessions that nobody answers: syslog, IPFIX, video
RATE = 200_000  # frames/s: half of what the slowest gateway manages, and no more than keeps the fastest awake
MAKING = 220_000  # frames/s while sessions are made
PROBE = 6_000  # frames of one try at a rate: enough for a rate that is 5 % too high to overflow a ring of 256
SAMPLES = 3  # passes per round: the middle one counts


def total_figure(way: str, sessions: int) -> Figure:
    return Figure(f"total.{way}.{sessions}", f"Total cost per packet, {way}, {sessions:,} sessions", "ns", info=True)


def net_figure(way: str, sessions: int) -> Figure:
    return Figure(f"net.{way}.{sessions}", f"Cost per packet above XDP_DROP, {way}, {sessions:,} sessions", "ns")


def rate_figure(way: str, sessions: int) -> Figure:
    title = f"Highest rate without a loss, one core, {way}, {sessions:,} sessions"
    return Figure(f"rate.{way}.{sessions}", title, "packets/s", MORE)


class PacketBench:
    """One lab for the whole run; gateways take turns in it."""

    group = PACKETS
    gateways: tuple[str, ...] = GATEWAYS

    def __init__(self, plan: Plan, record: Record, stack: ExitStack) -> None:
        self.plan = plan
        self.record = record
        stack.enter_context(conntrack.room())
        self.programs = shared()
        self.bench = stack.enter_context(PacketLab(self.programs))

    @property
    def counts(self) -> tuple[int, ...]:
        """The numbers of sessions to measure with, one after the other in one gateway."""
        return self.plan.sessions

    def steps(self, number: int) -> Iterator[tuple[str, Callable[[], None]]]:
        """What a round does: (what it is called, how it is done)."""
        for name in self.plan.turn(self.gateways, number):
            yield f"{self.group}: {name}", partial(self._gateway, name, number)
        yield f"{self.group}: sums", lambda: self._net(number)

    def _gateway(self, name: str, number: int) -> None:
        with contender(name, self.bench.lab, self.programs) as gateway:
            self.bench.find_threads()
            for sessions in self.counts:
                self._sessions(name, sessions, number)
            self._besides(gateway, name, number)
        left = leftovers(self.bench.lab)
        if left:
            raise LabError(f"{name} left {', '.join(left)}: the next gateway's figures would be wrong")

    def _besides(self, gateway: LabGateway, name: str, number: int) -> None:
        """Measure whatever else needs these sessions."""

    def _sessions(self, name: str, sessions: int, number: int) -> None:
        self.bench.place(apart=False)
        trouble = self.bench.begin(sessions, MAKING) if name in NAT else self.bench.forget()
        self._cost(name, ONE_WAY, OUT, sessions, trouble, number)
        if name in NAT and not trouble:
            trouble = self.bench.answer(sessions, MAKING)
        for way, kind in WAYS.items():
            passed = self._cost(name, way, kind, sessions, trouble, number)
            if passed is None:
                if self.plan.searches(number):
                    self.record.refuse(rate_figure(way, sessions), name, trouble)
            elif name not in (FLOOR, ROUTE) and self.plan.searches(number):
                self._rate(name, kind, rate_figure(way, sessions), sessions, 1e9 / passed.cost, number)

    def _cost(self, name: str, way: str, kind: int, sessions: int, trouble: str, number: int) -> Passage | None:
        """A figure of what packets cost; None if `trouble` says that there are no sessions."""
        figure = total_figure(way, sessions)
        if trouble:
            self.record.refuse(figure, name, trouble)
            return None
        self.bench.place(apart=False)
        passed = lossless(self.bench, Traffic(kind, sessions, RATE), self.plan.frames)
        if passed.lost:
            self.record.refuse(figure, name, f"{passed.lost} of {passed.sent} frames lost at {RATE:,}/s")
        else:
            self.record.add(figure, name, number, passed.cost)
        return passed

    def _rate(self, name: str, kind: int, figure: Figure, sessions: int, guess: float, number: int) -> None:
        """Each probe continues where the one before ended, so that all sessions get a turn."""
        self.bench.place(apart=True)
        sent = 0

        def probe(rate: int) -> bool:
            nonlocal sent
            passed = self.bench.send(Traffic(kind, sessions, rate), PROBE, sent)
            sent += passed.sent
            return not passed.lost and not passed.late * 20 > passed.bursts

        found = capacity.highest(probe, guess)
        if found is None:
            self.record.refuse(figure, name, f"frames are lost at {capacity.LEAST:,}/s")
        else:
            self.record.add(figure, name, number, found)

    def _net(self, number: int) -> None:
        """The cost above the same round's floor."""
        for sessions in self.counts:
            for way in (ONE_WAY, *WAYS):
                total, net = total_figure(way, sessions), net_figure(way, sessions)
                floor = self.record.by_round(total.key, FLOOR).get(number)
                for name in self.gateways:
                    value = self.record.by_round(total.key, name).get(number)
                    if name == FLOOR:
                        continue
                    if value is None or floor is None:
                        void = self.record.void.get((total.key, name if value is None else FLOOR))
                        self.record.refuse(net, name, void[-1] if void else "not measured")
                    else:
                        self.record.add(net, name, number, value - floor)


def lossless(bench: PacketLab, traffic: Traffic, frames: int) -> Passage:
    """The middle one of SAMPLES lossless passes, of `frames` frames together; a lossy one if there is nothing else."""
    tries = [bench.send(traffic, frames // SAMPLES) for _ in range(SAMPLES)]
    if all(one.lost for one in tries):
        tries.append(bench.send(traffic, frames // SAMPLES))
    good = sorted((one for one in tries if not one.lost), key=lambda one: one.cost)
    return good[len(good) // 2] if good else tries[-1]
