"""sd_notify: tells systemd about readiness, state and life, if it asked (sd_notify(3), sd_watchdog_enabled(3)).

The law of this file: one datagram, never an error.
"""

from __future__ import annotations

import contextlib
import os
import socket


def notify(message: str) -> None:
    """Send to NOTIFY_SOCKET; nothing if there is none."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address[0] == "@":
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        connection.sendto(message.encode(), address)


class Watchdog:
    """WatchdogSec= of the unit: systemd ends a daemon that it hears nothing of for that long, and starts it again."""

    def __init__(self) -> None:
        self._pause = watched() / 2
        self._due = 0.0

    def feed(self, moment: float) -> None:
        """The loop goes round; `moment` in s of a clock that only rises. Says so twice per interval."""
        if self._pause and moment >= self._due:
            self._due = moment + self._pause
            notify("WATCHDOG=1")


def watched() -> float:
    """The interval in s, 0 if systemd doesn't watch this process."""
    if os.environ.get("WATCHDOG_PID", "") not in ("", str(os.getpid())):
        return 0.0
    asked = os.environ.get("WATCHDOG_USEC", "")
    return int(asked) / 1e6 if asked.isdecimal() else 0.0
