"""Those that an attack must not affect: a UDP and a TCP stream of another host through the same gateway.

The law of this file: they talk and count in the background, and fail if an answer doesn't come. Nothing is judged by
its speed.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

from algate.cli.lab.host import Host
from tests.netns.talk import Line

CHUNK = bytes(range(256)) * 256  # 64 KiB


class Bystanders:
    """`datagrams` and `chunks`: echoed so far; `errors`: what came instead."""

    def __init__(self, host: Host, address: str, port: int) -> None:
        self.datagrams = 0
        self.chunks = 0
        self.errors: list[str] = []
        self._over = threading.Event()
        self._lines = (Line(host, address, port, socket.SOCK_DGRAM), Line(host, address, port))
        self._threads = [threading.Thread(target=one, daemon=True) for one in (self._datagrams, self._chunks)]

    def _datagrams(self) -> None:
        self._talk("udp", lambda: self._lines[0].ask(b"x" * 100) == b"x" * 100, "datagrams", 0.005)

    def _chunks(self) -> None:
        self._talk("tcp", lambda: self._lines[1].ask(CHUNK) == CHUNK, "chunks", 0.01)

    def _talk(self, name: str, ask: object, counter: str, pause: float) -> None:
        assert callable(ask)
        while not self._over.wait(pause):
            try:
                right = ask()
            except OSError as error:
                self.errors.append(f"{name}: {error}")
                return
            if not right:
                self.errors.append(f"{name}: another answer")
            setattr(self, counter, getattr(self, counter) + 1)

    def start(self) -> None:
        """Start talking."""
        for one in self._threads:
            one.start()

    def stop(self) -> None:
        """Stop, and assert that both were served throughout."""
        self._over.set()
        for one in self._threads:
            one.join(timeout=25)
        for line in self._lines:
            line.close()


@contextlib.contextmanager
def bystanders(host: Host, address: str, port: int) -> Iterator[Bystanders]:
    """Run two streams from `host` to an echo while the block runs; in the end neither missed an answer."""
    made = Bystanders(host, address, port)
    made.start()
    try:
        yield made
    finally:
        made.stop()
    assert made.errors == [], made.errors
    assert made.datagrams > 5 and made.chunks > 5, (made.datagrams, made.chunks)
