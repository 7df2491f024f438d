"""The FTP servers of the bench, without the waits that are their own, and what CPU they take.

The law of this file: how a server is made one that a gateway can be measured with. What is taken out, since it
would hide the gateway's share or pass for it:

- pyftpdlib runs with a thread per session: its single loop accepts no data connection while it makes one itself.
- proftpd's daemon sleeps 200 ms after each session that ended (unhindered.c); it asks no DNS (servers.py).
- vsftpd's queue of connections to accept has 32 places, and a client beyond waits a second or two for its next SYN
  (unhindered.c). It also sleeps 1 to 2 s where port 20 is in use, which its SO_REUSEADDR lets happen to nobody here.
- vsftpd lingers on close until the peer has acknowledged, up to 40 ms: the client closes once it sees the end, which
  acknowledges.
- Neither end keeps more than 64 connections in TIME-WAIT, which would use up its ports.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from algate.cli.bench.native import build
from algate.cli.lab.host import Host, LabError, Spawned
from algate.cli.lab.servers import ANONYMOUS, Login, start_server

MINIMAL = "minimal"
TICK = os.sysconf("SC_CLK_TCK")
_FIELDS_TO_UTIME = (
    11  # of /proc/PID/stat behind the name: utime, stime, and those of the children that it has waited for
)


@dataclass(frozen=True)
class BenchServer:
    """A running server; a context manager that ends it."""

    kind: str
    process: Spawned
    login: Login

    def cpu(self) -> float:
        """CPU seconds so far, with those of the children that have ended."""
        with suppress(OSError):
            return cpu_of_stat(Path(f"/proc/{self.process.pid}/stat").read_text())
        return 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.stop()


class BenchServers:
    """Starts them on one host; what they need is built in `folder`."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.host = host
        self.serve = build(folder, "ftp_serve")
        self.unhindered = build(folder, "unhindered", shared=True)

    def start(self, kind: str) -> BenchServer:
        """LabError if it doesn't listen."""
        if kind != MINIMAL:
            env = {**os.environ, "LD_PRELOAD": str(self.unhindered)}
            started = start_server(kind, self.host, threads=True, env=env)
            return BenchServer(kind, started.process, started.login)
        process = self.host.spawn("ftp_serve", [str(self.serve), "21"])
        if not self.host.wait_port(21, alive=process.alive):
            raise LabError(f"the minimal FTP server isn't listening: {process.tail()}")
        return BenchServer(kind, process, ANONYMOUS)


def cpu_of_stat(stat: str) -> float:
    """Seconds of user and system time of a process and its ended children, from the text of /proc/PID/stat."""
    fields = stat.rpartition(")")[2].split()
    return sum(int(field) for field in fields[_FIELDS_TO_UTIME : _FIELDS_TO_UTIME + 4]) / TICK


def make_room(host: Host) -> None:
    """Ports for thousands of sessions per second, which connections in TIME-WAIT must not use up."""
    host.sysctl("ipv4/ip_local_port_range", "1024 65535")
    host.sysctl("ipv4/tcp_max_tw_buckets", "64")
