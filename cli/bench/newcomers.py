"""New sessions per second: UDP with a new session per packet; TCP, opened and closed at once.

The law of this file: which flows are sent, so that every one is new to the gateway, and which figure that is.

A gateway has one pool of ports and keeps a freed port for its former host, so one start gives ENDPOINTS new sessions
of each protocol: part of them at a fixed rate, for the cost, the rest in short tries at several rates.

What telling of sessions costs is shown by a second algate that logs each of them; the two take turns like all others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

from algate.cli.bench import conntrack
from algate.cli.bench.benchmark import shared
from algate.cli.bench.contenders import NFT, ROUTE, TC, TOLD, XDP, contender, leftovers
from algate.cli.bench.openings import KINDS, TITLES, Openings
from algate.cli.bench.packet_lab import PacketLab
from algate.cli.bench.plan import NEW, Plan
from algate.cli.bench.record import MORE, Figure, Record
from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.host import LabError

GATEWAYS = (XDP, TC, TOLD, NFT, ROUTE)
SETTLE = 1.0  # s for the log to have what was told


def cost_figure(proto: str) -> Figure:
    return Figure(f"newcost.{proto}", f"CPU time of a new session, {TITLES[proto]}", "ns")


def rate_figure(proto: str) -> Figure:
    return Figure(f"new.{proto}", f"New sessions/s without a loss, {TITLES[proto]}", "sessions/s", MORE)


# At RATES, which for UDP is 100,000 records a second.
LOST = Figure(
    "told.lost", "Records of new sessions lost on their way to the log, all rates", "%", info=True, loose=True
)


class NewBench:
    """One lab; gateways take turns, each with empty tables."""

    group = NEW

    def __init__(self, plan: Plan, record: Record, stack: ExitStack) -> None:
        self.plan, self.record = plan, record
        stack.enter_context(conntrack.room())
        self.programs = shared()
        self.bench = stack.enter_context(PacketLab(self.programs))

    def steps(self, number: int) -> Iterator[tuple[str, Callable[[], None]]]:
        """What a round does: (what it is called, how it is done)."""
        gateways = GATEWAYS[1:] if self.plan.quick else GATEWAYS  # new sessions never take XDP
        for name in self.plan.turn(gateways, number):
            yield f"new sessions: {name}", partial(self._gateway, name, number)

    def _gateway(self, name: str, number: int) -> None:
        with contender(name, self.bench.lab, self.programs) as gateway:
            self.bench.find_threads()
            for proto in KINDS:
                rate = rate_figure(proto) if self.plan.search else None
                Openings(self.bench, proto).measure(self.record, name, number, cost_figure(proto), rate)
            if name == TOLD and isinstance(gateway, AlgateGateway):
                self.record.add(LOST, name, number, lost(gateway))
        left = leftovers(self.bench.lab)
        if left:
            raise LabError(f"{name} left {', '.join(left)}: the next gateway's figures would be wrong")


def lost(gateway: AlgateGateway) -> float:
    """How many of all records are not in the log, in percent."""
    time.sleep(SETTLE)
    stats = gateway.ask("stats")
    missing = stats['algate_log_records_lost_total{sink="file"}']
    return float(100 * missing / max(1, missing + stats['algate_log_records_total{sink="file"}']))
