"""The bytes of one connection to an engine, and a wait for them that takes no turn of the loop.

The law of this file: bytes, and no word of what they mean. To its owner it is what a transport of asyncio is, and it
can `listen` too: for as long as its caller can spare, which is less than a turn of the loop and back takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Sequence

from algate.bpf import calls

from .store import Listened

log = logging.getLogger(__name__)
ROOM = 65536  # bytes that are read at once
MOST = 1 << 20  # bytes that are sent at once
NOTHING = Listened(False, False)


class Wire:
    """Of a connected socket. `received` gets what comes; `lost` is called once, with why, when nothing more can."""

    def __init__(
        self, near: socket.socket, received: Callable[[bytes], None], lost: Callable[[Exception | None], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._near = near
        self._fd = near.fileno()
        self._received = received
        self._lost = lost
        self._unsent = bytearray()
        near.setblocking(False)
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._loop.add_reader(self._fd, self.read)

    def write(self, data: bytes) -> None:
        """Send, now as far as there is room. A failure is told later, and not from in here."""
        if self._unsent:
            self._unsent += data
            return
        try:
            sent = self._near.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self._loop.call_soon(self._end, error)
            return
        if sent < len(data):
            self._unsent += memoryview(data)[sent:]
            self._loop.add_writer(self._fd, self._flush)

    def _flush(self) -> None:
        try:
            with memoryview(self._unsent) as rest:
                sent = self._near.send(rest[:MOST])
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error)
            return
        del self._unsent[:sent]
        if not self._unsent:
            self._loop.remove_writer(self._fd)

    def read(self) -> None:
        """Take what has come."""
        try:
            data = self._near.recv(ROOM)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error)
            return
        self._take(data)

    def _take(self, data: bytes) -> None:
        if not data:
            self._end(None)
            return
        try:
            self._received(data)
        except Exception as error:  # as asyncio does with a protocol that fails: what follows can't be understood
            log.exception("what came from an engine could not be handled")
            self._end(error)

    def listen(self, seconds: float, others: Sequence[int]) -> Listened:
        """Wait until something comes, and take it: at most so long, and no longer than until one of the `others`, which
        are descriptors, has something."""
        if self._fd < 0:
            return NOTHING
        try:
            data, more = calls.hear(self._fd, seconds, list(others))
        except OSError as error:
            self._end(error)
            return NOTHING
        if data is not None:
            self._take(data)
        return Listened(data is not None, more)

    def abort(self) -> None:
        """Close at once, and tell nobody."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)
            self._fd = -1
            with contextlib.suppress(OSError):
                self._near.close()

    def _end(self, error: Exception | None) -> None:
        if self._fd >= 0:
            self.abort()
            self._lost(error)
