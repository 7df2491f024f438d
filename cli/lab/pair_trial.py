"""What goes on when a gateway of a pair is cut off: sessions, control connections, transfers, and for how long nothing
came.

The law of this file: it runs and reports, and draws nothing. Whoever goes on is judged by what its ends have.
"""

from __future__ import annotations

import contextlib
import ftplib
import hashlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from algate.alg.rows import Row
from algate.cli.lab.ftplib_client import FtplibClient
from algate.cli.lab.host import PATIENCE, Host, Spawned, call_in
from algate.cli.lab.judge import Mode
from algate.cli.lab.pair import Node, PairLab, engine
from algate.cli.lab.servers import FtpServer, start_server

SESSIONS, PORT, PINGS = 1000, 7007, 7008
SIZE, RATE = 6 << 20, 1 << 20  # bytes of a transfer, and of it in a second
ROOM = "4096 65536 131072"  # bytes that an end keeps of a transfer
PERIOD = 0.005  # s between two pings
WAIT = 20.0 * PATIENCE
CURL = {Mode.PORT: ["--ftp-port", "-", "--disable-eprt"], Mode.EPRT: ["--ftp-port", "-"],
        Mode.PASV: ["--disable-epsv"], Mode.EPSV: []}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PairRow(Row):
    """One kind of what was there when the gateway was cut off: how many, and how many of them went on. `gap_ms`: for
    how long nothing came, where that was measured."""

    what: str
    number: int
    went_on: int
    gap_ms: float | None
    ok: bool


class Pinger:
    """Asks by UDP all the time; `gap`: the longest time without an answer."""

    def __init__(self, client: Host, server: Host, address: str) -> None:
        self.gap = 0.0
        self._on = True
        self._far = server.socket(kind=socket.SOCK_DGRAM)
        self._far.bind(("0.0.0.0", PINGS))
        self._near = client.socket(kind=socket.SOCK_DGRAM)
        self._near.connect((address, PINGS))
        self._near.setblocking(False)
        self._threads = [threading.Thread(target=one, daemon=True) for one in (self._answer, self._ask)]
        for one in self._threads:
            one.start()

    def _answer(self) -> None:
        with contextlib.suppress(OSError):
            while self._on:
                data, peer = self._far.recvfrom(100)
                if peer:  # none at the end
                    self._far.sendto(data, peer)

    def _ask(self) -> None:
        last = time.monotonic()
        while self._on:
            with contextlib.suppress(OSError):
                self._near.send(b"ping")
            with contextlib.suppress(OSError):
                while self._near.recv(100):
                    now = time.monotonic()
                    self.gap, last = max(self.gap, now - last), now
            time.sleep(PERIOD)

    def close(self) -> None:
        self._on = False
        self._threads[1].join()
        self._near.close()
        with contextlib.suppress(OSError):
            self._far.shutdown(socket.SHUT_RDWR)
        self._far.close()


class Pairs:
    """TCP connections that say nothing until they are asked."""

    def __init__(self, client: Host, server: Host, address: str, number: int) -> None:
        self.ends: list[tuple[socket.socket, socket.socket]] = []
        with server.socket() as listener:
            listener.bind(("0.0.0.0", PORT))
            listener.listen(64)
            for _ in range(number):
                near = client.socket()
                near.settimeout(WAIT)
                near.connect((address, PORT))
                far, _ = listener.accept()
                far.settimeout(WAIT)
                self.ends.append((near, far))

    def working(self) -> int:
        """How many carry a byte in both directions."""
        for near, far in self.ends:
            with contextlib.suppress(OSError):
                near.sendall(b"a")
                far.sendall(b"b")
        return sum(_came(near, b"b") and _came(far, b"a") for near, far in self.ends)

    def close(self) -> None:
        for ends in self.ends:
            for one in ends:
                one.close()


def _came(end: socket.socket, wanted: bytes) -> bool:
    try:
        return end.recv(1) == wanted
    except OSError:
        return False


