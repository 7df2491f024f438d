"""Cost per packet and per new session, gateway by gateway, round by round.

The law of this file: what is sent through which gateway, and which figure that is. How cost is measured is PacketLab's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

from algate.bpf.benchmark import BenchPrograms
from algate.cli.bench.contenders import FLOOR, NFT, ROUTE, TC, XDP, XDP_FORWARD, contender, leftovers
from algate.cli.bench.packet_lab import IN, MIXED, OUT, PacketLab, Passage, Traffic
from algate.cli.bench.plan import PACKETS, Plan
from algate.cli.bench.record import Figure, Record
from algate.cli.lab_host import LabError

GATEWAYS = (FLOOR, XDP_FORWARD, XDP, TC, NFT, ROUTE)
WAYS = {"out": OUT, "in": IN, "mixed": MIXED}
RATE = 200_000  # frames/s: half of what the slowest gateway manages, no more than the fastest needs to stay awake
MAKING = 100_000  # frames/s while sessions are made
TRIES = 3


def total_figure(way: str, sessions: int) -> Figure:
    return Figure(f"total.{way}.{sessions}", f"Total cost per packet, {way}, {sessions:,} sessions", "ns", info=True)


def net_figure(way: str, sessions: int) -> Figure:
    return Figure(f"net.{way}.{sessions}", f"Cost per packet above XDP_DROP, {way}, {sessions:,} sessions", "ns")


class PacketBench:
    """One lab for the whole run; gateways take turns in it."""

    group = PACKETS

    def __init__(self, plan: Plan, record: Record, stack: ExitStack) -> None:
        self.plan = plan
        self.record = record
        self.programs = BenchPrograms()
        stack.callback(self.programs.close)
        self.bench = stack.enter_context(PacketLab(self.programs))

    def steps(self, number: int) -> Iterator[tuple[str, Callable[[], None]]]:
        """What a round does: (what it is called, how it is done)."""
        order = self.plan.turn(GATEWAYS, number)
        for name in order:
            yield f"packets: {name}", partial(self._gateway, name, number)
        yield "packets: sums", lambda: self._net(number)

    def _gateway(self, name: str, number: int) -> None:
        with contender(name, self.bench.lab, self.programs):
            for sessions in self.plan.sessions:
                self._sessions(name, sessions, number)
        left = leftovers(self.bench.lab)
        if left:
            raise LabError(f"{name} left {', '.join(left)}: the next gateway's figures would be wrong")

    def _sessions(self, name: str, sessions: int, number: int) -> None:
        trouble = self.bench.establish(sessions, MAKING) if name != FLOOR else ""
        for way, kind in WAYS.items():
            figure = total_figure(way, sessions)
            if trouble:
                self.record.refuse(figure, name, trouble)
                continue
            passed = self._lossless(Traffic(kind, sessions, RATE))
            if passed.lost:
                self.record.refuse(figure, name, f"{passed.lost} of {passed.sent} frames lost at {RATE:,}/s")
            else:
                self.record.add(figure, name, number, passed.cost)

    def _lossless(self, traffic: Traffic) -> Passage:
        for _ in range(TRIES):
            passed = self.bench.send(traffic, self.plan.frames)
            if not passed.lost:
                break
        return passed

    def _net(self, number: int) -> None:
        """What is above the floor of the same round."""
        for sessions in self.plan.sessions:
            for way in WAYS:
                total, net = total_figure(way, sessions), net_figure(way, sessions)
                floor = self.record.by_round(total.key, FLOOR).get(number)
                for name in GATEWAYS:
                    value = self.record.by_round(total.key, name).get(number)
                    if name == FLOOR:
                        continue
                    if value is None or floor is None:
                        void = self.record.void.get((total.key, name if value is None else FLOOR))
                        self.record.refuse(net, name, void[-1] if void else "not measured")
                    else:
                        self.record.add(net, name, number, value - floor)
