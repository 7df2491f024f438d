"""Whether the kernel lets this process open a perf ring, asked before libbcc is: refused, it crashes (measured, 0.26).

The law of this file: one system call, tried and undone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from pathlib import Path

from algate.bpf.errors import UNSUPPORTED, AlgateError

NUMBERS = {"x86_64": 298, "aarch64": 241, "riscv64": 241, "s390x": 331, "ppc64le": 319}  # of perf_event_open(2)
SOFTWARE, BPF_OUTPUT, RAW = 1, 10, 1 << 10
CLOEXEC = 8
ATTR_SIZE = 112  # PERF_ATTR_SIZE_VER5, Linux 4.1
PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")


def refusal() -> str | None:
    """None if a perf ring can be opened, else why not and what to do."""
    number = NUMBERS.get(platform.machine())
    if number is None:
        return None  # unknown here: let the library try
    attributes = struct.pack("=IIQQQ", SOFTWARE, ATTR_SIZE, BPF_OUTPUT, 1, RAW).ljust(ATTR_SIZE, b"\0")
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(number, attributes, -1, min(os.sched_getaffinity(0)), -1, CLOEXEC)
    if fd >= 0:
        os.close(fd)
        return None
    error = ctypes.get_errno()
    level = PARANOID.read_text().strip() if PARANOID.exists() else ""
    if error == errno.EACCES and level.isdigit() and int(level) > 2:
        # Debian's and Ubuntu's kernels ask for CAP_SYS_ADMIN then; the kernel's own levels end at 2.
        return (
            f"kernel.perf_event_paranoid is {level}: run `sysctl kernel.perf_event_paranoid=2`, or with CAP_SYS_ADMIN"
        )
    return f"the kernel refuses a perf ring ({os.strerror(error)}): CAP_PERFMON is needed"


def need() -> None:
    """AlgateError (exit code 3) if a perf ring can't be opened."""
    why = refusal()
    if why is not None:
        raise AlgateError(why, UNSUPPORTED)
