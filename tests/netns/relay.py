"""A TCP relay that rewrites like the textbook, and two ends that speak a dialogue over real sockets in any pieces.

The law of this file: it knows sockets and the textbook, nothing of algate; every wait is bounded.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from tests.textbook import Exchange, Textbook

PATIENCE = 20.0  # s for a whole dialogue


@dataclass
class Part:
    """What one end says, how far it may speak once how much has come to it, and what it got."""

    stream: bytes = b""
    due: int = 0  # bytes that must come to it
    steps: list[tuple[int, int]] = field(default_factory=lambda: [(0, 0)])
    got: bytes = b""

    def allowed(self) -> int:
        return max(offset for offset, heard in self.steps if heard <= len(self.got))


def parts(dialogue: Sequence[Exchange], textbook: Textbook, ahead: Random) -> tuple[Part, Part, bytes, bytes]:
    """Client, server, and what each gets according to the textbook; the client sometimes speaks ahead."""
    client, server = Part(), Part()
    to_client = to_server = b""
    for number, one in enumerate(dialogue):
        waits = number < 2 or ahead.random() < 0.6
        heard = len(to_client) if waits else client.steps[-1][1]
        told = textbook.exchange(one)
        client.stream += one.command
        client.steps.append((len(client.stream), heard))
        to_server += told.to_server
        to_client += told.to_client
        server.stream += one.reply
        server.steps.append((len(server.stream), len(to_server)))
    client.due, server.due = len(to_client), len(to_server)
    return client, server, to_client, to_server


def speak(link: socket.socket, part: Part, random: Random) -> None:
    """Say everything in random pieces, each when it may be said, and listen until everything has come."""
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.settimeout(PATIENCE)
    sent, end = 0, time.monotonic() + PATIENCE
    while (sent < len(part.stream) or len(part.got) < part.due) and time.monotonic() < end:
        allowed = part.allowed()
        if sent < allowed:
            size = random.choice((1, 2, random.randrange(1, 12), random.randrange(1, 300), 1 << 16))
            sent += link.send(part.stream[sent : min(sent + size, allowed)])
            if random.random() < 0.05:
                time.sleep(0.001)
            continue
        data = link.recv(random.choice((1, 64, 1 << 16)))
        if not data:
            break
        part.got += data
    link.settimeout(0.05)
    with contextlib.suppress(TimeoutError, ConnectionError):
        part.got += link.recv(1 << 16)  # more than that would be wrong too


def converse(caller: socket.socket, listener: socket.socket, client: Part, server: Part, random: Random) -> None:
    """Run both ends at once, over a connection that `caller` makes to `listener`'s address."""
    with caller, listener:
        listener.settimeout(PATIENCE)
        accepted, _ = listener.accept()
        with accepted:
            other = threading.Thread(target=speak, args=(accepted, server, Random(random.random())))
            other.start()
            speak(caller, client, Random(random.random()))
            other.join(PATIENCE)
            assert not other.is_alive()


def relay(front: socket.socket, back: socket.socket, textbook: Textbook) -> None:
    """Take one connection at `front` and relay it through the connected `back`, line by line as the textbook says."""
    front.settimeout(PATIENCE)
    near, _ = front.accept()
    rests = {near: b"", back: b""}
    with near, back:
        while True:
            ready, _, _ = select.select([near, back], [], [], PATIENCE)
            if not ready:
                return
            for link in ready:
                data = link.recv(1 << 16)
                if not data:
                    return
                *lines, rests[link] = (rests[link] + data).split(b"\n")
                turn = textbook.command if link is near else textbook.reply
                (back if link is near else near).sendall(b"".join(turn(line + b"\n") for line in lines))
