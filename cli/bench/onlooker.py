"""`algate top` on a screen that nobody looks at: what it costs to keep it open, at both ends, and what is sent to it.

The law of this file: the command as an operator starts it, in a terminal of its own whose output is thrown away.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator

from algate.cli.lab.gateways import AlgateGateway, algate

COLUMNS, LINES = 200, 60


class Onlooker:
    """`process`: its number; `sent`: bytes that the screen got so far."""

    def __init__(self, gateway: AlgateGateway) -> None:
        self.sent = 0
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self._ended = threading.Event()
        self._command = subprocess.Popen(
            [*algate(), "top", "--run-dir", str(gateway.run_dir)], stdin=theirs, stdout=theirs, stderr=theirs,
            start_new_session=True, env={**os.environ, "TERM": "xterm-256color"},
        )  # fmt: skip
        os.close(theirs)
        self.process = self._command.pid
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # it has ended
            while not self._ended.is_set():
                if select.select([self._ours], [], [], 0.2)[0]:
                    self.sent += len(os.read(self._ours, 65536))

    def close(self) -> None:
        """Press q, and wait for the end."""
        with contextlib.suppress(OSError):
            os.write(self._ours, b"q")
        try:
            self._command.wait(10)
        except subprocess.TimeoutExpired:
            self._command.kill()
            self._command.wait()
        self._ended.set()
        self._reader.join()
        os.close(self._ours)


@contextlib.contextmanager
def onlooking(gateway: AlgateGateway) -> Iterator[Onlooker]:
    """Somebody has `top` open."""
    made = Onlooker(gateway)
    try:
        yield made
    finally:
        made.close()
