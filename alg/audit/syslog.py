"""Translations for a syslog daemon, as RFC 5424 messages with structured data: one datagram each. The message's own
text is the record as a file has it: most daemons leave the structured data out of what they write, and `algate whose`
reads what is left.

The law of this file: it sends and never waits; what a socket doesn't take at once is lost and counted. Over UDP (RFC
5426) a message may be lost on the way too, and nobody hears of that: a file or a local syslog daemon is for those who
must know."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from algate.alg.audit import record
from algate.alg.audit.translations import Translation
from algate.alg.plugin.model import EndPoint

LOCAL = Path("/dev/log")
DAEMON, NOTICE, INFO = 3, 5, 6  # facility and severities, RFC 5424 section 6.2.1
SD_ID = "algate@32473"  # the enterprise number set aside for documentation (RFC 5612): algate has none of its own
BUFFER = 1 << 20  # bytes of the socket's send buffer


class Syslog:
    """`where` None: the local daemon's socket."""

    def __init__(self, where: EndPoint | None, local: Path = LOCAL) -> None:
        self._address = str(local) if where is None else (str(where.ip), where.port)
        kind = socket.AF_UNIX if where is None else socket.AF_INET if where.ip.version == 4 else socket.AF_INET6
        self._socket = socket.socket(kind, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        self._host = socket.gethostname()[:255] or "-"

    def write(self, records: Sequence[Translation]) -> int:
        """Those that the socket takes at once."""
        for number, one in enumerate(records):
            if not self._send(message(one, self._host)):
                return number
        return len(records)

    def gap(self, number: int) -> bool:
        """One message."""
        head = _head(NOTICE, time.time(), self._host, record.GAP)
        return self._send(f'{head} [{SD_ID} count="{number}"] {record.gap(number, time.time())}'.encode())

    def close(self) -> None:
        """Nothing is kept back."""
        self._socket.close()

    def _send(self, data: bytes) -> bool:
        try:
            self._socket.sendto(data, self._address)
        except OSError:
            return False
        return True


def message(one: Translation, host: str) -> bytes:
    """A datagram. Values are addresses, numbers and names of algate's own: none needs escaping."""
    text = record.line(one)
    data = " ".join(f'{name}="{value}"' for name, value in record.named(text).items())
    return f'{_head(INFO, one.time, host, one.kind)} [{SD_ID} proto="{one.proto_name}" {data}] {text}'.encode()


def _head(severity: int, at: float, host: str, kind: str) -> str:
    return f"<{DAEMON * 8 + severity}>1 {record.moment(at)} {host} algate {os.getpid()} {kind}"
