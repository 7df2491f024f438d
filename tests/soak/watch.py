"""What is watched during a soak: the tables, the daemon's memory and descriptors, sessions that must live.

The law of this file: it looks and notes; the verdict is in __main__.py.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import NamedTuple, Self

from algate.alg.admin import live
from algate.alg.findings import BrokenRow
from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.lab import Lab
from tests.netns.talk import Line

OLD = 10  # connections that are open all the time
PATIENCE = 15.0  # s until an answer; TCP repeats in between


class Sample(NamedTuple):
    """Of a daemon. Memory in MiB."""

    pid: int
    memory: float
    descriptors: int


def sample(gateway: AlgateGateway) -> Sample:
    """Now."""
    assert gateway.process is not None
    pid = gateway.process.pid
    status = Path(f"/proc/{pid}/status").read_text()
    memory = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return Sample(pid, memory / 1024, len(list(Path(f"/proc/{pid}/fd").iterdir())))


def tables(gateway: AlgateGateway) -> list[BrokenRow]:
    """What `check --live` says."""
    return live.check(gateway.run_dir)


def translating(gateway: AlgateGateway, seconds: float) -> bool:
    """Whether it says so within that time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(Exception):
            if gateway.ask("status")["state"] == "translating":
                return True
        time.sleep(0.05)
    return False


class Elders:
    """Connections that were opened at the beginning and must be there at the end."""

    def __init__(self, lab: Lab, echo: int) -> None:
        self._lines = [Line(lab.client, lab.plan.servers[0], echo) for _ in range(OLD)]
        for one in self._lines:
            one.socket.settimeout(PATIENCE)

    def lost(self) -> int:
        """How many no longer answer."""
        for one in list(self._lines):
            try:
                alive = one.ask(b"alive") == b"alive"
            except OSError:
                alive = False
            if not alive:
                self._lines.remove(one)
                one.close()
        return OLD - len(self._lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._lines:
            one.close()