def controls(host: Host, address: str, server: FtpServer, number: int) -> list[FtplibClient]:
    """Control connections that are logged in, and one command of each was rewritten."""
    made = []
    for _ in range(number):
        ftp = FtplibClient(timeout=WAIT)
        call_in(host.netns, lambda ftp=ftp: ftp.connect(address, server.port))  # type: ignore[misc]
        ftp.login(server.login.user, server.login.password)
        ftp.sendport(host.address, 40_000)  # rewritten: from here on the two ends count differently
        made.append(ftp)
    return made


def _answers(ftp: FtplibClient) -> bool:
    try:
        return ftp.sendcmd("NOOP").startswith("200")
    except ftplib.all_errors:
        return False


class Fetches:
    """A transfer in each mode, slow enough to be under way for a while."""

    def __init__(self, lab: PairLab, server: FtpServer, address: str) -> None:
        self.content = os.urandom(SIZE)
        lab.client.sysctl("ipv4/tcp_rmem", ROOM)  # else the whole file waits there, and needs no gateway any more
        lab.server.sysctl("ipv4/tcp_wmem", ROOM)
        (server.pub / "large").write_bytes(self.content)
        user = f"{server.login.user}:{server.login.password}"
        self.running: dict[Mode, tuple[Spawned, Path]] = {}
        for mode, words in CURL.items():
            got = lab.folder / f"got-{mode}"
            got.unlink(missing_ok=True)
            argv = ["curl", "-sS", "--limit-rate", str(RATE), "-u", user, *words, "-o", str(got),
                    f"ftp://{address}:{server.port}/pub/large"]  # fmt: skip
            self.running[mode] = lab.client.spawn(f"curl-{mode}", argv), got

    def under_way(self) -> bool:
        """Whether something of each has come."""
        return all(got.exists() and got.stat().st_size for _, got in self.running.values())

    def whole(self) -> dict[Mode, bool]:
        """Wait for all: whether each has what the server has."""
        return {mode: self._whole(*one) for mode, one in self.running.items()}

    def _whole(self, one: Spawned, got: Path) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            one.process.wait(SIZE / RATE + WAIT)
        return got.exists() and hashlib.sha256(got.read_bytes()).digest() == hashlib.sha256(self.content).digest()


def start(lab: PairLab, config: str = "") -> tuple[Node, Node]:
    """Both gateways; the first leads and the second is in step. `config`: more of theirs."""
    engine(lab.hosts["witness"])
    a, b = Node(lab, "gw", config), Node(lab, "gw2", config)
    for one in (a, b):
        one.engine = engine(one.host)
        one.begin()
    a.until(a.able)
    a.keep()
    a.until(lambda: a.status()["role"] == "leads" and a.status()["state"] == "in step")
    b.until(b.able)
    b.keep()
    b.until(lambda: b.status()["state"] == "in step")
    return a, b


def cut_off(lab: PairLab, server_name: str = "vsftpd", sessions: int = SESSIONS) -> Iterator[PairRow]:
    """Have all of it run, cut the gateway that leads off, and say what went on."""
    address = lab.plan.servers[0]
    server = start_server(server_name, lab.server)
    with contextlib.ExitStack() as stack:
        a, b = start(lab)
        stack.callback(b.stop)
        stack.callback(a.stop)
        pairs = Pairs(lab.client, lab.server, address, sessions)
        stack.callback(pairs.close)
        pinger = Pinger(lab.client, lab.server, address)
        stack.callback(pinger.close)
        talks = controls(lab.client, address, server, 10)
        running = Fetches(lab, server, address)
        a.until(running.under_way)
        a.until(lambda: b.status()["sessions"] >= sessions + len(talks))
        pinger.gap = 0.0
        a.die()
        b.until(lambda: b.status()["role"] == "leads")
        yield _row("TCP sessions, idle until then", sessions, pairs.working())
        yield _row("control connections, next command", len(talks), sum(map(_answers, talks)))
        for mode, whole in running.whole().items():
            yield _row(f"transfer under way, {mode}, sha256", 1, int(whole))
        gap = round(pinger.gap * 1e3, 1)
        yield PairRow("ping by UDP, longest time without an answer", 1, int(gap > 0), gap, gap > 0)


def _row(what: str, number: int, went_on: int) -> PairRow:
    return PairRow(what, number, went_on, None, went_on == number)
