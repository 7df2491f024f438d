"""A sample of FTP sessions: the clients of ftp_drive.c, and what they print.

The law of this file: it runs the clients and reads their numbers; what those are figures of is decided elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from algate.cli.bench.ftp_servers import BenchServer
from algate.cli.bench.native import build
from algate.cli.lab.lab import Lab

SLACK = 40  # s for sessions under way at the end of a sample, each of which may take 10 s


@dataclass(frozen=True, slots=True)
class Driven:
    """What ftp_drive did: sessions (or commands), seconds, failed sessions, its CPU seconds; ascending ns of the
    exchanges and of whole sessions."""

    count: int
    seconds: float
    failures: int
    cpu: float
    times: tuple[int, ...]
    sessions: tuple[int, ...]


def read_driven(text: str) -> Driven:
    """From the three lines that ftp_drive prints. ValueError if they are something else."""
    first, second, third = text.removesuffix("\n").split("\n")
    count, seconds, failures, cpu = first.split()
    times, sessions = (tuple(sorted(map(int, line.split()))) for line in (second, third))
    return Driven(int(count), float(seconds), int(failures), float(cpu), times, sessions)


class Drive:
    """Drives sessions from the lab's client to its server's port 21."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.program = build(lab.folder, "ftp_drive")

    def run(
        self, server: BenchServer, mode: str, clients: int, seconds: float, enough: int = 0, *, target: str = ""
    ) -> Driven | str:
        """A sample of `seconds`, or until `enough` sessions have ended: the result, or why it doesn't count.

        `target`: the server's address as the client has it, if it has another.
        """
        login = server.login
        argv = [str(self.program), target or self.lab.plan.servers[0], "21", str(clients), str(seconds), mode]
        done = self.lab.client.run([*argv, login.user, login.password, str(enough)], timeout=seconds + SLACK)
        if done.returncode != 0:
            return (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
        driven = read_driven(done.stdout)
        if driven.failures:
            return f"{driven.failures} sessions failed, {driven.count} didn't; the first {done.stderr.strip()}"
        if not driven.times:
            return "no exchange finished"
        return driven if driven.count else f"no session finished in {seconds} s"
