"""Mixed traffic that never pauses: real FTP clients, a crowd of control sessions, connections and datagrams.

The law of this file: it works and counts. What fails while something is being done to the gateway is counted apart:
only what fails at quiet times, and what was open before and is lost, speaks against the gateway.
"""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Self

from algate.cli.lab.host import LabError
from algate.cli.lab.judge import Mode
from algate.cli.lab.lab import Lab
from algate.cli.lab.servers import FtpServer
from algate.cli.lab.transfers import ClientOrder, Errand, Operation, carry_out, order
from tests.netns import multitude
from tests.netns.talk import Line

CLIENTS = ("curl", "lftp", "ftplib")
CROWD, CROWD_PORT = 40, 2121  # control sessions at a time, on a server of their own
ENDS = ("quit", "close", "reset")
GRACE = 3.0  # s after a fault is mended, in which what was begun during it may still fail


class Load:
    """From entry to exit. `quiet` says whether nothing is being done to the gateway; `done` and `failed` count by kind,
    `excused` what failed during a fault; `errors` are the words of those that count."""

    def __init__(self, lab: Lab, servers: list[FtpServer], echo: int, dice: random.Random) -> None:
        self.done, self.failed, self.excused = Counter[str](), Counter[str](), Counter[str]()
        self.errors: list[str] = []
        self._lab, self._servers, self._echo, self._dice = lab, servers, echo, dice
        self._stop = threading.Event()
        self._disturbed_until = 0.0
        self._threads: list[threading.Thread] = []
        self._content = dice.randbytes(300_000)
        for one in servers:
            (one.pub / "file").write_bytes(self._content)

    def disturb(self, on: bool) -> None:
        """A fault begins, or is mended."""
        self._disturbed_until = float("inf") if on else time.monotonic() + GRACE

    def _turn(self, kind: str, act: Callable[[], None]) -> None:
        began = time.monotonic()
        try:
            act()
            self.done[kind] += 1
        except (OSError, ValueError, LabError, subprocess.SubprocessError) as error:
            if began < self._disturbed_until or time.monotonic() < self._disturbed_until:
                self.excused[kind] += 1
            elif not self._stop.is_set():
                self.failed[kind] += 1
                self.errors.append(f"{kind}: {type(error).__name__}: {error}")

    def _repeat(self, kind: str, act: Callable[[], None], pause: float) -> None:
        while not self._stop.is_set():
            self._turn(kind, act)
            self._stop.wait(pause)

    def _transfer(self, client: str, number: int) -> None:
        """One errand of a real client, and its content compared."""
        server = self._dice.choice(self._servers)
        operation = self._dice.choice((Operation.GET, Operation.PUT))
        name = f"{client}-{number}"
        local = self._lab.client.folder / f"soak-{name}"
        remote = "pub/file" if operation is Operation.GET else f"pub/{name}"
        local.unlink(missing_ok=True)
        if operation is Operation.PUT:
            local.write_bytes(self._content)
        mode = self._dice.choice([one for one in Mode if client != "lftp" or one is not Mode.EPRT])
        errand = Errand(mode, operation, server.host.address, server.login, remote, local, server.port, 8.0)
        outcome = carry_out(self._lab.client, client, errand, _ordered(client, errand))
        if not outcome.ok:
            raise ValueError(f"{mode} {operation}: {outcome.words}")
        there = local if operation is Operation.GET else server.pub / name
        if there.read_bytes() != self._content:
            raise ValueError(f"{mode} {operation}: the content differs")

    def _crowd(self) -> None:
        """Many control sessions at once, each with an offered port, that end in different ways."""
        client = self._lab.client
        argv = [sys.executable, multitude.__file__, "client", self._lab.plan.servers[0], str(CROWD_PORT), str(CROWD)]
        with subprocess.Popen(
            client.command([*argv, client.address]), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        ) as program:  # fmt: skip
            try:
                assert program.stdin is not None and program.stdout is not None
                if program.stdout.readline() != "ready\n":
                    raise ValueError("the crowd didn't get ready")
                program.stdin.write(f"{self._dice.choice(ENDS)} {self._dice.choice(ENDS)}\n")
                program.stdin.flush()
                if program.stdout.readline() != "ended\n":
                    raise ValueError("the crowd didn't end")
            finally:
                program.kill()

    def _connect(self) -> None:
        with Line(self._lab.client, self._lab.plan.servers[0], self._echo) as line:
            line.socket.settimeout(8.0)
            if line.ask(b"new") != b"new":
                raise ValueError("wrong echo")

    def __enter__(self) -> Self:
        host, path = self._lab.server, Path(multitude.__file__)
        host.spawn("multitude", [sys.executable, str(path), "server", str(CROWD_PORT)])
        if not host.wait_port(CROWD_PORT):
            raise LabError("the crowd's server doesn't listen")
        jobs: list[tuple[str, Callable[[], None], float]] = [
            (client, lambda client=client, number=number: self._transfer(client, number), 0.1)  # type: ignore[misc]
            for number, client in enumerate(CLIENTS)
        ]
        jobs += [("crowd", self._crowd, 0.5), ("connection", self._connect, 0.05)]
        self._threads = [threading.Thread(target=self._repeat, args=job, daemon=True) for job in jobs]
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for one in self._threads:
            with contextlib.suppress(RuntimeError):
                one.join(30)


def _ordered(client: str, errand: Errand) -> ClientOrder:
    told = order(client, errand)
    if not isinstance(told, ClientOrder):
        raise LabError(f"{client} can't do that")
    return told
