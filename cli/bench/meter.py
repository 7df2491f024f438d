"""What a gateway costs: CPU time of the kernel threads that poll its devices.

The law of this file: it reads /proc and gives nanoseconds. All that happens to a packet between its arrival at a device
and the peer's ring runs in the thread `napi/DEVICE-ID` once the device is in threaded mode (BCC-NOTES, "Measuring").
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile(r"napi/(?P<device>.+)-\d+")


@dataclass(frozen=True, slots=True)
class PollThread:
    """A kernel thread that polls a device."""

    pid: int
    device: str

    def busy(self) -> int:
        """CPU time so far, ns; 0 if it is gone."""
        return cpu_time(Path(f"/proc/{self.pid}/schedstat").read_text()) if self.alive() else 0

    def prefer(self, cpu: int) -> None:
        """Run it on this CPU, ahead of everything that isn't real-time: other work must not cost packets."""
        with contextlib.suppress(OSError):
            os.sched_setaffinity(self.pid, {cpu})
            os.sched_setscheduler(self.pid, os.SCHED_FIFO, os.sched_param(1))

    def alive(self) -> bool:
        return Path(f"/proc/{self.pid}/schedstat").exists()


def cpu_time(schedstat: str) -> int:
    """ns on a CPU, from the text of /proc/PID/schedstat."""
    return int(schedstat.split()[0])


def softirq_time() -> float:
    """CPU seconds that the machine has spent in interrupts and soft interrupts, by the kernel's ticks."""
    return softirq_of_stat(Path("/proc/stat").read_text())


def softirq_of_stat(stat: str) -> float:
    """The same, from the text of /proc/stat."""
    fields = stat.split("\n", 1)[0].split()
    return (int(fields[6]) + int(fields[7])) / os.sysconf("SC_CLK_TCK")


def device_of(comm: str) -> str | None:
    """The device that a kernel thread of this name polls, None for any other thread."""
    match = _NAME.fullmatch(comm.strip())
    return match["device"] if match else None


def poll_threads() -> set[PollThread]:
    """All poll threads of this machine: several namespaces may have devices of the same name."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            device = device_of(path.read_text())
            if device:
                found.add(PollThread(int(path.parent.name), device))
    return found
