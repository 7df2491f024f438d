"""Which labs exist on this machine: one file each, so that the next start can remove what a killed one left.

The law of this file: it removes a lab using only its record (namespaces, processes inside them, folder, undo commands)
and never touches what no record names. It doesn't build anything.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

RECORDS = Path("/run/algate-lab")


@dataclass
class LabRecord:
    """A lab, as described by its file under /run/algate-lab. `started`: the owner's start time in clock ticks."""

    tag: str
    pid: int
    started: int
    folder: str
    namespaces: list[str] = field(default_factory=list)
    undo: list[list[str]] = field(default_factory=list)  # command lines to run first, latest first
    keep: bool = False

    @property
    def path(self) -> Path:
        return RECORDS / f"{self.tag}.json"

    def save(self) -> None:
        RECORDS.mkdir(mode=0o700, exist_ok=True)
        draft = self.path.with_suffix(".new")
        draft.write_text(json.dumps(asdict(self)))
        draft.replace(self.path)

    def remove(self) -> None:
        """Remove all that the lab made. Safe to call again."""
        for name in self.namespaces:
            end_processes(name)
        for argv in reversed(self.undo):
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=20)
        for name in self.namespaces:
            if Path(f"/run/netns/{name}").exists():
                subprocess.run(["ip", "netns", "del", name], capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.path.unlink(missing_ok=True)


def start_time(pid: int) -> int:
    """When the process started, in clock ticks since boot; 0 if there is none (the pid may have been reused by now)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[19])


def end_processes(netns: str, rounds: int = 20) -> None:
    """Send SIGKILL to every process inside a lab's namespace."""
    for _ in range(rounds):
        listed = subprocess.run(["ip", "netns", "pids", netns], capture_output=True, text=True)
        pids = [int(word) for word in listed.stdout.split() if int(word) != os.getpid()]
        if not pids:
            return
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def records() -> list[LabRecord]:
    """All labs of this machine that have a readable record."""
    found = []
    for path in sorted(RECORDS.glob("*.json")):
        with contextlib.suppress(OSError, ValueError, TypeError):
            found.append(LabRecord(**json.loads(path.read_text())))
    return found


def sweep() -> list[str]:
    """Remove the labs whose owner is gone and that weren't meant to stay; returns their tags."""
    gone = [r for r in records() if not r.keep and (r.started == 0 or start_time(r.pid) != r.started)]
    for record in gone:
        record.remove()
    return [record.tag for record in gone]
