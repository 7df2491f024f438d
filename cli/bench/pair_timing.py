"""How long a pair takes: for a rewritten command that the standby has before it leaves, and for a million sessions.

The law of this file: what the pair adds to a command is its time from client to server with the standby in step above
the same with nobody to tell, in one lab and run. It is compared with a bare echo of 1 KB between the two nodes: as
often as the commands come, since processors that sleep in between are slow for either; and back to back, too. Two nodes
are two machines, so here each has a processor of its own, for all that runs there: else the kernel has the two ends of
an echo share one, where nobody has to be woken, and no message from one machine to another is as cheap.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from algate.alg.gateway import estate
from algate.bpf import abi, pins, syscall, ticks
from algate.bpf.packing import native
from algate.bpf.requests import CLASS_OF
from algate.cli.bench.plan import Plan
from algate.cli.bench.record import Figure, Record
from algate.cli.bench.spread import percentile
from algate.cli.lab import pair_trial
from algate.cli.lab.crowd import PORT, Crowd, EndProgram
from algate.cli.lab.host import LabError
from algate.cli.lab.lab import LabPlan
from algate.cli.lab.pair import Node, PairLab, engine

PAIR = "algate"
ECHO, POLITE, UDP = PORT + 100, PORT + 101, 17
PARTS = {"p50": 0.5, "p99": 0.99}
CONFIG = f"[alg.ftp]\nports = [21, {POLITE}]\n"
ENDS = 60_000  # inside end points of a full table
RESYNC = Figure("ha.resync", "`algate ha resync` with a full table, until the standby has all", "s", once=True)
RESYNCED = Figure("ha.resynced", "Sessions of that table", "sessions", once=True, info=True)


def added_figure(part: str) -> Figure:
    return Figure(f"ha.added.{part}", f"Rewritten FTP command, {part}: what the pair adds", "µs", once=True)


def echo_figure(part: str) -> Figure:
    return Figure(f"ha.echo.{part}", f"1 KB TCP echo between the two nodes, back to back, {part}", "µs", once=True)


def paced_figure(part: str) -> Figure:
    title = f"1 KB TCP echo between the two nodes, as often as there were commands, {part}"
    return Figure(f"ha.paced.{part}", title, "µs", once=True)


class PairTiming:
    """A pair of its own for both."""

    def __init__(self, plan: Plan, record: Record) -> None:
        self.record = record
        self.exchanges, self.most = (200, 20_000) if plan.quick else (2000, 1_000_000)

    def steps(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """What is done."""
        yield "a command, and a full table", self._all

    def _all(self) -> None:
        with PairLab(LabPlan(public=("198.51.100.200",))) as lab, ExitStack() as stack:
            apart(lab)
            one, other = pair_trial.start(lab, CONFIG)
            for node in (other, one):
                stack.callback(node.stop)
            crowd = stack.enter_context(Crowd(lab.client, lab.server, lab.plan.servers[0]))
            self._commands(crowd, one, other)
            self._resync(one, other)

    def _commands(self, crowd: Crowd, one: Node, other: Node) -> None:
        """The two take turns, since both are at the mercy of the same machine."""
        plain = EndProgram(other.host, "plain", other.host.address, ECHO)
        between = EndProgram(one.host, "exchange", other.host.address, ECHO)
        crowd.end(crowd.server, "polite", POLITE)
        near = crowd.near("exchange", POLITE)
        paired, alone, echo, paced = (list[float]() for _ in range(4))
        try:
            for _ in range(2):
                echo += between.do("echo", self.exchanges // 2)["took"]
                told = near.do("commands", self.exchanges // 2)
                paired += told["took"]
                paced += between.do("echo", self.exchanges // 2, told["apart"])["took"]
                assert other.engine is not None
                other.engine.kill()
                one.until(lambda: one.status()["state"] != "in step")
                alone += near.do("commands", self.exchanges // 2)["took"]
                other.engine = engine(other.host)
                one.until(lambda: one.status()["state"] == "in step")
        finally:
            plain.close()
            between.close()
        for name, part in PARTS.items():
            added = percentile(sorted(paired), part) - percentile(sorted(alone), part)
            self.record.add(added_figure(name), PAIR, 0, 1e6 * added)
            for figure, times in ((echo_figure, echo), (paced_figure, paced)):
                self.record.add(figure(name), PAIR, 0, 1e6 * percentile(sorted(times), part))

    def _resync(self, one: Node, other: Node) -> None:
        """Sessions are put into the tables, as old as this is long; then all is told."""
        fill(one, self.most)
        one.until(lambda: other.known() >= self.most, 120)
        began = time.monotonic()
        before = one.status()["epoch"]
        one.ask("ha-resync")
        one.until(lambda: one.status()["epoch"] != before and one.status()["state"] == "in step", 60)
        other.until(lambda: other.status()["epoch"] != before and other.known() >= self.most, 60)
        self.record.add(RESYNC, PAIR, 0, time.monotonic() - began)
        self.record.add(RESYNCED, PAIR, 0, other.known())


def apart(lab: PairLab) -> None:
    """Each node gets a processor of its own, where there are two: on one they share it, as their echo does."""
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) > 1:
        lab.hosts["gw"].processor, lab.hosts["gw2"].processor = processors[:2]


def fill(node: Node, number: int) -> None:
    """Put so many UDP sessions into a leading gateway's tables: ENDS inside ends with as many others as it takes."""
    folder, now = pins.folder(node.run_dir) / abi.layout_hash(), time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    public = int.from_bytes(bytes(map(int, node.lab.plan.public[0].split("."))), "little")
    sessions, ports = dict[bytes, bytes](), dict[bytes, bytes]()
    kind = abi.PortKind.MAPPING << 48
    for place in range(number):
        end, far = place % ENDS, place // ENDS
        inside, port = 0x0A4D0100, 1024 + end
        row = int(CLASS_OF[UDP]) << 16 | port
        key = abi.SessionKey(
            inside_ip=int.from_bytes(inside.to_bytes(4, "big"), "little"), remote_ip=0x0A7100CB + (far << 16),
            inside_port=int.from_bytes(port.to_bytes(2, "big"), "little"), remote_port=0x3500, proto=UDP,
        )  # fmt: skip
        value = abi.Session(
            id=now - 10_000_000_000 - place * 256, state=abi.SessionState.ACTIVE, last_seen=ticks.now(),
            port_index=row, public_ip=public,
        )  # fmt: skip
        sessions[bytes(key)] = bytes(value)
        if not far:
            owner = key.inside_ip | key.inside_port << 32 | kind
            ports[native(row, 4)] = bytes(abi.PortSlot(owner=owner, sessions=1 + (number - 1 - end) // ENDS))
    for name, rows in (("ports", ports), ("sessions", sessions)):
        fd = syscall.obj_get(folder / name)
        try:
            estate.put(fd, rows)
        except OSError as error:
            raise LabError(f"{name} can't be filled: {error.strerror}") from None
