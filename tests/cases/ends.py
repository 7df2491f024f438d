"""The sockets of a scripted dialogue: one end of a control session, both ends of a data connection.

The law of this file: bytes out, bytes in, every wait bounded; it knows no gateway, and of FTP only the six numbers.
"""

from __future__ import annotations

import select
import socket
import time
from typing import NamedTuple

from algate.cli.lab.wire import Peer


def six(ip: str, port: int) -> bytes:
    """h1,h2,h3,h4,p1,p2 (RFC 959 section 4.1.2)."""
    return f"{ip.replace('.', ',')},{port >> 8},{port & 255}".encode()


class Speaker:
    """One end of a control session."""

    def __init__(self, sock: socket.socket, patience: float) -> None:
        self.socket = sock
        self.patience = patience
        sock.settimeout(patience)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def local(self) -> Peer:
        return Peer(*self.socket.getsockname())

    @property
    def remote(self) -> Peer:
        return Peer(*self.socket.getpeername())

    def say(self, *pieces: bytes, pause: float = 0.0) -> None:
        """Send each piece separately, `pause` s apart."""
        for piece in pieces:
            self.socket.sendall(piece)
            if pause:
                time.sleep(pause)

    def hear(self, *wanted: bytes) -> bytes:
        """The next bytes; AssertionError unless they are one of `wanted` (all of one length if there are several)."""
        data = self.read(len(wanted[0]))
        assert data, f"nothing arrives, wanted {wanted[0]!r}"
        assert data in wanted, f"heard {data!r}, not {wanted[0]!r}"
        return data

    def read(self, size: int) -> bytes:
        """The next `size` bytes, or fewer if no more come within patience or before the end."""
        data, end = b"", time.monotonic() + self.patience
        while len(data) < size and time.monotonic() < end:
            self.socket.settimeout(max(0.01, end - time.monotonic()))
            try:
                more = self.socket.recv(size - len(data))
            except TimeoutError:
                break
            if not more:
                break
            data += more
        self.socket.settimeout(self.patience)
        return data

    def line(self) -> bytes:
        """The next bytes up to and including a LF."""
        data = b""
        while not data.endswith(b"\n"):
            more = self.read(1)
            assert more, f"no end of line after {data!r}" if data else "nothing arrives, wanted a line"
            data += more
        return data

    def silent(self, seconds: float = 0.15) -> None:
        """AssertionError if anything comes meanwhile."""
        ready, _, _ = select.select([self.socket], [], [], seconds)
        assert not ready, f"heard {self.socket.recv(4096, socket.MSG_PEEK)!r}, wanted nothing"

    def closed(self) -> str:
        """How the other end ended it: "fin" or "reset". AssertionError if it doesn't."""
        try:
            data = self.socket.recv(4096)
        except ConnectionResetError:
            return "reset"
        except TimeoutError:
            raise AssertionError("the session is not ended") from None
        assert not data, f"heard {data!r}, wanted an end"
        return "fin"


class Data(NamedTuple):
    """A data connection that came: the caller's socket and the listener's."""

    caller: socket.socket
    listener: socket.socket

    def carries(self, content: bytes = b"0123456789" * 100) -> bool:
        """Whether bytes get through both ways."""
        for one, other in ((self.caller, self.listener), (self.listener, self.caller)):
            one.sendall(content)
            got = b""
            while len(got) < len(content) and (more := other.recv(65536)):
                got += more
            if got != content:
                return False
        return True

    def close(self) -> None:
        for one in self:
            one.close()
