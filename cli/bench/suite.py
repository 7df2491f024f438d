"""The whole run: every group, round by round, and the machine it ran on.

The law of this file: order and bookkeeping; it measures nothing itself.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

from algate.alg.answers import SCHEMA
from algate.cli.bench.contenders import MEANING, example_config
from algate.cli.bench.failover import STEPS as PAIR_STEPS
from algate.cli.bench.failover import FailoverBench
from algate.cli.bench.ftp import FtpBench
from algate.cli.bench.million import MillionBench
from algate.cli.bench.newcomers import GATEWAYS as NEW_GATEWAYS
from algate.cli.bench.newcomers import NewBench
from algate.cli.bench.packets import GATEWAYS as PACKET_GATEWAYS
from algate.cli.bench.packets import RATE, PacketBench
from algate.cli.bench.paths import PathBench
from algate.cli.bench.plan import FTP, HA, MILLION, NEW, PACKETS, SIX, STREAMS, TESTRUN, Plan
from algate.cli.bench.record import Record
from algate.cli.bench.six import NEWS, SixBench
from algate.cli.bench.streams import GATEWAYS as STREAM_GATEWAYS
from algate.cli.bench.streams import StreamBench
from algate.cli.bench.targets import Verdict

Progress = Callable[[str, int, int], None]
"""Called with the title of what starts, how many steps are done, and of how many."""


class Bench(Protocol):
    """A group of figures."""

    def steps(self, number: int) -> Any: ...


MAKERS: dict[str, Any] = {
    TESTRUN: PathBench,
    PACKETS: PacketBench,
    MILLION: MillionBench,
    NEW: NewBench,
    SIX: SixBench,
    STREAMS: StreamBench,
    FTP: FtpBench,
    HA: FailoverBench,
}
STEPS = {
    TESTRUN: 1,
    PACKETS: len(PACKET_GATEWAYS) + 1,
    MILLION: len(MillionBench.gateways) + 1,
    NEW: len(NEW_GATEWAYS),
    SIX: len(NEWS) + 3,
    STREAMS: len(STREAM_GATEWAYS),
    HA: PAIR_STEPS,
    FTP: 1,  # and one for each server
}


def run(plan: Plan, record: Record, progress: Progress) -> None:
    """Run all rounds. What was measured stays in `record` even if this raises."""
    whole, done = plan.rounds * (sum(STEPS[name] for name in plan.groups) + (FTP in plan.groups) * len(plan.servers)), 0
    with ExitStack() as stack:
        benches: list[Bench] = [MAKERS[name](plan, record, stack) for name in plan.groups]
        for number in range(plan.rounds):
            for bench in benches:
                for title, act in bench.steps(number):
                    progress(f"round {number + 1}  {title}", done, whole)
                    started = time.monotonic()
                    act()
                    record.took[title] = record.took.get(title, 0.0) + time.monotonic() - started
                    done += 1


def machine() -> dict[str, Any]:
    """The machine that this was measured on."""
    text = Path("/proc/cpuinfo").read_text()
    model = next((line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")), "")
    return {
        "kernel": platform.release(),
        "cpus": len(os.sched_getaffinity(0)),
        "cpu": model,
        "load": os.getloadavg(),
        "python": platform.python_version(),
    }


def as_dict(plan: Plan, record: Record, verdicts: list[Verdict], where: dict[str, Any]) -> dict[str, Any]:
    """What goes into the JSON."""
    return {
        "schema": SCHEMA,
        "machine": where,
        "plan": {"rounds": plan.rounds, "groups": plan.groups, "quick": plan.quick, "packets_per_second": RATE},
        "gateways": MEANING,
        "configuration": example_config(),
        "took": {title: round(seconds, 1) for title, seconds in record.took.items()},
        "figures": record.as_dict(),
        "targets": [
            {
                "target": one.target.title, "wanted": one.wanted, "verdict": one.word,
                "reached": one.reached.median if one.reached.usable else None,
                "min": one.reached.least if one.reached.usable else None,
                "max": one.reached.most if one.reached.usable else None,
                "why_not": one.reached.refusal or None,
                "beside": one.beside.median if one.beside and one.beside.usable else None,
            }
            for one in verdicts
        ],
    }  # fmt: skip
