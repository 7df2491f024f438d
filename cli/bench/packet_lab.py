"""The lab for costs per packet: generator, gateway, sink, and the poll threads whose time is measured.

The law of this file: it wires and measures; what a figure is called and what it is compared with is decided elsewhere.

The generator's frames enter the gateway through the client's device, and every device is in threaded mode, so that what
the gateway does runs in the threads of its own two devices, and nothing else does.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntFlag
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from types import TracebackType
from typing import Self

from algate.alg.gateway import netlink
from algate.cli.bench.benchmark import SIX_INSIDE, SIX_OUTSIDE, BenchPrograms, Order
from algate.cli.bench.contenders import index_of
from algate.cli.bench.meter import PollThread, cpu_time, poll_threads
from algate.cli.lab.host import Host, LabError, call_in
from algate.cli.lab.lab import LAN_DEVICE, WAN_DEVICE, Lab, LabPlan, ip
from algate.cli.lab.trial import NAT64_PREFIX

BURST_MOST = 64  # frames; the receiver's ring has 256 entries
BURST_TIME = 250e-6  # s between bursts: the shortest wait of the generator
HOSTS = 50  # inside hosts that the end points are spread over
PART = 100_000  # sessions that are begun and answered together: a second
ENDPOINTS = 62_500  # inside end points that share one public address; more sessions go to more remote hosts
FIRST_PORT = 1024
REMOTE_PORT = 7777
STRIDE = 7_368_787  # prime: consecutive frames belong to sessions far apart
SETTLE = 0.02  # s for the last frames to arrive
OUT, IN, SYN, MIXED = 0, 1, 2, 3


class Family(IntFlag):
    """Who speaks IPv6."""

    FOUR = 0
    NAT64 = SIX_INSIDE
    SIX = SIX_INSIDE | SIX_OUTSIDE


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is sent: a kind of frame over a number of sessions, at a rate."""

    kind: int
    sessions: int
    rate: int  # frames/s
    learn: bool = False
    family: Family = Family.FOUR


@dataclass(frozen=True, slots=True)
class Passage:
    """The result of a run: frames, CPU time (ns) of the gateway's poll threads, seconds that sending took."""

    sent: int
    arrived: int
    refused: int
    ended: int
    busy: int
    seconds: float
    late: int  # bursts that the generator was too slow for
    bursts: int

    @property
    def lost(self) -> int:
        return self.sent - self.arrived - self.refused

    @property
    def cost(self) -> float:
        """ns per frame sent."""
        return self.busy / self.sent if self.sent else math.nan


