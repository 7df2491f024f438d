"""The demo's run: both sides, four modes, one file down and one up in each, and what was seen of it.

The law of this file: it runs and reports, it draws nothing; `progress` is told what is going on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from algate.alg.rows import Row
from algate.cli.lab.gateways import LabGateway
from algate.cli.lab.host import PATIENCE
from algate.cli.lab.judge import InsideEnd, Mode, TrialFinding
from algate.cli.lab.lab import Lab
from algate.cli.lab.observer import Observer
from algate.cli.lab.transfers import Operation
from algate.cli.lab.trial import FtpWay, Result, TrialStage

SIZE = 32 << 20  # bytes of each file
SECONDS = 6.0 * PATIENCE  # s that a client waits
DEADLINE = 40.0 * PATIENCE  # s after which no more rows start, so that a broken gateway shows within a minute


@dataclass(frozen=True, slots=True)
class DemoRow(Row):
    """`side`: who is inside. `public_port`: its port as seen outside. `bytes` down and up; `rate` in bytes/s."""

    side: str
    mode: str
    inside_line: str
    outside_line: str
    public_port: int | None
    expectation: str
    data: str
    bytes: int
    rate: float
    sha256_ok: bool
    ok: bool


@dataclass(frozen=True)
class Act:
    """A row with what was wrong about it."""

    row: DemoRow
    problems: tuple[str, ...]


Steps = tuple[tuple[FtpWay, InsideEnd, tuple[Mode, ...]], ...]
Progress = Callable[[str, str, str], None]
STEPS: Steps = tuple((FtpWay.FOUR, side, tuple(Mode)) for side in InsideEnd)
STEPS6: Steps = (
    *((FtpWay.SIX, side, (Mode.EPRT, Mode.EPSV)) for side in InsideEnd),
    (FtpWay.NAT64, InsideEnd.CLIENT, (Mode.EPRT, Mode.EPSV)),
)  # fmt: skip
CONFIG6 = """
[ipv6]
filter = true
[[allow_in]]
proto = "tcp"
port = 21
to = "{client}"
[nat64]
prefix = "{prefix}"
"""


def run(lab: Lab, gateway: LabGateway, server: str, progress: Progress, steps: Steps = STEPS) -> Iterator[Act]:
    """One act per side and mode, in order."""
    content = os.urandom(SIZE)
    end = time.monotonic() + DEADLINE
    with Observer(gateway) as observer:
        for way, side, modes in steps:
            with TrialStage(lab, side, server, way) as stage:
                for mode in modes:
                    in_time = time.monotonic() < end
                    yield act(stage, observer, mode, content, progress) if in_time else late(stage, mode)


def named(way: FtpWay, mode: Mode) -> str:
    """The mode as the table has it."""
    return str(mode) if way is FtpWay.FOUR else f"{mode} {way}"


def act(stage: TrialStage, observer: Observer, mode: Mode, content: bytes, progress: Progress) -> Act:
    """Down and up in one mode."""
    results: list[Result] = []
    problems: list[str] = []
    for operation, word in ((Operation.GET, "down"), (Operation.PUT, "up")):
        progress(stage.side, named(stage.way, mode), word)
        result = stage.trial("curl", mode, operation, content, SECONDS)
        results.append(result)
        problems += [f"{word}: {problem}" for problem in result.problems]
    observer.look()
    findings = [finding for result in results for finding in result.findings]
    first = findings[0] if findings else None
    if first is not None and observer.speaks:
        problems += [f"no {what} was seen" for what, text in _voices(observer, first) if not text]
    size, seconds = sum(f.size for f in findings), sum(f.seconds for f in findings)
    row = DemoRow(
        side=stage.side,
        mode=named(stage.way, mode),
        inside_line=first.inside_line if first else "",
        outside_line=first.outside_line if first else "",
        public_port=first.public_port if first else None,
        expectation=observer.expectation(first) if first else "",
        data=_data(observer, first) if first else "",
        bytes=size,
        rate=round(size / seconds, 1) if seconds else 0.0,
        sha256_ok=all(result.content_equal for result in results),
        ok=not problems,
    )
    return Act(row, tuple(problems))


def late(stage: TrialStage, mode: Mode) -> Act:
    """The row of an act that wasn't started in time."""
    row = DemoRow(stage.side, named(stage.way, mode), "", "", None, "", "", 0, 0.0, False, False)
    return Act(row, (f"not started: {DEADLINE:g} s had passed",))


def _voices(observer: Observer, finding: TrialFinding) -> tuple[tuple[str, str], ...]:
    return ("expectation", observer.expectation(finding)), ("related data session", observer.data(finding))


def _data(observer: Observer, finding: TrialFinding) -> str:
    path = f"{finding.inside_peer} ↔ {finding.public_peer} ↔ {finding.outside_peer}"
    session = observer.data(finding)
    return f"{path}, session {session}" if session else path
