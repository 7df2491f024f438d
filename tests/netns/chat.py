"""A scripted IRC server, its clients, and DCC SEND between them: what the plug-in tests speak.

The law of this file: it speaks and judges nothing. Every wait is bounded; sockets live in their host's namespace.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from ipaddress import IPv4Address

from algate.cli.lab.host import Host
from tests.netns.talk import PATIENCE

PORT = 6667


_BEFORE = re.compile(rb"(@[^ ]* +)?(?::[^ ]* +)?")


class ChatServer:
    """Relays each client's private messages to whoever is named, with the speaker's name before them, after the tags.

    `lines`: what it was told, by speaker. `seen_as`: the address that each comes from.
    """

    def __init__(self, host: Host) -> None:
        self._listener = host.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("0.0.0.0", PORT))
        self._listener.listen(8)
        self._clients: dict[str, socket.socket] = {}
        self.lines: dict[str, list[bytes]] = {}
        self.seen_as: dict[str, str] = {}
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as lines:
            for line in lines:
                before = _BEFORE.match(line)
                assert before
                tags, said = before[1] or b"", line[before.end() :]
                word, _, rest = said.strip().partition(b" ")
                if word == b"NICK":
                    name = rest.decode()
                    self._clients[name] = connection
                    self.lines[name], self.seen_as[name] = [], connection.getpeername()[0]
                elif word == b"USER":
                    connection.sendall(b":irc.example 001 %s :Welcome\r\n" % name.encode())
                elif to := self._clients.get(rest.split()[0].decode()):
                    self.lines[name].append(line)
                    to.sendall(b"%s:%s!u@h %s" % (tags, name.encode(), said))

    def close(self) -> None:
        for one in (self._listener, *self._clients.values()):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def __enter__(self) -> ChatServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ChatClient:
    """A client, registered under a name as soon as it is made."""

    def __init__(self, host: Host, server: str, name: str, source: str = "") -> None:
        self.host, self.source = host, source
        self._socket = host.socket()
        self._socket.settimeout(PATIENCE)
        self._socket.bind((source, 0))
        self._socket.connect((server, PORT))
        self._lines = self._socket.makefile("rb")
        self.say(b"NICK %s\r\nUSER %s 0 * :x\r\n" % (name.encode(), name.encode()))
        assert b" 001 " in self.hear()

    def say(self, data: bytes) -> None:
        self._socket.sendall(data)

    def hear(self) -> bytes:
        """The next line."""
        return self._lines.readline()

    def listen(self) -> socket.socket:
        """A listening socket on this host, for an offer."""
        made = self.host.socket()
        made.settimeout(PATIENCE)
        made.bind((self.host.address, 0))
        made.listen(4)
        return made

    def close(self) -> None:
        self._lines.close()
        self._socket.close()

    def __enter__(self) -> ChatClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def offer(ip: str, port: int, size: int, to: str = "bob") -> bytes:
    """Say DCC SEND, as the sender's client does."""
    return b"PRIVMSG %s :\x01DCC SEND file.bin %d %d %d\x01\r\n" % (to.encode(), int(IPv4Address(ip)), port, size)


def offered(line: bytes) -> tuple[str, int]:
    """Address and port of an offer."""
    found = re.search(rb"\x01DCC SEND [^ ]+ (\d+) (\d+)", line)
    assert found, line
    return str(IPv4Address(int(found[1]))), int(found[2])


def send_file(listener: socket.socket, content: bytes) -> None:
    """The sender's part, to whoever connects; each block is acknowledged with the total so far."""

    def run() -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(PATIENCE)
                connection.sendall(content)
                while int.from_bytes(connection.recv(4) or b"\xff", "big") < len(content):
                    pass

    threading.Thread(target=run, daemon=True).start()


def fetch_file(host: Host, where: tuple[str, int], size: int, source: str = "") -> bytes:
    """The receiver's part. OSError if nobody answers."""
    with host.socket() as connection:
        connection.settimeout(PATIENCE)
        connection.bind((source, 0))
        connection.connect(where)
        content = b""
        while len(content) < size:
            more = connection.recv(65536)
            if not more:
                break
            content += more
            connection.sendall(len(content).to_bytes(4, "big"))
        return content
