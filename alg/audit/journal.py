"""Events for journald, with fields: its native protocol (systemd's "Journal Native Protocol"), one datagram per event.

The law of this file: it sends and never waits; where no journal listens it does nothing. Everything in a field is
escaped, so that no hostile byte reaches the journal's readers; sizes are bounded, so that no entry needs a file.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from algate.alg.audit import record
from algate.alg.audit.told import told
from algate.alg.audit.translations import Translation
from algate.alg.errors import AlgateError
from algate.alg.rows import EventRow

SOCKET = Path("/run/systemd/journal/socket")
IDENTIFIER = "algate"
NOTICE, INFO = 5, 6  # syslog levels, RFC 5424 section 6.2.1
VALUE_MAX = 512  # bytes of one field
_NAME = re.compile(r"[^A-Z0-9_]")


class Journal:
    """`lost` counts events that the journal had no room for. ALGATE_JOURNAL names another socket, or none if empty."""

    def __init__(self, path: Path | None = None) -> None:
        chosen = os.environ.get("ALGATE_JOURNAL", str(SOCKET)) if path is None else str(path)
        self.path = chosen
        self.lost = 0
        self._socket: socket.socket | None = None
        if chosen and Path(chosen).is_socket():
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)

    def __bool__(self) -> bool:
        """Whether there is a journal."""
        return self._socket is not None

    def write(self, row: EventRow) -> None:
        """Send one event; lost if the journal is busy or gone."""
        if self._socket is None:
            return
        try:
            self._socket.sendto(entry(row), self.path)
        except OSError:
            self.lost += 1

    def send(self, data: bytes) -> bool:
        """Send one datagram; False if the journal is busy, gone, or there is none."""
        try:
            return self._socket is not None and self._socket.sendto(data, self.path) > 0
        except OSError:
            return False

    def close(self) -> None:
        """Close the socket: nothing is sent any more."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None


class JournalLog:
    """A log of translations: `journalctl SYSLOG_IDENTIFIER=algate ALGATE_PUBLIC=203.0.113.7:40001`."""

    def __init__(self, journal: Journal | None = None) -> None:
        """AlgateError if there is no journal."""
        self._journal = journal if journal is not None else Journal()
        if not self._journal:
            where = self._journal.path or "ALGATE_JOURNAL"
            raise AlgateError(f"[log] sinks: no journal listens on {where}: give [log] file, or syslog")

    def write(self, records: Sequence[Translation]) -> int:
        """Those that the journal takes at once."""
        for number, one in enumerate(records):
            if not self._journal.send(translation_entry(one)):
                return number
        return len(records)

    def gap(self, number: int) -> bool:
        """One entry."""
        told = {"MESSAGE": record.gap(number, time.time()).partition(" ")[2], "PRIORITY": str(NOTICE),
                "SYSLOG_IDENTIFIER": IDENTIFIER, "ALGATE_EVENT": record.GAP, "ALGATE_COUNT": str(number)}  # fmt: skip
        return self._journal.send("".join(f"{name}={value}\n" for name, value in told.items()).encode())

    def close(self) -> None:
        """Nothing is kept back."""
        self._journal.close()


def translation_entry(one: Translation) -> bytes:
    """The datagram: MESSAGE is the line of a log without its moment, which is ALGATE_TIME; then a field for each
    name."""
    at, _, told = record.line(one).partition(" ")
    names = {f"ALGATE_{name.upper()}": value for name, value in record.fields(one).items()}
    found = {"MESSAGE": told, "PRIORITY": str(INFO), "SYSLOG_IDENTIFIER": IDENTIFIER, "ALGATE_EVENT": str(one.kind),
             "ALGATE_TIME": at, "ALGATE_PROTO": one.proto_name, **names}  # fmt: skip
    return "".join(f"{name}={value}\n" for name, value in found.items()).encode()


def entry(row: EventRow) -> bytes:
    """The datagram: MESSAGE for people, ALGATE_EVENT, ALGATE_CONTROL, ... and ALGATE_<FIELD> for each field."""
    fields = {
        "MESSAGE": str(told(row)), "PRIORITY": str(NOTICE if row.reason else INFO), "SYSLOG_IDENTIFIER": IDENTIFIER,
        "ALGATE_EVENT": row.event, "ALGATE_CONTROL": row.control or "", "ALGATE_ALG": row.alg or "",
        "ALGATE_DETAIL": row.detail, "ALGATE_REASON": row.reason,
    }  # fmt: skip
    for name, value in row.fields.items():
        fields["ALGATE_" + _NAME.sub("_", name.upper())[:40]] = str(value)
    return "".join(f"{name}={escaped(value)}\n" for name, value in fields.items() if value).encode()


def escaped(text: str) -> str:
    """`text` with whatever a terminal or a line-based reader might act on escaped, cut to VALUE_MAX."""
    if not text.isprintable():
        text = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
    return text[:VALUE_MAX]
