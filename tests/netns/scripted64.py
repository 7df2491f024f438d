"""A dialogue of FTP between the families, line by line: a scripted server with IPv4, a client of bytes with IPv6.

The law of this file: bytes out, lines in, every wait bounded; it knows what each line has to become (RFC 6384), and no
gateway."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from algate.cli.lab.host import Host

PATIENCE = 5.0  # s
IAC_WILL, IAC_DONT = b"\xff\xfb", b"\xff\xfe"


class Exchange64(NamedTuple):
    """`said` by the client, `heard` by the server, `told` to the client (its beginning). An answer that isn't in the
    server's table is 200."""

    said: bytes
    heard: bytes
    told: bytes


PASSIVE = b"227 Entering Passive Mode (203,0,113,10,200,1).\r\n"
ANSWERS = {b"USER": b"331 who\r\n", b"PASS": b"230 in\r\n", b"PASV": PASSIVE, b"EPSV": b"500 not here\r\n",
           b"AUTH": b"534 no\r\n", b"NOOP": b"200 noop\r\n"}  # fmt: skip
LOGIN = [Exchange64(b"USER a", b"USER a", b"331"), Exchange64(b"PASS b", b"PASS b", b"230")]
EPSV = Exchange64(b"EPSV", b"PASV", b"229 ")
DIALOGUES = {
    "F64-1-F64-11": [*LOGIN, EPSV, Exchange64(b"epsv 2", b"PASV", b"229 "), EPSV],
    "F64-3-F64-5": [
        *LOGIN, Exchange64(b"EPSV 1", b"NOOP", b"522 "), EPSV, Exchange64(b"EPSV ALL", b"NOOP", b"504 "), EPSV,
        Exchange64(b"NOOP", b"NOOP", b"200 noop"),
    ],
    "F64-4": [
        *LOGIN, Exchange64(b"EPRT |2|OWN|50000|", b"PORT 198,51,100,2,", b"200"),
        Exchange64(b"EPRT |2|2001:db8:9::1|50000|", b"EPRT |2|2001:db8:9::1|50000|", b"200"),
        Exchange64(b"EPRT |1|10.0.0.1|50000|", b"EPRT |1|10.0.0.1|50000|", b"200"),
    ],
    "F64-6": [*LOGIN, Exchange64(b"AUTH TLS", b"AUTH TLS", b"534"), EPSV],
    "F64-7": [
        *LOGIN, Exchange64(b"ALGS STATUS64", b"NOOP", b"216 EPSV EPRT"),
        Exchange64(b"ALGS DISABLE64", b"NOOP", b"216 NONE"), Exchange64(b"EPSV", b"EPSV", b"500 not here"),
        Exchange64(b"EPRT |2|OWN|50000|", b"EPRT |2|OWN|50000|", b"200"),
        Exchange64(b"ALGS ENABLE64", b"NOOP", b"216 EPSV EPRT"), EPSV, Exchange64(b"ALGS", b"NOOP", b"501 "),
        Exchange64(b"ALGS FOO", b"NOOP", b"504 "),
    ],
    "F64-9": [
        *LOGIN, Exchange64(b"LANG de", b"LANG de", b"200"),
        Exchange64("CWD /ä".encode(), "CWD /ä".encode(), b"200"),
    ],
}  # fmt: skip


class ScriptedServer:
    """Answers each line by its verb; `lines`: what it heard."""

    def __init__(self, host: Host, answers: dict[bytes, bytes], address: str = "") -> None:
        """`address`: an IPv6 one of the host; else its IPv4 address."""
        self.lines: list[bytes] = []
        self.rest = b""
        self._answers = answers
        self.late: bytes = b""  # what isn't answered before `go`
        self.go = threading.Event()
        self._listener = host.socket(socket.AF_INET6 if address else socket.AF_INET)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((address or host.address, 21))
        self._listener.listen(4)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.lines, self.rest = [], b""
                with connection, contextlib.suppress(OSError):
                    self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        connection.sendall(b"220 ready\r\n")
        while data := connection.recv(4096):
            *whole, self.rest = (self.rest + data).split(b"\r\n")
            for line in whole:
                self.lines.append(line)
                if self.late and line.startswith(self.late):
                    self.go.wait(2 * PATIENCE)
                connection.sendall(self._answers.get(line.split(b" ")[0], b"200 fine\r\n"))

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes whoever waits in accept
        self._listener.close()
        self._thread.join(PATIENCE)


def whole(connection: socket.socket, lines: list[bytes], answered: Callable[[], None]) -> None:
    """Each line by itself, once the one before is answered."""
    for line in lines:
        connection.sendall(line)
        answered()


def by_bytes(connection: socket.socket, lines: list[bytes], answered: Callable[[], None]) -> None:
    """Each byte a segment of its own."""
    for line in lines:
        for at in range(len(line)):
            connection.sendall(line[at : at + 1])
            time.sleep(0.001)
        answered()


def ahead(connection: socket.socket, lines: list[bytes], answered: Callable[[], None]) -> None:
    """All at once, without waiting for an answer."""
    connection.sendall(b"".join(lines))
    for _ in lines:
        answered()


WAYS = (whole, by_bytes, ahead)


def talk(host: Host, address: str, server: ScriptedServer, exchanges: list[Exchange64],
         way: Callable[[socket.socket, list[bytes], Callable[[], None]], None],
         meanwhile: Callable[[], None] = lambda: None) -> None:  # fmt: skip
    """Have that dialogue; AssertionError where either end gets something else. `meanwhile`: before it is over."""
    with host.socket(socket.AF_INET6) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(PATIENCE)
        connection.connect((address, 21))
        told: list[bytes] = []
        buffer = b""

        def answered() -> None:
            nonlocal buffer
            while b"\r\n" not in buffer:
                buffer += connection.recv(4096)
            line, _, buffer = buffer.partition(b"\r\n")
            told.append(line)

        answered()
        own = connection.getsockname()[0].encode()
        way(connection, [one.said.replace(b"OWN", own) + b"\r\n" for one in exchanges], answered)
        meanwhile()
        heard = server.lines
        for number, one in enumerate(exchanges):
            wanted = one.heard.replace(b"OWN", own)
            assert heard[number].startswith(wanted), (one, heard[number])
            assert len(heard[number]) == len(wanted) or one.heard.endswith(b","), (one, heard[number])
            assert told[number + 1].startswith(one.told), (one, told[number + 1])
        assert len(heard) == len(exchanges), heard
