"""Connections that a test drives itself: an FTP control session, an echo over TCP and UDP, an algate verb.

The law of this file: it speaks and judges nothing. Sockets live in the namespace of the host named; every wait
is bounded.
"""

from __future__ import annotations

import contextlib
import ftplib
import io
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema

from algate.cli.lab.ftplib_client import FtplibClient
from algate.cli.lab.gateways import AlgateGateway, algate
from algate.cli.lab.host import Host, call_in
from algate.cli.lab.judge import Mode
from algate.cli.lab.servers import Login
from algate.cli.schemas import documents
from algate.client import schema

PATIENCE = 20.0  # s that a peer may take; far more than anything here needs
SCHEMAS = documents()
CONTENT = bytes(range(256)) * 40  # of pub/file


class Talker:
    """A host's logged-in FTP control session, kept open between the steps of a test."""

    def __init__(self, host: Host, address: str, login: Login, port: int = 21) -> None:
        self.host = host
        self.ftp = FtplibClient(timeout=PATIENCE)
        self.ftp.trust_server_pasv_ipv4_address = True
        self._in(lambda: self.ftp.connect(address, port))
        self.ftp.login(login.user, login.password)

    def _in(self, function: Callable[[], Any]) -> Any:
        return call_in(self.host.netns, function)

    def say(self, command: str) -> str:
        """Send a command; returns its whole answer. Raises ftplib.Error if that is a refusal."""
        return self.ftp.sendcmd(command)

    def send(self, command: str) -> None:
        """Only send it; `hear` waits for the answer."""
        self.ftp.putline(command)

    def hear(self) -> str:
        """The next answer."""
        return self.ftp.getresp()

    def fetch(self, path: str, mode: Mode = Mode.PASV) -> bytes:
        """Read a remote file, over a data connection in that mode."""
        sink = io.BytesIO()
        self._choose(mode)
        self._in(lambda: self.ftp.retrbinary(f"RETR {path}", sink.write, 1 << 16))
        return sink.getvalue()

    def store(self, path: str, content: bytes, mode: Mode = Mode.PASV) -> None:
        """Write a remote file."""
        self._choose(mode)
        self._in(lambda: self.ftp.storbinary(f"STOR {path}", io.BytesIO(content)))

    def _choose(self, mode: Mode) -> None:
        self.ftp.mode = mode
        self.ftp.set_pasv(not mode.active)

    def close(self) -> None:
        self.ftp.close()

    def __enter__(self) -> Talker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def talking(host: Host, address: str, login: Login) -> Iterator[Talker]:
    """A control session that is closed at the end, whatever happens."""
    with Talker(host, address, login) as made:
        yield made
        with contextlib.suppress(ftplib.Error, OSError, EOFError):
            made.ftp.quit()


class Echo:
    """A TCP and UDP echo on a host's port."""

    def __init__(self, host: Host, port: int) -> None:
        self.host = host
        self._sockets = [host.socket(), host.socket(kind=socket.SOCK_DGRAM)]
        for one in self._sockets:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(("0.0.0.0", port))
        self._sockets[0].listen(64)
        threading.Thread(target=self._accept, daemon=True).start()
        threading.Thread(target=self._answer, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._sockets[0].accept()
                self._sockets.append(connection)
                threading.Thread(target=self._repeat, args=(connection,), daemon=True).start()

    @staticmethod
    def _repeat(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := connection.recv(65536):
                connection.sendall(data)
            connection.close()

    def _answer(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, peer = self._sockets[1].recvfrom(65536)
                if not data:
                    return
                self._sockets[1].sendto(data, peer)

    def close(self) -> None:
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def __enter__(self) -> Echo:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Line:
    """A connection to an echo: `ask` sends and returns what came back."""

    def __init__(self, host: Host, address: str, port: int, kind: int = socket.SOCK_STREAM) -> None:
        self.socket = host.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
        self.socket.settimeout(PATIENCE)
        self.socket.connect((address, port))

    @property
    def local(self) -> str:
        """Its own end, "ip:port"."""
        address, port, *_ = self.socket.getsockname()
        return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"

    def ask(self, data: bytes) -> bytes:
        """The echo; OSError if none comes."""
        self.socket.sendall(data)
        back = b""
        while len(back) < len(data):
            more = self.socket.recv(65536)
            if not more:
                raise ConnectionError(f"closed after {len(back)} of {len(data)} bytes")
            back += more
        return back

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def verb(gateway: AlgateGateway, *argv: str, host: Host | None = None) -> subprocess.CompletedProcess[str]:
    """Run `algate ARGV --run-dir ...` to its end, in a host's namespace or in this process's own."""
    words = [*algate(), *argv, "--run-dir", str(gateway.run_dir)]
    if host is not None:
        return host.run(words, timeout=60)
    return subprocess.run(words, capture_output=True, text=True, timeout=60)


def data(gateway: AlgateGateway, *argv: str) -> Any:
    """A verb's answer as JSON, asked from this process's own namespace, and as its schema says; without "schema"."""
    done = verb(gateway, *argv, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    option = [word for word in ("--count", "--by") if word in argv]
    longer = [" ".join((argv[0], word)) for word in argv[1:] if " ".join((argv[0], word)) in SCHEMAS]
    name = (*option, *longer, argv[0])[0]
    some = said[:100] if isinstance(said, list) else said
    jsonschema.validate(some, schema(name), cls=jsonschema.Draft202012Validator)
    for one in said if isinstance(said, list) else [said]:
        del one["schema"]
    return said


def until(true: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """The first true answer; AssertionError if none comes in that time."""
    end = time.monotonic() + seconds
    while True:
        answer = true()
        if answer:
            return answer
        assert time.monotonic() < end, f"not within {seconds:g} s"
        time.sleep(0.02)
