"""Opens a perf event that carries a program's output, or says why the kernel refuses it.

The law of this file: one system call. What comes through the event, and its memory, is ring.py's and buffer.py's.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
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


WATERMARK = 1 << 14  # flag: wake by bytes, not by samples
SET_OUTPUT = 0x2405  # ioctl PERF_EVENT_IOC_SET_OUTPUT
NEVER = (1 << 32) - 1  # bytes: more than any buffer has


def open_output(cpu: int, watermark: int = 0) -> int:
    """A descriptor of one CPU's output event. Each sample wakes its reader, or each `watermark` bytes of samples do: a
    wake-up costs the kernel more than the sample. OSError as the system call says."""
    number = NUMBERS.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"perf_event_open has no known number on {platform.machine()}")
    # type, size, config, sample_period, sample_type, read_format, flags, wakeup_events or wakeup_watermark
    wake = (WATERMARK, watermark) if watermark else (0, 1)
    attributes = struct.pack("=IIQQQQQI", SOFTWARE, ATTR_SIZE, BPF_OUTPUT, 1, RAW, 0, *wake).ljust(ATTR_SIZE, b"\0")
    libc = ctypes.CDLL(None, use_errno=True)
    fd = int(libc.syscall(number, attributes, -1, cpu, -1, CLOEXEC))
    if fd < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return fd


def open_quiet(cpu: int, output: int) -> int:
    """A descriptor of another event of that CPU, which writes into the buffer of `output`, mapped already, in its
    order, and wakes nobody: its samples are read with the next one of `output`, or once the buffer is half full."""
    fd = open_output(cpu, NEVER)
    try:
        fcntl.ioctl(fd, SET_OUTPUT, output)
    except OSError:
        os.close(fd)
        raise
    return fd


def refusal() -> str | None:
    """None if a perf ring can be opened, else why not and what to do."""
    try:
        os.close(open_output(min(os.sched_getaffinity(0))))
    except OSError as error:
        level = PARANOID.read_text().strip() if PARANOID.exists() else ""
        if error.errno == errno.EACCES and level.isdigit() and int(level) > 2:
            # Debian's and Ubuntu's kernels ask for CAP_SYS_ADMIN then; the kernel's own levels end at 2.
            return (
                f"kernel.perf_event_paranoid is {level}: run `sysctl kernel.perf_event_paranoid=2`, "
                "or with CAP_SYS_ADMIN"
            )
        if error.errno == errno.ENOSYS:
            return error.strerror
        return f"the kernel refuses a perf ring ({error.strerror}): CAP_PERFMON is needed"
    return None


def need() -> None:
    """AlgateError (exit code 3) if a perf ring can't be opened."""
    why = refusal()
    if why is not None:
        raise AlgateError(why, UNSUPPORTED)
