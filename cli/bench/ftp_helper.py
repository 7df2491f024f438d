"""What algate's helper adds to a command, and how many it manages, next to gateways that have no helper.

The law of this file: commands without transfers, from one client and from crowds, by the clients' clock, the helper's
CPU time and its own metrics.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from algate.cli.bench.contenders import ROUTE, TC
from algate.cli.bench.driven import Driven
from algate.cli.bench.histogram import Stats, quantile
from algate.cli.bench.meter import cpu_time
from algate.cli.bench.plan import Plan
from algate.cli.bench.record import MORE, Figure, Record
from algate.cli.bench.spread import percentile
from algate.cli.lab.gateways import AlgateGateway, LabGateway

Run = Callable[[str, int, float], Driven | str]
"""Drives commands: mode, clients, seconds; what was done, or why it doesn't count."""
US = 1000.0  # ns
PARTS = {"p50": 0.5, "p99": 0.99}
# NOOP passes in the kernel while nobody follows every command; SITE always goes to the helper.
NOOP = {part: Figure(f"noop.{part}", f"NOOP exchange, {part}, 1 client", "µs") for part in PARTS}
SITE = {part: Figure(f"site.{part}", f"SITE exchange, {part}, 1 client", "µs") for part in PARTS}
ADDED = {part: Figure(f"punt.{part}", f"Added to a SITE exchange above routing, {part}", "µs") for part in PARTS}
REST_LOOK, REST_MOST = 0.05, 10.0  # s
REST_SHARE = 0.2  # of a processor: to look at sessions that are over takes helpers some
CROWDS = (64, 256, 1000)  # clients that send commands at once
CAPACITY = Figure("helper.capacity", "Commands per second of the helper's CPU time", "commands/s", MORE)
AGAIN = Figure("helper.again", f"Repetitions among punts, {CROWDS[-1]:,} clients", "%", loose=True)

# What the gate did with a session's segments, and the metric that counts it: held until the helper had judged them, or
# sent on at once and copied to the helper.
MODES = ("pasv", "port")
GATE = {"held": 'algate_held_total{reason="punt-held"}', "copied": 'algate_lines_passed_total{copied="yes"}'}
SHARES = {
    (part, mode): Figure(
        f"gate.{part}.{mode}", f"Segments of a session {part}, {mode.upper()}", "per session", loose=True
    )
    for part in GATE
    for mode in MODES
}

# By the buckets of the helper's own histograms: the bound of the one that the figure lies in.
TURN = Figure("helper.turn.p99", f"A turn of the helper, p99, {CROWDS[-1]:,} clients: at most", "ms")
GAP = Figure("helper.gap", f"Between two heartbeats, longest, {CROWDS[-1]:,} clients: at most", "ms")
LATE = Figure("helper.late.p99", f"How late a timer of the helper is, p99, {CROWDS[-1]:,} clients: at most", "ms")
PULSE = (
    (TURN, "algate_helper_turn_seconds", 0.99), (GAP, "algate_heartbeat_gap_seconds", 1.0),
    (LATE, "algate_helper_timer_late_seconds", 0.99),
)  # fmt: skip

# Of all that algate had in hand until the round's end, by the same buckets.
HELD = {part: Figure(f"held.{part}", f"A control segment is held, {part}: at most", "µs", loose=True) for part in PARTS}
LASTED = {part: Figure(f"lasted.{part}", f"A control session, SYN to end, {part}: at most", "ms", loose=True)
          for part in PARTS}  # fmt: skip


def commands_figure(clients: int) -> Figure:
    return Figure(f"helper.commands.{clients}", f"SITE commands/s, {clients:,} clients", "commands/s", MORE)


