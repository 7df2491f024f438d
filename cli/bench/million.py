"""A million sessions: the cost per packet, and the cost of memory, sweep and listing.

The law of this file: what only a full table shows. Packets are measured as in packets.py.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from algate.alg.gateway.gc import Sweep
from algate.bpf import syscall
from algate.bpf.loader import Gateway as Programs
from algate.bpf.requests import ControlProgram
from algate.cli.bench import asking
from algate.cli.bench.contenders import FLOOR, NFT, TC, XDP, XDP_FORWARD
from algate.cli.bench.packets import PacketBench
from algate.cli.bench.plan import MILLION, PACKETS
from algate.cli.bench.record import MORE, Figure
from algate.cli.lab.gateways import AlgateGateway, LabGateway
from algate.cli.lab.host import call_in

SWEPT = 11.0  # s after which a sweep has seen all sessions


def figures(many: int) -> dict[str, Figure]:
    """What is measured in addition to packets, with `many` sessions."""
    among = f"of {many:,} sessions"
    asked = {name: f"`algate {' '.join(words)}`" for name, words in asking.QUESTIONS.items()}
    peers = {name: f", `conntrack {' '.join(words)}`" for name, words in asking.CONNTRACK.items()}
    made = {
        "memory": Figure("memory.session", f"Kernel memory per session, all maps, {many:,} sessions", "bytes"),
        "sweep": Figure("sweep", f"Sweep over {many:,} sessions", "s"),
        "sweep.cpu": Figure("sweep.cpu", f"Sweep over {many:,} sessions: CPU", "s"),
        "sweep.step": Figure("sweep.step", f"Longest step of a sweep over {many:,} sessions, CPU", "ms"),
        "idle": Figure(
            "idle", f"The daemon with {many:,} sessions and nobody asking (it sweeps): part of a core", "%", once=True
        ),
        "there": Figure(
            "listing.there", "Sessions in the table while it is asked", "sessions", MORE, info=True, once=True
        ),
        "rows": Figure("listing.rows", f"{asked['tsv']}: rows a second {among}", "1/s", MORE, once=True),
        "head": Figure("listing.head", f"{asked['tsv']} | head -1 {among}", "s", once=True),
        "wait": Figure("listing.wait", f"Longest wait of another question during {asked['tsv']}", "ms", once=True),
        "step": Figure("listing.step", f"Longest step of a listing in the daemon, CPU, {among}", "ms", once=True),
        "grown": Figure("listing.grown", f"Growth of the daemon while it lists all, twice, {among}", "MB", once=True),
        "top": Figure("listing.top", f"`algate top` {among}: part of a core, both ends together", "%", once=True),
        "screen": Figure("listing.screen", "Bytes a second to its screen of 200x60", "B/s", once=True),
    }
    for name, title in asked.items():
        both = f"{title}{peers.get(name, '')} {among}"
        made[name] = Figure(f"listing.{name}", both, "s", once=True)
        made[f"{name}.cpu"] = Figure(f"listing.{name}.cpu", f"{both}: CPU of both ends", "s", once=True)
    return made


class MillionBench(PacketBench):
    """Measure with one session too, for the ratio, unless the run does that anyway."""

    group = MILLION
    gateways = (FLOOR, XDP_FORWARD, XDP, TC, NFT)

    @property
    def counts(self) -> tuple[int, ...]:
        return (self.plan.most,) if PACKETS in self.plan.groups else (1, self.plan.most)

    def _besides(self, gateway: LabGateway, name: str, number: int) -> None:
        if name == NFT and not number:
            self._ask_conntrack()
        if name != TC or not isinstance(gateway, AlgateGateway):
            return
        folder, wanted = pins_of(gateway), figures(self.plan.most)
        taken = memory(folder)
        if not self.plan.quick:  # the tables have their full size, so few sessions would say nothing
            self.record.add(wanted["memory"], name, number, taken / self.plan.most)
        swept = call_in(self.bench.lab.gw.netns, partial(sweep, folder))
        self.record.add(wanted["sweep"], name, number, swept.wall)
        self.record.add(wanted["sweep.cpu"], name, number, swept.cpu)
        self.record.add(wanted["sweep.step"], name, number, 1e3 * swept.step)
        if not number:
            self._ask(gateway, wanted)

    def _ask(self, gateway: AlgateGateway, wanted: dict[str, Figure]) -> None:
        """Every question once; and what others notice of the longest one."""
        add, host = partial(self._told, TC), self.bench.lab.plan.clients[0]
        daemon, there = gateway.ask("status")["pid"], gateway.ask("sessions", {"count": True})["count"]
        folder = pins_of(gateway)
        if not self.plan.quick:
            time.sleep(SWEPT)
        add(wanted["there"], there)
        for name in asking.QUESTIONS:
            self._costs(TC, name, asking.ask(gateway, name, host, daemon))
        before = asking.resident(daemon)
        with asking.others(gateway) as waits:
            took = asking.ask(gateway, "tsv", host, daemon)
        if not self.plan.quick:  # of few sessions the start of a process would be the answer
            add(wanted["rows"], there / took.wall)
        add(wanted["wait"], 1e3 * max(waits))
        asking.ask(gateway, "all", host, daemon)
        add(wanted["grown"], (asking.resident(daemon) - before) / 1e6)
        add(wanted["head"], asking.head(gateway))
        steps = [call_in(self.bench.lab.gw.netns, partial(asking.longest_step, folder, one)) for one in asking.STEPS]
        add(wanted["step"], 1e3 * max(steps))
        if not self.plan.quick:
            seen = asking.watched(gateway, daemon)
            add(wanted["idle"], 100 * seen.idle)
            add(wanted["top"], 100 * seen.share)
            add(wanted["screen"], seen.octets)

    def _ask_conntrack(self) -> None:
        for name in asking.CONNTRACK:
            self._costs(NFT, name, asking.ask_conntrack(self.bench.lab, name, self.bench.lab.plan.clients[0]))

    def _costs(self, gateway: str, name: str, cost: asking.AskingCost) -> None:
        wanted = figures(self.plan.most)
        self._told(gateway, wanted[name], cost.wall)
        self._told(gateway, wanted[f"{name}.cpu"], cost.cpu)

    def _told(self, name: str, figure: Figure, value: float) -> None:
        self.record.add(figure, name, 0, value)


def pins_of(gateway: AlgateGateway) -> Path:
    """Where a running gateway's maps are pinned."""
    return Path(gateway.ask("status")["pins"])


