"""Traffic that never pauses while something happens to the gateway, and what it lost.

The law of this file: it sends, waits and counts; what was done to the gateway it doesn't know. A session is lost if it
ended, or got no answer within PATIENCE; a packet of it may be.
"""

from __future__ import annotations

import contextlib
import ftplib
import socket
import threading
import time
from collections.abc import Callable
from typing import Self

from algate.cli.lab.host import Host
from algate.cli.lab.judge import Mode
from algate.cli.lab.servers import FtpServer
from tests.netns.talk import Line, Talker

PATIENCE = 60.0  # s that an answer may take: a busy machine starts a daemon in half a minute
PAUSE = 0.02  # s between two questions
FRESH_PAUSE = 0.1  # s between two new connections
FILE = "pub/file"


class Stream:
    """One kind of traffic in a thread of its own: `ask` once is one question with its answer."""

    def __init__(self, name: str, ask: Callable[[], bool], pause: float = PAUSE) -> None:
        self.name = name
        self.answered = 0
        self.unanswered = 0  # lost packets, or new sessions that never began
        self.broken = ""  # why it can't go on
        self.silence = 0.0  # the longest time between two answers
        self._ask, self._pause = ask, pause
        self._last = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._last = time.monotonic()
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set() and not self.broken:
            try:
                if self._ask():
                    self.answered += 1
                    now = time.monotonic()
                    self.silence, self._last = max(self.silence, now - self._last), now
                else:
                    self.unanswered += 1
            except (OSError, EOFError, ftplib.Error) as error:
                self.broken = str(error) or type(error).__name__
            self._stop.wait(self._pause)

    def settle(self) -> None:
        """Wait until it was answered two more times, or broke, or PATIENCE is over."""
        wanted, end = self.answered + 2, time.monotonic() + PATIENCE
        while self.answered < wanted and not self.broken:
            if time.monotonic() > end:
                self.broken = f"no answer within {PATIENCE:g} s"
            time.sleep(0.02)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(PATIENCE)


class Traffic:
    """From `client` to an echo and an FTP server at `address`, from entry to exit."""

    def __init__(self, client: Host, address: str, echo: int, server: FtpServer) -> None:
        self._client, self._address, self._echo = client, address, echo
        self._line = Line(client, address, echo)
        self._datagrams = Line(client, address, echo, socket.SOCK_DGRAM)
        self._datagrams.socket.settimeout(0.2)
        self._talker = Talker(client, address, server.login)
        assert self._talker.ftp.sock is not None
        self._talker.ftp.sock.settimeout(PATIENCE)
        self._line.socket.settimeout(PATIENCE)
        self.content = (server.pub / "file").read_bytes()
        self._turn = 0
        self.tcp = Stream("TCP", lambda: self._line.ask(b"x" * 64) == b"x" * 64)
        self.udp = Stream("UDP", self._datagram)
        self.fresh = Stream("new", self._connect, FRESH_PAUSE)
        self.ftp = Stream("FTP", self._command)
        self.streams = (self.tcp, self.udp, self.fresh, self.ftp)

    def _datagram(self) -> bool:
        self._turn += 1
        text = str(self._turn).encode()
        self._datagrams.socket.send(text)
        try:
            while self._datagrams.socket.recv(2048) != text:
                pass  # an earlier one, late
        except TimeoutError:
            return False
        return True

    def _connect(self) -> bool:
        try:
            with Line(self._client, self._address, self._echo) as line:
                return line.ask(b"new") == b"new"
        except OSError:
            return False

    def _command(self) -> bool:
        if self.ftp.answered % 10:
            return self._talker.say("NOOP").startswith("200")
        mode = Mode.PASV if self.ftp.answered % 20 else Mode.PORT
        return self._talker.fetch(FILE, mode) == self.content

    def settle(self) -> None:
        """Wait until everything was answered again."""
        for one in self.streams:
            one.settle()

    @property
    def broken(self) -> list[str]:
        """The sessions that ended, with the reason."""
        return [f"{one.name}: {one.broken}" for one in self.streams if one.broken]

    def lost(self) -> str:
        """In words, for the table."""
        old = self.tcp, self.udp, self.ftp
        ended = sum(bool(one.broken) for one in old)
        tried = self.fresh.answered + self.fresh.unanswered
        silence = max(one.silence for one in self.streams)
        words = f"{ended} of {len(old)} old sessions, {self.fresh.unanswered} of {tried} new ones"
        datagrams = f", {self.udp.unanswered} datagrams" if self.udp.unanswered else ""
        return f"{words}{datagrams}; silence {silence:.2f} s"

    def __enter__(self) -> Self:
        for one in self.streams:
            one.start()
        time.sleep(0.3)
        return self

    def __exit__(self, *_: object) -> None:
        for one in self.streams:
            one.stop()
        self._line.close()
        self._datagrams.close()
        with contextlib.suppress(OSError, EOFError, ftplib.Error):
            self._talker.ftp.quit()
        self._talker.close()
