"""What it costs an active gateway to tell another one everything: packets of established sessions, and new ones.

The law of this file: the same lab, rates and tries for algate with [ha] and without; they take turns. Without it there
are two: one with all ports, and one with those that a node of a pair has, which shows what of the cost is the telling:
a host whose own port number is the other node's gets another one, and that takes an entry in a table more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

from algate.cli.bench.benchmark import shared
from algate.cli.bench.contenders import HALVED, PAIRED, TC, contender
from algate.cli.bench.openings import KINDS, TITLES, Openings
from algate.cli.bench.packet_lab import IN, OUT, PacketLab, Traffic
from algate.cli.bench.packets import MAKING, RATE, SAMPLES
from algate.cli.bench.plan import Plan
from algate.cli.bench.record import MORE, Figure, Record

POOL = 30_000  # mappings of a start at most: a node of a pair has half of the ports
COSTED, TRIED = 4_000, 1_500  # of these for the cost, and for each try of a rate, of which there are 14 and more
SESSIONS = 1000
WAYS = {"out": OUT, "in": IN}


def cost_figure(way: str) -> Figure:
    return Figure(f"ha.cost.{way}", f"Packet of one of {SESSIONS:,} established sessions, {way}", "ns")


def new_figure(proto: str) -> Figure:
    return Figure(f"ha.new.{proto}", f"New sessions/s without a loss, {TITLES[proto]}", "sessions/s", MORE)


def made_figure(proto: str) -> Figure:
    return Figure(f"ha.made.{proto}", f"CPU time of a new session, {TITLES[proto]}", "ns")


class PairCost:
    """One lab for the whole run."""

    def __init__(self, plan: Plan, record: Record, stack: ExitStack) -> None:
        self.plan, self.record = plan, record
        self.bench = stack.enter_context(PacketLab(shared()))
        self.costs: dict[str, float] = {}  # of the first gateway, by protocol

    def steps(self, number: int) -> Iterator[tuple[str, Callable[[], None]]]:
        """What a round does."""
        for name in self.plan.turn((TC, HALVED, PAIRED), number):
            yield f"cost: {name}", partial(self._gateway, name, number)

    def _gateway(self, name: str, number: int) -> None:
        with contender(name, self.bench.lab, self.bench.programs):
            self.bench.find_threads()
            self._established(name, number)  # first: the new ones stay in the tables for a while
            for proto in KINDS:
                self._new(name, proto, number)

    def _established(self, name: str, number: int) -> None:
        self.bench.place(apart=False)
        trouble = self.bench.establish(SESSIONS, MAKING)
        for way, kind in WAYS.items():
            tries = [
                self.bench.send(Traffic(kind, SESSIONS, RATE), self.plan.frames // SAMPLES) for _ in range(SAMPLES)
            ]
            good = sorted(one.cost for one in tries if not one.lost)
            if good and not trouble:
                self.record.add(cost_figure(way), name, number, good[len(good) // 2])
            else:
                self.record.refuse(cost_figure(way), name, trouble or "frames were lost")

    def _new(self, name: str, proto: str, number: int) -> None:
        openings = Openings(self.bench, proto, most=POOL, used=SESSIONS, costed=COSTED, tried=TRIED)
        cost = openings.cost().cost
        self.record.add(made_figure(proto), name, number, cost)
        # All are looked for from the same place: with few ports the search would else end where the costs suggest.
        found = openings.highest(self.costs.setdefault(proto, cost))
        if found is None or openings.cut_short:
            self.record.refuse(new_figure(proto), name, "no rate without a loss was found before the ports were spent")
        else:
            self.record.add(new_figure(proto), name, number, found)
