"""Control sessions in the middle of a line: both ends are here, so either may stop anywhere and go on later.

The law of this file: it speaks what it is told to, and waits. Which halves are worth trying is the test's.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence

from algate.cli.lab.host import Host

SECONDS = 20.0  # that a whole line may take
GREETING = (b"220 hi\r\n",)
LOGIN = (b"USER a\r\n", b"331 go on\r\n", b"PASS b\r\n", b"230 in\r\n")


def serving(host: Host) -> socket.socket:
    """A listener in the place of an FTP server."""
    made = host.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("0.0.0.0", 21))
    made.listen(256)
    return made


class Halved:
    """A session that said `before`, line by line, replies by digits; then `pieces` of one line, a `step` at a time."""

    def __init__(
        self, host: Host, address: str, listener: socket.socket, before: Sequence[bytes], pieces: Sequence[bytes]
    ) -> None:
        self.client = host.socket()
        self.client.settimeout(SECONDS)
        self.client.connect((address, 21))
        self.server, _ = listener.accept()
        for end in (self.client, self.server):
            end.settimeout(SECONDS)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.line = b"".join(pieces)
        self._left = list(pieces)
        for line in before:
            self.say(line)
            self.hear(line)

    def _ends(self, line: bytes) -> tuple[socket.socket, socket.socket]:
        ends = self.server, self.client
        return ends if line[:1].isdigit() else ends[::-1]

    def say(self, line: bytes) -> None:
        self._ends(line)[0].sendall(line)

    def hear(self, line: bytes) -> bytes:
        """What the other end has got of it once there is a whole line."""
        receiver, got = self._ends(line)[1], b""
        while got.count(b"\n") < line.count(b"\n"):
            more = receiver.recv(4096)
            if not more:
                raise ConnectionError(f"closed after {got!r}")
            got += more
        return got

    def step(self) -> None:
        """Say the next piece."""
        self._ends(self.line)[0].sendall(self._left.pop(0))

    def finish(self, since: float) -> float:
        """Say what is left; the seconds from `since` until the whole line was heard. Then the dialogue goes on."""
        while self._left:
            self.step()
        got = self.hear(self.line)
        heard = time.monotonic() - since
        assert got.split(b" ")[0] == self.line.split(b" ")[0], (self.line, got)
        for line in (b"200 ok\r\n", b"NOOP\r\n", b"200 ok\r\n") if got[:1].isalpha() else (b"NOOP\r\n", b"200 ok\r\n"):
            self.say(line)
            assert self.hear(line) == line
        return heard

    def close(self) -> None:
        self.client.close()
        self.server.close()