class HelperBench:
    """Before the minimal server, so that the helper is what limits."""

    def __init__(self, plan: Plan, record: Record) -> None:
        self.plan = plan
        self.record = record

    def measure(self, gateway: LabGateway, name: str, drive: Run, number: int) -> None:
        """Exchanges of one client, then crowds."""
        for mode, figures in (("noop", NOOP), ("site", SITE)):
            driven = drive(mode, 1, self.plan.exchange_seconds)
            for part, figure in figures.items():
                if isinstance(driven, str):
                    self.record.refuse(figure, name, driven)
                else:
                    self.record.add(figure, name, number, percentile(driven.times, PARTS[part]) / US)
        if name != TC:  # others have no helper to be kept busy
            return
        for mode in MODES:
            self._shares(gateway, name, drive, mode, number)
        crowds = CROWDS[:1] if self.plan.quick else CROWDS
        best = [self._crowd(gateway, name, drive, clients, number) for clients in crowds]
        if name == TC and max(best) > 0:
            self.record.add(CAPACITY, name, number, max(best))

    def _shares(self, gateway: LabGateway, name: str, drive: Run, mode: str, number: int) -> None:
        """How many segments of a session waited for the helper, and how many it read afterwards."""
        before = helper_stats(gateway)
        driven = drive(mode, 1, self.plan.exchange_seconds)
        after = helper_stats(gateway)
        for part, metric in GATE.items():
            if isinstance(driven, str):
                self.record.refuse(SHARES[part, mode], name, driven)
            elif after:
                more = after.get(metric, 0.0) - before.get(metric, 0.0)
                self.record.add(SHARES[part, mode], name, number, more / driven.count)

    def _crowd(self, gateway: LabGateway, name: str, drive: Run, clients: int, number: int) -> float:
        """Commands per second of the helper's CPU time; 0 if the ring lost any, or there is no helper."""
        figure = commands_figure(clients)
        before, lost, stats = helper_time(gateway), lost_punts(gateway), helper_stats(gateway)
        driven = drive("site", clients, self.plan.exchange_seconds)
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
        """Whether the helper kept its time meanwhile, and how much came to it again."""
        for figure, metric, part in PULSE:
            add_bound(self.record, figure, name, number, quantile(before, after, metric, part))
        punts = after.get("algate_punts_total", 0.0) - before.get("algate_punts_total", 0.0)
        if punts > 0:
            again = 'algate_engine_events_total{reason="retransmitted"}'
            self.record.add(AGAIN, name, number, 100 * (after.get(again, 0.0) - before.get(again, 0.0)) / punts)

    def durations(self, gateway: LabGateway, name: str, number: int) -> None:
        """How long segments were held and sessions lasted; those of other gateways nobody knows."""
        stats = helper_stats(gateway)
        for part, quota in PARTS.items():
            held = quantile({}, stats, "algate_held_seconds", quota)
            lasted = quantile({}, stats, "algate_control_session_seconds", quota)
            if held is not None:
                self.record.add(HELD[part], name, number, 1e6 * held)
            if lasted is not None:
                self.record.add(LASTED[part], name, number, 1000 * lasted)

    def added(self, gateways: Iterable[str], number: int) -> None:
        """The delay that the helper adds to a command and its reply."""
        for part, figure in SITE.items():
            for name in gateways:
                bare = self.record.by_round(figure.key, ROUTE).get(number)
                value = self.record.by_round(figure.key, name).get(number)
                if name != ROUTE and bare is not None and value is not None:
                    self.record.add(ADDED[part], name, number, value - bare)


def add_bound(record: Record, figure: Figure, name: str, number: int, bound: float | None) -> None:
    """A bucket's bound (s) as ms; None: nothing was counted."""
    if bound is not None and math.isinf(bound):
        record.refuse(figure, name, "beyond the histogram's last bound")
    elif bound is not None:
        record.add(figure, name, number, 1000 * bound)


def helper_time(gateway: LabGateway) -> float:
    """CPU seconds so far of the thread that runs algate's helper; 0 for other gateways."""
    if isinstance(gateway, AlgateGateway) and gateway.process is not None:
        with suppress(OSError):
            return cpu_time(Path(f"/proc/{gateway.process.pid}/schedstat").read_text()) / 1e9
    return 0.0


def let_rest(gateways: Sequence[LabGateway], sleep: Callable[[float], None] = time.sleep) -> bool:
    """Wait until their helpers have read what the last samples left: most lines wait for nobody, and would be read
    during another gateway's sample. False: they still work after REST_MOST."""
    for _ in range(round(REST_MOST / REST_LOOK)):
        before = sum(map(helper_time, gateways))
        sleep(REST_LOOK)
        if sum(map(helper_time, gateways)) - before < REST_SHARE * REST_LOOK:
            return True
    return False


def helper_stats(gateway: LabGateway) -> Stats:
    """The metrics of algate; none of others."""
    found: Stats = gateway.ask("stats") if isinstance(gateway, AlgateGateway) else {}
    return found


def lost_punts(gateway: LabGateway) -> float:
    """Samples that the perf ring lost so far; 0 for gateways without one."""
    return float(sum(value for key, value in helper_stats(gateway).items() if key.startswith("algate_punts_lost")))
