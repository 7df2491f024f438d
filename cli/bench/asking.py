"""What it costs to ask about a full table: seconds of algate's verbs and of conntrack, and what others wait meanwhile.

The law of this file: each question is a process, as an operator asks it, with its output thrown away. What a figure is
compared with is in million.py.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

from algate.alg.admin import listings, messages
from algate.alg.daemon.running import Running
from algate.alg.gateway.whereabouts import Whereabouts
from algate.bpf.loader import Gateway as Programs
from algate.cli.bench.onlooker import onlooking
from algate.cli.lab.gateways import AlgateGateway, algate
from algate.cli.lab.host import LabError
from algate.cli.lab.lab import Lab
from algate.client import Client

TOP_SECONDS, TOP_BEGINS = 40.0, 5.0  # how long a `top` is watched, once it has begun
CLOCK = os.sysconf("SC_CLK_TCK")

# Question -> arguments of algate; HOST stands for an inside host.
HOST = "HOST"
QUESTIONS = {
    "limit": ("sessions", "--limit", "20"),
    "best": ("sessions", "--sort", "bytes", "--limit", "20"),
    "count": ("sessions", "--count"),
    "some": ("sessions", "--count", "--proto", "udp"),
    "by": ("sessions", "--by", "host"),
    "host": ("sessions", "--tsv", "--inside", HOST),
    "tsv": ("sessions", "--tsv"),
    "all": ("sessions", "--json"),
    "hosts": ("hosts", "--limit", "20"),
    "ports": ("ports",),
}
STEPS: Sequence[Mapping[str, Any]] = (  # of which the longest step is looked for
    {"packed": True}, {"packed": True, "sort": "bytes", "limit": 20}, {"by": "host"}, {"by": "port"},
    {"count": True, "proto": "udp"}, {"sort": "age", "limit": 5000},
)  # fmt: skip
CONNTRACK = {"all": ("-L",), "count": ("-C",), "host": ("-L", "-s", HOST)}


class AskingCost(NamedTuple):
    """Seconds until the answer was whole, and seconds of CPU that asking and answering took together."""

    wall: float
    cpu: float


def cost(argv: Sequence[str], daemon: int | None = None) -> AskingCost:
    """Of a process that asks, and of the daemon that answers. LabError if it failed."""
    before = busy(daemon) if daemon is not None else 0.0
    started = time.perf_counter()
    with tempfile.TemporaryFile() as talk:
        asking = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=talk)
        _, status, used = os.wait4(asking.pid, 0)
        asking.returncode = os.waitstatus_to_exitcode(status)
        if asking.returncode:
            talk.seek(0)
            said = talk.read(200).decode(errors="replace")
            raise LabError(f"{' '.join(argv[:6])}: exit code {asking.returncode}: {said}")
    wall = time.perf_counter() - started
    answering = busy(daemon) - before if daemon is not None else 0.0
    return AskingCost(wall, used.ru_utime + used.ru_stime + answering)


def words(gateway: AlgateGateway, question: str, host: str) -> list[str]:
    """The command line of a question."""
    return [
        *algate(), *(host if one == HOST else one for one in QUESTIONS[question]), "--run-dir", str(gateway.run_dir)
    ]  # fmt: skip


def ask(gateway: AlgateGateway, question: str, host: str, daemon: int) -> AskingCost:
    """What a question costs."""
    return cost(words(gateway, question, host), daemon)


def ask_conntrack(lab: Lab, question: str, host: str) -> AskingCost:
    """The same question to the kernel's own conntrack, in the gateway's namespace. LabError without the tool."""
    tool = shutil.which("conntrack")
    if tool is None:
        raise LabError("conntrack is missing: install Debian's conntrack (deploy/dev.sh setup test does)")
    return cost(lab.gw.command([tool, *(host if one == HOST else one for one in CONNTRACK[question])]))


def longest_step(folder: Path, args: Mapping[str, Any]) -> float:
    """Seconds of CPU of the longest step of a listing, between two turns of the daemon's loop, answer included: over
    the maps that a gateway pinned, as the daemon goes about it. Others' load doesn't count, as it does in a wait."""
    gateway = Programs(folder, 1, 1)  # both sizes are those of the pins
    try:
        running = SimpleNamespace(
            gateway=gateway, names={}, forwards=SimpleNamespace(cells=list),
            sweeper=SimpleNamespace(whereabouts=Whereabouts()),
        )  # fmt: skip
        return max(_steps(listings.sessions(cast(Running, running), dict(args))))
    finally:
        gateway.close()


def _steps(question: Coroutine[Any, Any, Any]) -> Iterator[float]:
    """CPU seconds of each step: the question's, then one for each piece of the answer."""
    pieces: Iterator[bytes] | None = None
    piece: bytes | None = b""
    while piece is not None:
        began = time.thread_time()
        if pieces is not None:
            piece = next(pieces, None)
        else:
            try:
                question.send(None)
            except StopIteration as done:
                pieces = messages.answer(done.value)
        yield time.thread_time() - began


def head(gateway: AlgateGateway) -> float:
    """Seconds of `algate sessions --tsv | head -1`. LabError if anything but the header is said."""
    started = time.perf_counter()
    with subprocess.Popen(words(gateway, "tsv", ""), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as listing:
        assert listing.stdout is not None and listing.stderr is not None
        first = listing.stdout.readline()
        listing.stdout.close()
        said = listing.stderr.read()
    if said or not first.startswith(b"id\t"):
        raise LabError(f"`sessions --tsv | head -1` isn't quiet: {said[:200]!r}")
    return time.perf_counter() - started


@contextlib.contextmanager
def others(gateway: AlgateGateway) -> Iterator[list[float]]:
    """Somebody else asks the daemon the least there is, again and again: how long each answer took."""
    waits: list[float] = []
    ended = threading.Event()

    def ask_on() -> None:
        while not ended.wait(0.002):
            began = time.perf_counter()
            Client(gateway.run_dir).ask("handover")
            waits.append(time.perf_counter() - began)

    thread = threading.Thread(target=ask_on)
    thread.start()
    try:
        yield waits
    finally:
        ended.set()
        thread.join()


def resident(process: int) -> int:
    """Bytes of memory that a process has."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def busy(process: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK


class Watched(NamedTuple):
    """`idle`: the part of a core that the daemon uses while nobody asks; `share`: what it and an `algate top` use
    together above that; `octets`: a second, that top's screen gets."""

    idle: float
    share: float
    octets: float


def watched(gateway: AlgateGateway, daemon: int) -> Watched:
    """A daemon without and with a `top`."""
    idle = _used((daemon,), TOP_SECONDS)
    with onlooking(gateway) as top:
        time.sleep(TOP_BEGINS)
        before = top.sent
        used = _used((daemon, top.process), TOP_SECONDS)
        return Watched(idle, max(0.0, used - idle), (top.sent - before) / TOP_SECONDS)


def _used(processes: Sequence[int], seconds: float) -> float:
    """The part of a core that they use together in the next seconds."""
    began, before = time.monotonic(), sum(map(busy, processes))
    time.sleep(seconds)
    return (sum(map(busy, processes)) - before) / (time.monotonic() - began)
