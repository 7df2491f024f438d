"""A terminal that a test plays: a pty with a program in it, and pyte, which says what the screen shows."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pyte

WAIT = 30.0  # s until a screen that doesn't come is a failure; a right one takes a fraction


class TestScreen:
    """A terminal of a given size with a program in it. `written`: all bytes that it got."""

    __test__ = False

    def __init__(self, argv: Sequence[str], columns: int, lines: int, env: Mapping[str, str]) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self.written = b""
        self.ours, self.theirs = pty.openpty()
        self._size(columns, lines)
        self.before = termios.tcgetattr(self.theirs)
        self.process = subprocess.Popen(
            argv, stdin=self.theirs, stdout=self.theirs, stderr=self.theirs, start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **env},
        )  # fmt: skip

    def _size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def resize(self, columns: int, lines: int) -> None:
        """As a window manager does."""
        self.screen.resize(lines, columns)
        self._size(columns, lines)
        self.process.send_signal(signal.SIGWINCH)

    def read(self, seconds: float = 0.05) -> None:
        """Take in what has been written so far, waiting a moment for some."""
        if select.select([self.ours], [], [], seconds)[0]:
            with contextlib.suppress(OSError):
                data = os.read(self.ours, 65536)
                self.written += data
                self._stream.feed(data)

    @property
    def text(self) -> str:
        """What the screen shows."""
        return "\n".join(self.screen.display)

    def until(self, what: str, test: Callable[[str], bool], seconds: float = WAIT) -> str:
        """The screen, as soon as it satisfies `test`."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.read()
            if test(self.text):
                return self.text
        raise AssertionError(f"{what} did not come; the screen is\n{self.text}")

    def shows(self, *words: str) -> str:
        """The screen, as soon as all of these are on it."""
        return self.until(" and ".join(words), lambda text: all(one in text for one in words))

    def type(self, data: bytes) -> None:
        """Press keys."""
        os.write(self.ours, data)

    def ended(self) -> int:
        """The exit code, after checking that the terminal is as it was."""
        end = time.monotonic() + WAIT
        while self.process.poll() is None and time.monotonic() < end:
            self.read()
        code = self.process.wait(1)
        for _ in range(3):
            self.read()
        assert termios.tcgetattr(self.theirs) == self.before
        assert self.written.rindex(b"\x1b[?1049l") > self.written.rindex(b"\x1b[?1049h"), "the main screen is back"
        assert self.written.rindex(b"\x1b[?25h") > self.written.rindex(b"\x1b[?25l"), "the cursor is back"
        return code

    def close(self) -> None:
        """End it whatever happens."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        os.close(self.ours)
        os.close(self.theirs)


@contextlib.contextmanager
def own_tmux() -> Iterator[list[str]]:
    """The words that begin a tmux of one's own; its server ends with all that runs in it."""
    path = Path(f"/tmp/top-{os.getpid()}")  # a socket's path is short
    words = ["tmux", "-S", str(path), "-f", "/dev/null"]
    try:
        yield words
    finally:
        subprocess.run([*words, "kill-server"], check=False, capture_output=True)
        path.unlink(missing_ok=True)
