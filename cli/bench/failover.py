"""Two gateways of which one goes on where the other ended: what goes on, and for how long nothing came, beside two of
nft with conntrackd and keepalived.

The law of this file: the ends of the conversations say what went on (cli/lab/ends.py); each pair is told nothing about
being measured, and both are treated alike: a planned switch first, then whoever leads is cut off from everything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

from algate.alg.ha.bulk import YOUNG as AGE
from algate.cli.bench.pair_cost import PairCost
from algate.cli.bench.pair_faults import PairFaults
from algate.cli.bench.pair_timing import PairTiming
from algate.cli.bench.plan import HA, Plan
from algate.cli.bench.record import Figure, Record
from algate.cli.bench.spread import percentile
from algate.cli.lab import pair_trial
from algate.cli.lab.crowd import IDLE, Crowd
from algate.cli.lab.lab import LabPlan
from algate.cli.lab.pair import Node, PairLab
from algate.cli.lab.pair_peer import PeerNode, start_peers, until_moved
from algate.cli.lab.servers import start_server

PAIR, PEER = "algate", "nft+conntrackd"
PUBLIC = "198.51.100.200"  # longer in a PORT than the client's own
ROUNDS = 3  # of switch and death; what else there is once
STEPS = 6  # of a round, about
YOUNG = 200  # connections opened within the second before a switch
SETTLE = 1.5  # s that load runs behind what happens
OLD = 2.5  # s: a session that old is with the standby
Nodes = tuple[Node, Node] | tuple[PeerNode, PeerNode]


def figure(key: str, title: str, unit: str = "%", loose: bool = True) -> Figure:
    return Figure(f"ha.{key}", title, unit, loose=loose)


SWITCH_GAP = figure("switch.gap", "Planned switch under load: longest time without an answer to a ping", "ms")
SWITCH_LOST = figure("switch.lost", "Planned switch: TCP sessions lost, of all ages", "sessions")
SWITCH_NEXT = figure("switch.next", "Planned switch: FTP control sessions whose next commands work")
KILL_GAP = figure("kill.gap", "Active node cut off, advert interval 0.1 s: longest time without an answer", "s")
KILL_IDLE = figure("kill.idle", "Active node cut off: idle TCP sessions older than 2 s that go on")
KILL_BULK = figure("kill.bulk", "Active node cut off: busy TCP sessions, every byte as it was sent")
KILL_ANSWERED = figure("kill.answered", "Active node cut off: FTP commands under way that were answered")
KILL_NEXT = figure("kill.next", "Active node cut off: FTP control sessions whose next commands work")
KILL_FILES = figure("kill.files", "Active node cut off: transfers under way that end whole, all modes")
LAG = figure("lag", "From the moment when a session is 2 s old until the standby has it, p99", "ms")


class FailoverBench:
    """Each round has labs of its own."""

    group = HA

    def __init__(self, plan: Plan, record: Record, stack: ExitStack) -> None:
        self.plan, self.record = plan, record
        self.idle, self.bulk, self.talkers = (500, 20, 10) if plan.quick else (10_000, 200, 200)
        self._cost = PairCost(plan, record, stack)
        self._timing = PairTiming(plan, record)
        self._faults = PairFaults(record, 1.0 if plan.quick else 3.0)

    def steps(self, number: int) -> Iterator[tuple[str, Callable[[], None]]]:
        """What a round does: (what it is called, how it is done)."""
        if number < ROUNDS:
            for name in self.plan.turn((PAIR, PEER), number):
                yield f"switch and death: {name}", partial(self._gateways, name, number)
            yield from self._cost.steps(number)
        if not number:
            yield from self._timing.steps()
            yield from self._faults.steps()

    def _gateways(self, name: str, number: int) -> None:
        with PairLab(LabPlan(public=(PUBLIC,))) as lab, ExitStack() as stack:
            nodes: Nodes = pair_trial.start(lab) if name == PAIR else start_peers(lab)
            for one in nodes:
                stack.callback(one.stop)
            crowd = stack.enter_context(Crowd(lab.client, lab.server, lab.plan.servers[0]))
            FailoverRound(self, name, number, lab, crowd).run(nodes)


class FailoverRound:
    """One pair: the load, a switch, a death."""

    def __init__(self, bench: FailoverBench, name: str, number: int, lab: PairLab, crowd: Crowd) -> None:
        self.bench, self.name, self.number, self.lab, self.crowd = bench, name, number, lab, crowd
        self.server = start_server("vsftpd", lab.server)
        self.idle, self.young = crowd.near("idle", IDLE), crowd.near("idle", IDLE)
        self.bulk, self.ping, self.talk = crowd.near("bulk"), crowd.near("ping"), crowd.near("control", 21)

    def add(self, what: Figure, value: float) -> None:
        self.bench.record.add(what, self.name, self.number, value)

    def run(self, nodes: Nodes) -> None:
        """All of it."""
        one, other = nodes
        self.bulk.do("connect", self.bench.bulk)
        self.talk.do("connect", self.bench.talkers)
        self._make_idle(other)
        time.sleep(OLD)
        self._begin()
        self._switch(one, other)
        one.rejoin()
        time.sleep(OLD)
        self._begin()
        self._die(other, one)

    def _begin(self) -> None:
        for end in (self.bulk, self.talk, self.ping):
            end.do("begin", self.number)
        time.sleep(OLD)  # they are sessions too

    def _make_idle(self, other: Node | PeerNode) -> None:
        """Open the idle ones, and see when the standby has heard of each."""
        before, seen = other.known(), list[tuple[float, int]]()
        self.idle.order("connect", self.bench.idle)
        end = time.monotonic() + 30
        if isinstance(other, Node):
            while (not seen or seen[-1][1] < self.bench.idle) and time.monotonic() < end:
                seen.append((time.monotonic(), other.known() - before))
                time.sleep(0.005)
        made = self.idle.answer()["made"]
        if seen:
            lags = sorted(lag_of(made, seen))
            self.add(LAG, 1e3 * percentile(lags, 0.99))

    def _switch(self, one: Node | PeerNode, other: Node | PeerNode) -> None:
        self.young.do("connect", YOUNG)
        self.young.order("connect", YOUNG)
        one.give_way()
        until_moved(self.lab, other.name)
        self.young.answer()
        time.sleep(SETTLE)
        self.add(SWITCH_GAP, 1e3 * self.ping.do("end")["gap"])
        self._control(SWITCH_NEXT, None)
        self.bulk.do("end")
        working = self.crowd.working(1, self.idle, self.young)
        self.add(SWITCH_LOST, self.bench.idle + 2 * YOUNG - working)

    def _die(self, one: Node | PeerNode, other: Node | PeerNode) -> None:
        running = pair_trial.Fetches(self.lab, self.server, self.crowd.address)
        end = time.monotonic() + 30
        while not running.under_way() and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep((self.number * 0.37) % 1)
        one.die()
        until_moved(self.lab, other.name)
        time.sleep(SETTLE)
        self.add(KILL_GAP, self.ping.do("end")["gap"])
        self._control(KILL_NEXT, KILL_ANSWERED)
        self.add(KILL_BULK, 100 * self.bulk.do("end")["whole"] / self.bench.bulk)
        self.add(KILL_IDLE, 100 * self.crowd.working(2, self.idle) / self.bench.idle)
        whole = running.whole()
        self.add(KILL_FILES, 100 * sum(whole.values()) / len(whole))

    def _control(self, next_one: Figure, under_way: Figure | None) -> None:
        told = self.talk.do("end")
        self.add(next_one, 100 * told["next"] / self.bench.talkers)
        if under_way is not None:
            self.add(under_way, 100 * told["answered"] / self.bench.talkers)


def lag_of(made: list[float], seen: list[tuple[float, int]]) -> Iterator[float]:
    """For each session, made at these moments: how long after its second birthday it was among those seen."""
    at = 0
    for place, moment in enumerate(made):
        while at < len(seen) - 1 and seen[at][1] <= place:
            at += 1
        yield max(0.0, seen[at][0] - moment - AGE / 1e9)
