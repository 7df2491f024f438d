"""The terminal while `top` has it: keys one by one, the other screen, no cursor; and back, whatever happens.

The law of this file: what it changes of a terminal or of signals it puts back, when it ends, when it is suspended, when
an exception goes by. It draws nothing.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import termios
import tty
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

ENTER = b"\x1b[?1049h\x1b[?25l"
LEAVE = b"\x1b[0m\x1b[?1049l\x1b[?25h"
# SIGINT too: whoever is started by a shell's `&` inherits that it is ignored, and Python leaves it so.
DEADLY = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
KEYS = 1024  # bytes read at a time


class TopTerminal:
    """A context manager. Deadly signals raise KeyboardInterrupt inside of it.

    `wake`: called when a signal came that changes what is shown. `stale`: whether the screen has to be drawn anew.
    """

    def __init__(self, keys: int, screen: int, wake: Callable[[], None]) -> None:
        self._keys, self._screen, self._wake = keys, screen, wake
        self._former: list[Any] = []
        self._handlers: dict[int, Any] = {}
        self._suspended = False
        self.stale = True

    def __enter__(self) -> Self:
        self._former = termios.tcgetattr(self._keys)
        for number in DEADLY:
            self._handlers[number] = signal.signal(number, self._stop)
        for number, handler in (
            (signal.SIGTSTP, self._asked_to_suspend), (signal.SIGCONT, self._changed), (signal.SIGWINCH, self._changed),
        ):  # fmt: skip
            self._handlers[number] = signal.signal(number, handler)
        self._take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_back()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        try:
            found = os.get_terminal_size(self._screen)
        except OSError:
            return 80, 24
        return found.columns or 80, found.lines or 24

    def ready(self) -> bool:
        """Whether the terminal has taken what was sent before: a slow one is sent the newest frame only."""
        return bool(select.select([], [self._screen], [], 0)[1])

    def send(self, data: bytes) -> None:
        """KeyboardInterrupt if the terminal is gone."""
        while data:
            try:
                data = data[os.write(self._screen, data) :]
            except BlockingIOError:
                select.select([], [self._screen], [], 1.0)
            except OSError:
                raise KeyboardInterrupt from None

    def read(self) -> bytes:
        """Keys that were pressed; KeyboardInterrupt if the terminal is gone."""
        try:
            data = os.read(self._keys, KEYS)
        except OSError:
            data = b""
        if not data:
            raise KeyboardInterrupt
        return data

    def attend(self) -> None:
        """Suspend if that was asked for; returns when the operator has resumed."""
        if not self._suspended:
            return
        self._suspended = False
        self._give_back()
        ours = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        # To this thread, so that it stops here. It returns at SIGCONT, or at once where nobody could resume it.
        signal.raise_signal(signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, ours)
        self._former = termios.tcgetattr(self._keys)
        self._take()
        self.stale = True

    def _take(self) -> None:
        tty.setcbreak(self._keys, termios.TCSANOW)  # no key is lost
        self.send(ENTER)

    def _give_back(self) -> None:
        with contextlib.suppress(KeyboardInterrupt):
            self.send(LEAVE)
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self._keys, termios.TCSAFLUSH, self._former)

    def _stop(self, number: int, frame: object) -> None:
        raise KeyboardInterrupt

    def _asked_to_suspend(self, number: int, frame: object) -> None:
        self._suspended = True
        self._wake()

    def _changed(self, number: int, frame: object) -> None:
        """Resized, or resumed after a stop that nobody asked us about."""
        if number == signal.SIGCONT:
            with contextlib.suppress(termios.error):
                tty.setcbreak(self._keys, termios.TCSANOW)  # no key is lost
        self.stale = True
        self._wake()
