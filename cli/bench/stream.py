"""A TCP stream as fast as the kernel carries it: sent and received without copying.

The law of this file: a separate program (`python -m algate.cli.bench.stream`), run in the lab's end hosts. It knows
sockets and a clock, no lab and no gateway.

    stream serve PORT                     answer both kinds of connection until killed
    stream up|down HOST PORT SECONDS N    N connections at once; print the bytes received per second
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
import threading
import time

CHUNK = 4 << 20
COUNT = struct.Struct("!Q")
UP, DOWN = b"u", b"d"
_REQUEST = struct.Struct("!cd")  # kind, seconds


def pages() -> int:
    """A file of CHUNK bytes in memory, to send from."""
    fd = os.memfd_create("stream")
    os.truncate(fd, CHUNK)
    return fd


def send_for(connection: socket.socket, seconds: float) -> int:
    """Send for that long; returns the bytes handed to the kernel."""
    source, end, sent = pages(), time.monotonic() + seconds, 0
    with contextlib.closing(os.fdopen(source, "rb")):
        while time.monotonic() < end:
            sent += os.sendfile(connection.fileno(), source, 0, CHUNK)
    return sent


def discard(connection: socket.socket) -> int:
    """Receive to the end without copying; returns the number of bytes."""
    room, received = bytearray(CHUNK), 0
    while count := connection.recv_into(room, CHUNK, socket.MSG_TRUNC):
        received += count
    return received


def answer(connection: socket.socket) -> None:
    """The server's part of one connection."""
    with contextlib.suppress(OSError), connection:
        kind, seconds = _REQUEST.unpack(connection.recv(_REQUEST.size, socket.MSG_WAITALL))
        if kind == DOWN:
            send_for(connection, seconds)
        else:
            connection.sendall(COUNT.pack(discard(connection)))


def serve(port: int) -> None:
    """Serve until killed."""
    listener = socket.create_server(("0.0.0.0", port), backlog=64)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


def transfer(kind: bytes, host: str, port: int, seconds: float) -> float:
    """Run one connection; returns the bytes per second that the receiver got."""
    with socket.create_connection((host, port), 10) as connection:
        connection.settimeout(None)
        connection.sendall(_REQUEST.pack(kind, seconds))
        started = time.monotonic()
        if kind == DOWN:
            received = discard(connection)
        else:
            send_for(connection, seconds)
            connection.shutdown(socket.SHUT_WR)
            (received,) = COUNT.unpack(connection.recv(COUNT.size, socket.MSG_WAITALL))
        return float(received / (time.monotonic() - started))


def drive(kind: bytes, host: str, port: int, seconds: float, streams: int) -> float:
    """Run all connections at once; returns the sum of their rates. OSError if one fails."""
    rates: list[float] = []
    threads = [
        threading.Thread(target=lambda: rates.append(transfer(kind, host, port, seconds))) for _ in range(streams)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(rates) != streams:
        raise OSError(f"{streams - len(rates)} of {streams} streams failed")
    return sum(rates)


def main(arguments: list[str]) -> None:
    """See the module's docstring."""
    if arguments[0] == "serve":
        serve(int(arguments[1]))
    word, host, port, seconds, streams = arguments
    kind = {"up": UP, "down": DOWN}[word]
    print(drive(kind, host, int(port), float(seconds), int(streams)))


if __name__ == "__main__":
    main(sys.argv[1:])
