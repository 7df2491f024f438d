"""Bulk TCP with and without offloads, ping-pong latency, and how long a start takes.

The law of this file: it uses real sockets in the lab's end hosts through each gateway in turn, and says which figure
each number is.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

from algate.bpf import compiler
from algate.cli.bench.contenders import NFT, ROUTE, TC, XDP, contender
from algate.cli.bench.native import build
from algate.cli.bench.plan import STREAMS, Plan
from algate.cli.bench.record import MORE, Figure, Record
from algate.cli.bench.spread import percentile
from algate.cli.lab.gateways import AlgateGateway, LabGateway
from algate.cli.lab.host import LabError
from algate.cli.lab.lab import LAN_DEVICE, WAN_DEVICE, Lab

GATEWAYS = (ROUTE, NFT, TC, XDP)
PORT, PING_PORT = 5201, 5202
COLD = Figure("start.cold", "Start to ready, nothing compiled", "s")
CACHED = Figure("start.cached", "Start to ready, compiled before", "s")


def bulk_figure(offload: bool, way: str, streams: int) -> Figure:
    key = "bulk" if offload else "plain"
    how = "" if offload else ", no segmentation offload"
    return Figure(f"{key}.{way}.{streams}", f"Bulk TCP {way}, {streams} stream(s){how}", "Gb/s", MORE)


def module(name: str, *arguments: str) -> list[str]:
    """The command line of one of the bench's programs."""
    return [sys.executable, "-m", f"algate.cli.bench.{name}", *arguments]


def forget_compiled() -> None:
    """Empty the loader's cache, as after an upgrade."""
    for path in compiler.CACHE.glob("*.json"):
        path.unlink(missing_ok=True)


class StreamBench:
    """One lab for the whole run, with veth devices as they come: nothing in threaded mode, no XDP at the ends."""

    group = STREAMS

    def __init__(self, plan: Plan, record: Record, stack: ExitStack) -> None:
        self.plan = plan
        self.record = record
        self.lab = stack.enter_context(Lab())
        self.pingpong = build(self.lab.folder, "pingpong")
        self.lab.server.spawn("pingpong", [str(self.pingpong), "serve", str(PING_PORT)])
        self.lab.server.spawn("stream", module("stream", "serve", str(PORT)))
        if not (self.lab.server.wait_port(PORT) and self.lab.server.wait_port(PING_PORT)):
            raise LabError("the bench's stream server isn't listening")

    def steps(self, number: int) -> Iterator[tuple[str, Callable[[], None]]]:
        """What a round does: (what it is called, how it is done)."""
        gateways = GATEWAYS[:-1] if self.plan.quick else GATEWAYS
        for name in self.plan.turn(gateways, number):
            yield f"streams: {name}", partial(self._gateway, name, number)

    def _gateway(self, name: str, number: int) -> None:
        gateway = contender(name, self.lab, None)
        try:
            self._start(gateway, name, number)
            self._latency(name, number)
            self._bulk(name, number, True)
            self._offload("off")
            try:
                self._bulk(name, number, False)
            finally:
                self._offload("on")
        finally:
            gateway.stop()

    def _start(self, gateway: LabGateway, name: str, number: int) -> None:
        if name == TC and not self.plan.quick:
            forget_compiled()
        started = time.monotonic()
        gateway.start()
        if name == TC and isinstance(gateway, AlgateGateway):
            if not self.plan.quick:
                self.record.add(COLD, name, number, time.monotonic() - started)
            gateway.stop_daemon()
            started = time.monotonic()
            gateway.start()
            self.record.add(CACHED, name, number, time.monotonic() - started)

    def _latency(self, name: str, number: int) -> None:
        for proto in ("udp", "tcp"):
            target, seconds = self.lab.plan.servers[0], self.plan.exchange_seconds
            argv = [str(self.pingpong), proto, target, str(PING_PORT), str(seconds)]
            done = self.lab.client.run(argv, timeout=30)
            times = sorted(int(word) / 1000 for word in done.stdout.split())
            for part in (50, 99):
                figure = Figure(f"latency.{proto}.p{part}", f"Ping-pong, {proto.upper()}, p{part}", "µs")
                if done.returncode or not times:
                    self.record.refuse(figure, name, (done.stderr.strip().splitlines() or ["no round trip"])[-1])
                else:
                    self.record.add(figure, name, number, percentile(times, part / 100))

    def _bulk(self, name: str, number: int, offload: bool) -> None:
        for streams in self.plan.streams:
            for way in ("up", "down"):
                figure = bulk_figure(offload, way, streams)
                arguments = (way, self.lab.plan.servers[0], str(PORT), str(self.plan.seconds), str(streams))
                done = self.lab.client.run(module("stream", *arguments), timeout=self.plan.seconds * 3 + 20)
                if done.returncode == 0:
                    self.record.add(figure, name, number, float(done.stdout) * 8 / 1e9)
                else:
                    words = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
                    self.record.refuse(figure, name, words[-1])

    def _offload(self, word: str) -> None:
        """GRO stays off, the default of veth."""
        lab = self.lab
        for host, devices in ((lab.client, ["eth0"]), (lab.server, ["eth0"]), (lab.gw, [LAN_DEVICE, WAN_DEVICE])):
            for device in devices:
                host.run(["ethtool", "-K", device, "tso", word, "gso", word], check=True)
