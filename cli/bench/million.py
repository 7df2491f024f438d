"""A million sessions: the cost per packet, and the cost of memory, sweep and listing.

The law of this file: what only a full table shows. Packets are measured as in packets.py.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from algate.alg.gateway.gc import Sweep
from algate.bpf import syscall
from algate.bpf.loader import Gateway as Programs
from algate.bpf.requests import ControlProgram
from algate.cli.bench.contenders import FLOOR, NFT, TC, XDP, XDP_FORWARD
from algate.cli.bench.packets import PacketBench
from algate.cli.bench.plan import MILLION, PACKETS
from algate.cli.bench.record import Figure
from algate.cli.lab.gateways import AlgateGateway, LabGateway, algate
from algate.cli.lab.host import call_in


def figures(many: int) -> dict[str, Figure]:
    """What is measured in addition to packets, with `many` sessions."""
    listing = "`algate sessions --json"
    return {
        "memory": Figure("memory.session", f"Kernel memory per session, all maps, {many:,} sessions", "bytes"),
        "sweep": Figure("sweep", f"Sweep over {many:,} sessions", "s"),
        "all": Figure("listing.all", f"{listing}` of {many:,} sessions", "s", once=True),
        "one": Figure("listing.host", f"{listing} --inside HOST` among {many:,} sessions", "s", once=True),
    }


class MillionBench(PacketBench):
    """Measure with one session too, for the ratio, unless the run does that anyway."""

    group = MILLION
    gateways = (FLOOR, XDP_FORWARD, XDP, TC, NFT)

    @property
    def counts(self) -> tuple[int, ...]:
        return (self.plan.most,) if PACKETS in self.plan.groups else (1, self.plan.most)

    def _besides(self, gateway: LabGateway, name: str, number: int) -> None:
        if name != TC or not isinstance(gateway, AlgateGateway):
            return
        folder, wanted = pins_of(gateway), figures(self.plan.most)
        if not self.plan.quick:  # the tables have their full size, so few sessions would say nothing
            self.record.add(wanted["memory"], name, number, memory(folder) / self.plan.most)
        self.record.add(wanted["sweep"], name, number, call_in(self.bench.lab.gw.netns, partial(sweep, folder)))
        if number:
            return
        for key, words in (("all", []), ("one", ["--inside", self.bench.lab.plan.clients[0]])):
            self.record.add(wanted[key], name, number, listing(gateway, words))


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


def listing(gateway: AlgateGateway, words: list[str]) -> float:
    """Seconds that a listing takes, with its output thrown away. Raises if it fails."""
    started = time.perf_counter()
    argv = [*algate(), "sessions", "--json", "--run-dir", str(gateway.run_dir), *words]
    subprocess.run(argv, stdout=subprocess.DEVNULL, check=True, timeout=120)
    return time.perf_counter() - started
