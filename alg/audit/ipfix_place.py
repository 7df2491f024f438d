"""Translations for an IPFIX collector, by UDP (RFC 7011 section 10.3).

The law of this file: it sends and never waits. What a socket doesn't take at once is kept, up to PENDING_MOST messages,
and sent at the next occasion; more is lost and counted, and the collector is told how many. Of what is lost on the way
it learns by the sequence numbers. Templates are sent first and again every TEMPLATES_EVERY s, for a collector that
starts later.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence

from algate.alg.audit.ipfix import Exporter
from algate.alg.audit.translations import Translation
from algate.alg.plugin.model import EndPoint

PENDING_MOST = 512  # messages, 700 kB
TEMPLATES_EVERY = 60.0  # s; RFC 7011 section 8.4: a collector forgets a template after 30 minutes or later
BUFFER = 1 << 20  # bytes of the socket's send buffer
DOMAIN = 1


class IpfixPlace:
    """`where`: the collector. `lost` counts records that never left, or that nobody listened for."""

    def __init__(self, where: EndPoint, clock: Callable[[], float] = time.time) -> None:
        self.lost = 0
        self._clock = clock
        self._exporter = Exporter(DOMAIN)
        self._pending: deque[tuple[bytes, int]] = deque()
        self._told = -TEMPLATES_EVERY  # CLOCK_MONOTONIC
        self._last = 0  # records in the message sent last
        self._counted = 0  # of `lost`, what `write` has said
        self._not_sent = 0  # what the collector was told
        kind = socket.AF_INET if where.ip.version == 4 else socket.AF_INET6
        self._socket = socket.socket(kind, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        self._address = (str(where.ip), where.port)
        self._connected = False

    def write(self, records: Sequence[Translation]) -> int:
        """How many of these were sent, or are kept to be."""
        now = self._clock()
        self._send_pending()
        if time.monotonic() - self._told >= TEMPLATES_EVERY:
            self._told = time.monotonic()
            self._pending.append((self._exporter.templates(now), 0))
        for message, count in self._exporter.messages(records, now):
            if len(self._pending) >= PENDING_MOST:
                self.lost += count
            else:
                self._pending.append((message, count))
            self._send_pending()
        missing = min(len(records), self.lost - self._counted)
        self._counted += missing
        return len(records) - missing

    def gap(self, number: int) -> bool:
        """Tell the collector how many records it lacks in all, by so many more."""
        self._send_pending()
        if len(self._pending) >= PENDING_MOST:
            return False
        self._not_sent += number
        self._pending.append((self._exporter.loss(self._not_sent, self._clock()), 0))
        self._send_pending()
        return True

    def close(self) -> None:
        """Send what the socket takes."""
        self._send_pending()
        self._socket.close()

    def _send_pending(self) -> None:
        while self._pending:
            message, count = self._pending[0]
            try:
                if not self._connected:
                    self._socket.connect(self._address)
                    self._connected = True
                self._socket.send(message)
            except BlockingIOError:
                return
            except ConnectionRefusedError:  # of the message before: nobody listened. This one wasn't tried
                self.lost, self._last = self.lost + self._last, 0
                continue
            except OSError:  # no route, say
                self.lost += count
                count = 0
            self._pending.popleft()
            self._last = count
