"""Many control sessions at once that never stop talking: client and server in one thread, by readiness.

The law of this file: it speaks one command after another on every session and counts answers; it judges nothing.
"""

from __future__ import annotations

import fcntl
import selectors
import socket
import time

from algate.cli.lab.host import Host

GREETING = b"220 ready\r\n"
SELECTABLE = 1024  # descriptors that select() can wait for
COMMAND, ANSWER = b"NOOP\r\n", b"200 ok\r\n"


class Chatter:
    """`answers`: by session, in the order of connecting. The server's ends are made as they are accepted."""

    def __init__(self, client: Host, server: Host, address: str, sessions: int, port: int = 21) -> None:
        self.answers = [0] * sessions
        self._selector = selectors.DefaultSelector()
        self._ear = server.socket()
        self._ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._ear.bind((address, port))
        self._ear.listen(1024)
        self._ear.setblocking(False)
        self._selector.register(self._ear, selectors.EVENT_READ, None)
        self._sockets: list[socket.socket] = []
        for number in range(sessions):
            sock = client.socket()
            sock.setblocking(False)
            sock.connect_ex((address, port))
            self._keep(sock, number)

    def _keep(self, low: socket.socket, number: int) -> socket.socket:
        """`number`: the session's at the client's end, -1 at the server's. Low descriptors are left to select()."""
        sock = socket.socket(fileno=fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, SELECTABLE))
        sock.setblocking(False)
        low.close()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sockets.append(sock)
        self._selector.register(sock, selectors.EVENT_READ, number)
        return sock

    def talk(self, seconds: float) -> None:
        """Talk for that long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._step(left)

    def until_all(self, answers: int, seconds: float) -> None:
        """Talk until every session has that many answers. AssertionError if that doesn't happen."""
        end = time.monotonic() + seconds
        while min(self.answers) < answers:
            left = end - time.monotonic()
            silent = sum(one < answers for one in self.answers)
            assert left > 0, f"{silent} of {len(self.answers)} sessions have fewer than {answers} answers"
            self._step(left)

    def _step(self, left: float) -> None:
        for key, _ in self._selector.select(min(left, 0.1)):
            if key.data is None:
                self._keep(self._ear.accept()[0], -1).send(GREETING)
            else:
                self._heard(key.fileobj, key.data)

    def _heard(self, sock: object, number: int) -> None:
        assert isinstance(sock, socket.socket)
        data = sock.recv(65536)
        lines = data.count(b"\n")
        if number < 0:
            sock.send(ANSWER * lines)
        elif lines:
            self.answers[number] += lines
            sock.send(COMMAND)

    def close(self) -> None:
        self._selector.close()
        for one in (self._ear, *self._sockets):
            one.close()

    def __enter__(self) -> Chatter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
