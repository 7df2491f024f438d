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


def figures(many: int) -> dict[str, Figure]:
    """What is measured in addition to packets, with `many` sessions."""
    among = f"of {many:,} sessions"
    asked = {name: f"`algate {' '.join(words)}`" for name, words in asking.QUESTIONS.items()}
    peers = {name: f", `conntrack {' '.join(words)}`" for name, words in asking.CONNTRACK.items()}
    return {
        "memory": Figure("memory.session", f"Kernel memory per session, all maps, {many:,} sessions", "bytes"),
        "sweep": Figure("sweep", f"Sweep over {many:,} sessions", "s"),
        **{
            name: Figure(f"listing.{name}", f"{title}{peers.get(name, '')} {among}", "s", once=True)
            for name, title in asked.items()
        },
        "rows": Figure("listing.rows", f"{asked['tsv']}: rows a second {among}", "1/s", MORE, once=True),
        "head": Figure("listing.head", f"{asked['tsv']} | head -1 {among}", "s", once=True),
        "wait": Figure("listing.wait", f"Longest wait of another question during {asked['tsv']}", "ms", once=True),
        "grown": Figure("listing.grown", f"Growth of the daemon while it lists all, twice, {among}", "MB", once=True),
        "top": Figure("listing.top", f"The daemon's part of a core during `algate top` {among}", "%", once=True),
    }  # fmt: skip


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
        if not self.plan.quick:  # the tables have their full size, so few sessions would say nothing
            self.record.add(wanted["memory"], name, number, memory(folder) / self.plan.most)
        self.record.add(wanted["sweep"], name, number, call_in(self.bench.lab.gw.netns, partial(sweep, folder)))
        if not number:
            self._ask(gateway, wanted)

    def _ask(self, gateway: AlgateGateway, wanted: dict[str, Figure]) -> None:
        """Every question once; and what others notice of the longest one."""
        add, host = partial(self._told, TC), self.bench.lab.plan.clients[0]
        process, most = gateway.ask("status")["pid"], self.plan.most
        for name in asking.QUESTIONS:
            if name != "all":
                add(wanted[name], asking.ask(gateway, name, host))
        before = asking.resident(process)
        with asking.others(gateway) as waits:
            took = asking.ask(gateway, "tsv", host)
        add(wanted["rows"], most / took)
        add(wanted["wait"], 1e3 * max(waits))
        add(wanted["all"], asking.ask(gateway, "all", host))
        add(wanted["grown"], (asking.resident(process) - before) / 1e6)
        add(wanted["head"], asking.head(gateway))
        if not self.plan.quick:
            add(wanted["top"], 100 * asking.watched(gateway, process))

    def _ask_conntrack(self) -> None:
        wanted, host = figures(self.plan.most), self.bench.lab.plan.clients[0]
        for name in asking.CONNTRACK:
            self._told(NFT, wanted[name], asking.ask_conntrack(self.bench.lab, name, host))

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
    """Bytes that all maps of a gateway take now, as the kernel says."""
    total = 0
    for path in folder.iterdir():
        with pinned(path) as fd:
            text = Path(f"/proc/self/fdinfo/{fd}").read_text()
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("memlock:"))
    return total


def sweep(folder: Path) -> float:
    """Seconds of one sweep, done as the daemon does it, over the maps that it pinned."""
    gateway = Programs(folder, 1, 1)  # both sizes are those of the pins
    try:
        started = time.perf_counter()
        done = Sweep(gateway, ControlProgram(gateway.fds["control"]))
        for _ in done.run():
            pass
        return time.perf_counter() - started
    finally:
        gateway.close()
