"""Run a soak and judge it: `python -m tests.soak --minutes N [--seed S]`. Exit code 1: something speaks against it.

The law of this file: faults come at random, with quiet times in between, in which everything must work, the tables must
agree, and memory and descriptors must be what they were.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from algate.alg.errors import AlgateError
from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.lab import Lab
from algate.cli.lab.servers import start_server
from tests.netns.talk import Echo
from tests.soak.faults import TROUBLES, Trouble
from tests.soak.load import Load
from tests.soak.watch import Elders, Sample, sample, tables, translating

ECHO = 7007
QUIET = (4.0, 9.0)  # s between two faults
MEND = 20.0  # s that a gateway may take to translate again
GROWN = 24.0  # MiB that a daemon may have more than a young one
DESCRIPTORS = 12  # as above; operators' requests come and go
CONFIG = "[timeouts]\ntcp_transitory = 20\nudp = 20\n[nat]\nhold_down = 20\n[alg.ftp]\nports = [21, 2121]\n"


@dataclass
class Told:
    """What a soak found. `mended`: the longest time by fault, in s."""

    times: Counter[str] = field(default_factory=Counter)
    mended: dict[str, float] = field(default_factory=dict)
    against: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    checks: int = 0
    lost: int = 0
    sessions: str = ""


def one_fault(gateway: AlgateGateway, load: Load, elders: Elders, trouble: Trouble, told: Told) -> None:
    """Do it, wait until it is mended, and see what it cost."""
    note_lost(elders, told, "at a quiet time")
    load.disturb(True)
    began = time.monotonic()
    told.times[trouble.name] += 1
    try:
        trouble.act(gateway)
    except (AlgateError, OSError, subprocess.SubprocessError) as error:
        told.against.append(f"{trouble.name}: {error}")
        if gateway.process is None or not gateway.process.alive():
            gateway.start()
    if not translating(gateway, MEND):
        told.against.append(f"{trouble.name}: not translating after {MEND:g} s")
    took = time.monotonic() - began
    told.mended[trouble.name] = max(took, told.mended.get(trouble.name, 0.0))
    note_lost(elders, told, trouble.name)
    load.disturb(False)


def note_lost(elders: Elders, told: Told, when: str) -> None:
    """Old connections that no longer answer speak against the gateway, once each."""
    lost = elders.lost()
    if lost > told.lost:
        told.against.append(f"{when}: {lost - told.lost} old connections lost")
        told.lost = lost


def look(gateway: AlgateGateway, told: Told, after: str) -> None:
    """At a quiet time."""
    told.checks += 1
    told.against += [f"after {after}: {one.detail}" for one in tables(gateway)]
    told.samples.append(sample(gateway))


def soak(minutes: float, dice: random.Random) -> tuple[Told, Load]:
    """Run it."""
    told = Told()
    with Lab() as lab, Echo(lab.server, ECHO), AlgateGateway(lab, config=CONFIG) as gateway:
        servers = [start_server("vsftpd", lab.server)]
        load = Load(lab, servers, ECHO, dice)
        with Elders(lab, ECHO) as elders, load:
            end = time.monotonic() + minutes * 60
            bag: list[Trouble] = []
            last = "the start"
            while time.monotonic() < end:
                time.sleep(dice.uniform(*QUIET))
                look(gateway, told, last)
                bag = bag or dice.sample(TROUBLES, len(TROUBLES))
                trouble = bag.pop()
                say(f"{trouble.name}; {sum(load.done.values())} done, {len(load.errors)} failed")
                one_fault(gateway, load, elders, trouble, told)
                last = trouble.name
            time.sleep(QUIET[0])
        time.sleep(QUIET[0])
        look(gateway, told, "the end")
        stats = gateway.ask("stats")
        made, ended = (int(stats[f"algate_sessions_{word}_total"]) for word in ("created", "ended"))
        told.sessions = f"{made} sessions created = {ended} ended + {made - ended} live"
    return told, load


def judge(told: Told, load: Load) -> list[str]:
    """Everything that speaks against the gateway."""
    against = [*told.against, *load.errors[:20]]
    first: dict[int, Sample] = {}
    young = told.samples[0]
    for one in told.samples:
        first.setdefault(one.pid, one)
        if one.memory > young.memory + GROWN:
            against.append(f"memory grew from {young.memory:.0f} to {one.memory:.0f} MiB")
        if one.descriptors > young.descriptors + DESCRIPTORS:
            against.append(f"descriptors grew from {young.descriptors} to {one.descriptors}")
    if not sum(load.done.values()):
        against.append("nothing was transferred at all")
    return against


def table(told: Told, load: Load, against: list[str]) -> str:
    """The summary."""
    lines = [f"{'fault':<28} {'times':>5} {'mended within':>14}"]
    lines += [f"{name:<28} {times:>5} {told.mended[name]:>12.1f} s" for name, times in sorted(told.times.items())]
    lines += ["", f"{'traffic':<28} {'done':>7} {'failed':>7} {'during faults':>14}"]
    kinds = sorted({*load.done, *load.failed, *load.excused})
    lines += [f"{one:<28} {load.done[one]:>7} {load.failed[one]:>7} {load.excused[one]:>14}" for one in kinds]
    low, high = min(told.samples, key=lambda one: one.memory), max(told.samples, key=lambda one: one.memory)
    least, most = min(one.descriptors for one in told.samples), max(one.descriptors for one in told.samples)
    lines += [
        "",
        f"tables checked {told.checks} times; "
        f"daemon {low.memory:.0f} to {high.memory:.0f} MiB, {least} to {most} files",
    ]
    lines += [told.sessions]
    lines += [f"AGAINST: {one}" for one in against]
    return "\n".join([*lines, f"soak: {'failed' if against else 'passed'}"])


def say(text: str) -> None:
    print(f"soak: {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def main() -> int:
    """As a command."""
    asked = argparse.ArgumentParser(prog="deploy/dev.sh soak", description=__doc__)
    asked.add_argument("--minutes", type=float, default=30.0)
    asked.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    given = asked.parse_args()
    say(f"seed {given.seed}, {given.minutes:g} minutes")
    told, load = soak(given.minutes, random.Random(given.seed))
    against = judge(told, load)
    print(table(told, load, against))
    return 1 if against else 0


if __name__ == "__main__":
    sys.exit(main())
