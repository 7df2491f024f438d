"""One network namespace of a lab: run, spawn and open sockets in it.

The law of this file: it knows namespaces and processes, not topologies, gateways or FTP. A namespace is entered with
`nsenter --net` (never `ip netns exec`, whose private /sys hides the host's bpffs) or, for one call, in a thread that
joins it and ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from algate.alg.errors import AlgateError

T = TypeVar("T")
# Every wait of the lab is that many times longer: for machines that are emulated (vagrant/matrix.sh) or overloaded.
PATIENCE = max(1.0, float(os.environ.get("ALGATE_PATIENCE", "1")))
CLONE_NEWNET = 0x40000000  # linux/sched.h; Python has os.setns from 3.12 on


class LabError(AlgateError):
    """A lab can't be built, or one of its programs doesn't start: one line that says what, where and what to do."""


def call_in(netns: str, function: Callable[[], T]) -> T:
    """Call `function()` in the namespace; a socket that it opens stays there. Raises what `function` raises."""
    result: list[T] = []
    failure: list[BaseException] = []

    def body() -> None:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            fd = os.open(f"/run/netns/{netns}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                if libc.setns(fd, CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), f"cannot enter namespace {netns}")
            finally:
                os.close(fd)
            result.append(function())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


class Spawned:
    """A process of the lab, in its own session; its output goes to `log`."""

    def __init__(self, name: str, process: subprocess.Popen[str], log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    @property
    def pid(self) -> int:
        return self.process.pid

    def alive(self) -> bool:
        return self.process.poll() is None

    def tail(self, lines: int = 3) -> str:
        """The last lines of its log as one line."""
        with contextlib.suppress(OSError):
            return " / ".join(self.log.read_text(errors="replace").strip().splitlines()[-lines:])
        return ""

    def stop(self, timeout: float = 5.0) -> int:
        """Send SIGTERM, and SIGKILL after `timeout` s; its children end with it. Returns the exit status."""
        if self.alive():
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout * PATIENCE)
        self.kill()
        return self.process.returncode

    def kill(self) -> None:
        """Send SIGKILL to the process and all that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()


class Host:
    """A namespace, with the address that the others know it by."""

    def __init__(self, name: str, netns: str, address: str, device: str, folder: Path) -> None:
        self.name = name
        self.netns = netns
        self.address = address
        self.device = device
        self.folder = folder
        self.processor: int | None = None  # all that is run here has this one alone
        self.spawned: list[Spawned] = []

    def command(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` in this namespace, from anywhere."""
        bound = [] if self.processor is None else ["taskset", "--cpu-list", str(self.processor)]
        return ["nsenter", f"--net=/run/netns/{self.netns}", "--", *bound, *argv]

    def run(
        self,
        argv: Sequence[str],
        *,
        text: str = "",
        timeout: float = 60.0,
        check: bool = False,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end; returns stdout and stderr as text. After `timeout` s it is killed and the code is 124."""
        process = subprocess.Popen(
            self.command(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            cwd=cwd,
            env=dict(env) if env is not None else None,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(text, timeout * PATIENCE)
            code = process.returncode
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            code, err = 124, f"{err}\nstopped after {timeout * PATIENCE:g} s"
        if check and code != 0:
            raise LabError(f"{self.name}: {' '.join(argv)}: {err.strip() or out.strip() or f'exit {code}'}")
        return subprocess.CompletedProcess(list(argv), code, out, err)

    def spawn(
        self,
        name: str,
        argv: Sequence[str],
        *,
        pipe: bool = False,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Spawned:
        """Start it and return; with `pipe`, stdout is a pipe and only stderr goes to the log."""
        log = self.folder / f"{self.name}-{name}-{len(self.spawned)}.log"
        with log.open("w") as sink:
            process = subprocess.Popen(
                self.command(argv),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipe else sink,
                stderr=sink,
                text=True,
                cwd=cwd,
                env=dict(env) if env is not None else None,
                start_new_session=True,
            )
        spawned = Spawned(name, process, log)
        self.spawned.append(spawned)
        return spawned

    def socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM, proto: int = 0) -> socket.socket:
        """A socket that lives in this namespace."""
        return call_in(self.netns, lambda: socket.socket(family, kind, proto))

    def sysctl(self, key: str, value: str | None = None) -> str:
        """Read, or write and read back, the `net.` sysctl `key` (dots or slashes) of this namespace."""
        path = Path("/proc/sys/net") / (key if "/" in key else key.replace(".", "/"))

        def act() -> str:
            if value is not None:
                path.write_text(value)
            return path.read_text().strip()

        return call_in(self.netns, act)

    def wait_port(self, port: int, timeout: float = 10.0, alive: Callable[[], bool] = lambda: True) -> bool:
        """True once something here listens on the TCP port; False after `timeout` s or when `alive` says no."""
        wanted = f":{port:04X}"

        def listening() -> bool:
            text = Path("/proc/thread-self/net/tcp").read_text() + Path("/proc/thread-self/net/tcp6").read_text()
            rows = (line.split() for line in text.splitlines())
            return any(len(row) > 3 and row[1].endswith(wanted) and row[3] == "0A" for row in rows)

        end = time.monotonic() + timeout * PATIENCE
        while time.monotonic() < end and alive():
            if call_in(self.netns, listening):
                return True
            time.sleep(0.02)
        return False

    def stop_all(self) -> None:
        """End everything spawned here, latest first."""
        for spawned in reversed(self.spawned):
            spawned.kill()
        self.spawned.clear()