@contextmanager
def pinned(path: Path) -> Iterator[int]:
    """A descriptor of a pinned map."""
    fd = syscall.obj_get(path)
    try:
        yield fd
    finally:
        os.close(fd)


def memory(folder: Path) -> int:
    """Bytes that all maps of a gateway take now, as the kernel says: those in the folder of its programs too."""
    total = 0
    for path in (one for one in folder.rglob("*") if not one.is_dir()):
        with pinned(path) as fd:
            told = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
        if any(line.startswith("map_type:") for line in told):
            total += sum(int(line.split()[1]) for line in told if line.startswith("memlock:"))
    return total


class SweepCost(NamedTuple):
    """Of one sweep: seconds, seconds of CPU, and those of its longest step, which the daemon's loop waits for."""

    wall: float
    cpu: float
    step: float


def sweep(folder: Path) -> SweepCost:
    """What one sweep costs, done as the daemon does it, over the maps that it pinned."""
    gateway = Programs(folder, 1, 1)  # both sizes are those of the pins
    try:
        started, step = time.perf_counter(), 0.0
        began = before = time.thread_time()
        for _ in Sweep(gateway, ControlProgram(gateway.fds["control"])).run():
            now = time.thread_time()
            step, before = max(step, now - before), now
        return SweepCost(time.perf_counter() - started, time.thread_time() - began, step)
    finally:
        gateway.close()