class PacketLab:
    """`with PacketLab(programs) as bench:`; then gateways come and go in `bench.lab`."""

    def __init__(self, programs: BenchPrograms, six: bool = False) -> None:
        """`six`: IPv6 beside IPv4."""
        self.programs = programs
        self.lab = Lab(LabPlan(six=six))
        self.workers: tuple[int, ...] = ()  # processes whose CPU time is the gateway's too
        self.cpu, self.other = max(os.sched_getaffinity(0)), min(os.sched_getaffinity(0))
        self._threads: list[PollThread] = []
        self._foreign: set[PollThread] = set()
        self._macs: dict[str, bytes] = {}

    def __enter__(self) -> Self:
        self._foreign = poll_threads()
        self.lab.__enter__()
        try:
            self._prepare()
        except BaseException:
            self.lab.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.lab.__exit__(kind, error, trace)

    def _prepare(self) -> None:
        lab, fds = self.lab, self.programs.fds
        for host, program in ((lab.client, "sink_inside"), (lab.server, "sink_outside")):
            call_in(host.netns, partial(self._attach_sink, fds[program]))
        for host, devices in ((lab.gw, (LAN_DEVICE, WAN_DEVICE)), (lab.client, ("eth0",)), (lab.server, ("eth0",))):
            for device in devices:
                make_threaded(host, device)
        self._macs = {device: self._mac(lab.gw, device) for device in (LAN_DEVICE, WAN_DEVICE)}
        self._name_neighbours()

    @staticmethod
    def _attach_sink(fd: int) -> None:
        netlink.set_xdp(index_of("eth0"), fd, generic=False, replace=False)

    def _link(self, row: int) -> None:
        self.programs.link(row, index_of("eth0"))

    @staticmethod
    def _mac(host: Host, device: str) -> bytes:
        found = call_in(host.netns, lambda: netlink.find_device(device))
        if found is None:
            raise LabError(f"no device {device} in {host.netns}")
        return found.mac

    def _name_neighbours(self) -> None:
        """Neighbours that never expire: inside hosts after the first exist only as addresses."""
        lab = self.lab
        client, server = self._mac(lab.client, "eth0").hex(":"), self._mac(lab.server, "eth0").hex(":")
        first = IPv4Address(lab.plan.clients[0])
        lines = [f"neigh replace {first + i} lladdr {client} dev {LAN_DEVICE} nud permanent" for i in range(HOSTS)]
        lines.append(f"neigh replace {lab.plan.next_hop} lladdr {server} dev {WAN_DEVICE} nud permanent")
        if lab.plan.six:
            first6 = IPv6Address(lab.plan.clients6[0])
            lines += [
                f"neigh replace {first6 + i} lladdr {client} dev {LAN_DEVICE} nud permanent" for i in range(HOSTS)
            ]
            next_hop6 = lab.plan.wan6.replace("::/64", "::1")
            lines.append(f"neigh replace {next_hop6} lladdr {server} dev {WAN_DEVICE} nud permanent")
        ip("\n".join(lines), lab.gw.netns)

    def order(self, traffic: Traffic) -> Order:
        """What the generator is told."""
        step = STRIDE if math.gcd(STRIDE, traffic.sessions) == 1 else 1
        return Order(
            kind=traffic.kind,
            gap=round(1e9 * 1024 / traffic.rate),
            flows=traffic.sessions,
            step=step % traffic.sessions or 1,
            endpoints=min(traffic.sessions, ENDPOINTS if traffic.sessions > 64_000 else 64_000),
            hosts=HOSTS,
            inside=int(IPv4Address(self.lab.plan.clients[0])),
            remote=int(IPv4Address(self.lab.plan.servers[0])),
            burst=burst_size(traffic.rate),
            inside_port=FIRST_PORT,
            remote_port=REMOTE_PORT,
            lan_mac=self._macs[LAN_DEVICE],
            wan_mac=self._macs[WAN_DEVICE],
            learn=traffic.learn,
            six=traffic.family,
            inside6=IPv6Address(self.lab.plan.clients6[0]).packed,
            remote6=self._remote6(traffic.family),
        )

    def _remote6(self, family: Family) -> bytes:
        """The first remote host as an IPv6 host has it."""
        plan = self.lab.plan
        shown = NAT64_PREFIX.replace("::/96", f"::{plan.servers[0]}")
        return IPv6Address(shown if family == Family.NAT64 else plan.servers6[0]).packed

    def find_threads(self) -> None:
        """Point the generator at this lab, and find its poll threads: they change when XDP comes or goes.

        LabError if the gateway has none.
        """
        for row, host in enumerate((self.lab.client, self.lab.server)):
            call_in(host.netns, partial(self._link, row))
        self._threads = list(poll_threads() - self._foreign)
        if not self.gateway_threads():
            raise LabError("the gateway's devices have no poll threads: this kernel lacks threaded NAPI on veth")

    def gateway_threads(self) -> list[PollThread]:
        return [thread for thread in self._threads if thread.device in (LAN_DEVICE, WAN_DEVICE)]

    def place(self, apart: bool) -> None:
        """Set where the poll threads run, all of them ahead of everything that isn't real-time.

        For costs all share the generator's CPU: a burst is written, then all of it forwarded, then all of it received,
        so that the cost includes no wake-up across CPUs and no race for a ring. For capacities the gateway's threads
        have a CPU of their own (`apart`), and generator and sinks share another.
        """
        for thread in self._threads:
            thread.prefer(self.cpu if apart is False or thread.device not in (LAN_DEVICE, WAN_DEVICE) else self.other)

    def send(self, traffic: Traffic, frames: int, first: int = 0) -> Passage:
        """Send at least `frames` frames in whole bursts, wait for the last, return what they cost."""
        burst = burst_size(traffic.rate)
        frames = math.ceil(frames / burst) * burst
        threads = self.gateway_threads()
        before, busy = self.programs.counted(), self._busy(threads)
        started = time.perf_counter()
        with on_cpu(self.cpu):
            sent, late = self.programs.send(self.order(traffic), frames, first)
        seconds = time.perf_counter() - started
        time.sleep(SETTLE)
        after = self.programs.counted()
        out, back, refused, ended = (b - a for a, b in zip(before, after, strict=True))
        busy = self._busy(threads) - busy
        return Passage(sent, out + back, refused, ended, busy, seconds, late, frames // burst)

    def _busy(self, threads: list[PollThread]) -> int:
        """CPU time so far (ns) of the gateway's poll threads and processes."""
        processes = (Path(f"/proc/{pid}/schedstat").read_text() for pid in self.workers)
        return sum(thread.busy() for thread in threads) + sum(map(cpu_time, processes))

    def forget(self) -> str:
        """For gateways that don't translate: inbound frames are for the inside hosts themselves."""
        self.programs.forget()
        return ""

    def establish(self, sessions: int, rate: int, family: Family = Family.FOUR) -> str:
        """Make `sessions` UDP sessions and answer each. Returns why that failed, or ""."""
        return self.begin(sessions, rate, family) or self.answer(sessions, rate, family)

    def begin(self, sessions: int, rate: int, family: Family = Family.FOUR) -> str:
        """Make `sessions` UDP sessions that nobody has answered. Returns why that failed, or ""."""
        return self._once(Traffic(OUT, sessions, rate, True, family))

    def answer(self, sessions: int, rate: int, family: Family = Family.FOUR) -> str:
        """Answer each. Returns why that failed, or "". What nobody has answered for 2 s goes where a table is nearly
        full, so each part is begun anew, and answered at once."""
        troubles = [
            self._once(Traffic(kind, sessions, rate, True, family), min(PART, sessions - first), first)
            for first in range(0, sessions, PART)
            for kind in (OUT, IN)
        ]
        return next(filter(None, troubles), "")

    def _once(self, traffic: Traffic, some: int = 0, first: int = 0) -> str:
        """A frame of each session, or of `some` from the `first` one on."""
        for part in (1, 1, 2):  # the kernel stops real-time threads for 50 ms if they leave nothing to others
            passed = self.send(replace(traffic, rate=traffic.rate // part), some or traffic.sessions, first)
            if not passed.lost:
                break
        return f"{passed.lost} of {passed.sent} frames lost while sessions were made" if passed.lost else ""


@contextlib.contextmanager
def on_cpu(number: int) -> Iterator[None]:
    """Keep this thread on one CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {number})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def burst_size(rate: int) -> int:
    """Frames per burst at `rate` frames/s."""
    return max(1, min(BURST_MOST, int(rate * BURST_TIME)))


def make_threaded(host: Host, device: str) -> None:
    """Turn GRO on, which gives a veth device its own NAPI, and threaded mode, which gives that a kernel thread."""
    host.run(["ethtool", "-K", device, "gro", "on"], check=True)
    # Only a private /sys shows the namespace's devices.
    switch = f"echo 1 > /sys/class/net/{device}/threaded"
    done = os.spawnvp(os.P_WAIT, "ip", ["ip", "netns", "exec", host.netns, "sh", "-c", switch])
    if done != 0:
        raise LabError(f"{device} has no threaded NAPI (kernel 5.12 or later is needed)")
