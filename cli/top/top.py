"""`algate top`: the terminal, the daemon's stream and the clock around the pure frame.

The law of this file: the only part of top with a terminal, a thread or a clock. Whatever ends it (a key, a signal, an
exception), the terminal is left as it was found.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live

from algate.alg.errors import USAGE, AlgateError
from algate.cli.output import show_lines, width
from algate.cli.top.flows import History, TopSnapshot
from algate.cli.top.keys import TopChoices, decode, press
from algate.cli.top.screen import Frame, render
from algate.client import Client

RETRY = 1.0  # seconds between attempts to reach a daemon that is away
SILENCE = 3.0  # seconds without a snapshot until the operator is told
ROWS = 2000  # sessions asked for: more than anyone scrolls through


class Feed:
    """The daemon's stream, read by its own thread, which reconnects after every loss."""

    def __init__(self, run_dir: Path, interval: float) -> None:
        self.run_dir = run_dir
        self.interval = interval
        self._lock = threading.Lock()
        self._fresh: list[TopSnapshot] = []
        self._trouble = "waiting for the daemon"
        self._heard = time.monotonic()
        self._wake_read, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read, name="feed", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """A descriptor that is readable when there is news."""
        return self._wake_read

    def take(self) -> tuple[list[TopSnapshot], str]:
        """The snapshots since the last call, and what is wrong ("": nothing)."""
        while select.select([self._wake_read], [], [], 0)[0]:
            os.read(self._wake_read, 4096)
        with self._lock:
            fresh, self._fresh = self._fresh, []
            silent = time.monotonic() - self._heard
            trouble = self._trouble or (f"no news from the daemon for {silent:.0f} s" if silent > SILENCE else "")
            return fresh, trouble

    def close(self) -> None:
        """Let the thread end by itself; it holds nothing that matters."""
        self._ended.set()

    def _read(self) -> None:
        while not self._ended.is_set():
            trouble = f"retrying: the daemon on {self.run_dir} went away"
            try:
                for data in Client(self.run_dir).told("top", {"interval": self.interval, "limit": ROWS}):
                    if self._ended.is_set():
                        return
                    self._news(TopSnapshot.read(data), "")
            except AlgateError as error:
                trouble = f"retrying: {error}"
            except (TypeError, ValueError, AttributeError):
                trouble = "the daemon's answer can't be understood: it may be a different version"
            self._news(None, trouble)
            self._ended.wait(RETRY)

    def _news(self, snapshot: TopSnapshot | None, trouble: str) -> None:
        with self._lock:
            self._trouble = trouble
            if snapshot is not None:
                self._fresh = [*self._fresh[-8:], snapshot]
                self._heard = time.monotonic()
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake, b".")


def top(run_dir: Path, interval: float) -> int:
    """Show it until a key ends it. AlgateError (usage) if there is no terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise AlgateError("top needs a terminal: use --once for one frame, or `sessions`, `stats`, `follow`", USAGE)
    console = Console(highlight=False, markup=False, emoji=False)
    feed = Feed(run_dir, interval)
    try:
        with raw_keys(sys.stdin.fileno()), Live(console=console, screen=True, auto_refresh=False) as live:
            _loop(console, live, feed, run_dir)
    except KeyboardInterrupt:
        pass
    finally:
        feed.close()
    return 0


def once(run_dir: Path, columns: int | None, lines: int) -> int:
    """Print one frame on stdout, for scripts and screenshots. ControlError if there is no daemon."""
    history = History()
    for data in Client(run_dir).told("top", {"interval": 0.5, "limit": ROWS}):
        history.add(TopSnapshot.read(data))
        if history.seen == 2:  # the first one has no rates
            break
    if not history.seen:
        raise AlgateError(f"the daemon on {run_dir} went away")
    columns = columns or (width() if sys.stdout.isatty() else 80)
    frame = render(history, TopChoices(), "", str(run_dir), columns, lines, clock)
    show_lines(frame.lines)
    return 0


def clock(seconds: float) -> str:
    """Local time of day."""
    return datetime.fromtimestamp(seconds).strftime("%H:%M:%S")


def _loop(console: Console, live: Live, feed: Feed, run_dir: Path) -> None:
    history, state = History(), TopChoices()
    while not state.done:
        fresh, trouble = feed.take()
        for snapshot in () if state.paused else fresh:
            history.add(snapshot)
        frame = render(history, state, trouble, str(run_dir), console.width, console.height, clock)
        live.update(Group(*frame.lines), refresh=True)
        state = _keys(state, frame, feed)


def _keys(state: TopChoices, frame: Frame, feed: Feed) -> TopChoices:
    """Wait for a key or news, at most half a second; the state after the keys."""
    stdin = sys.stdin.fileno()
    ready, _, _ = select.select([stdin, feed], [], [], 0.5)
    if stdin not in ready:
        return state
    data = os.read(stdin, 1024)
    if not data:
        raise KeyboardInterrupt  # the terminal is gone
    for key in decode(data):
        state = press(state, key, frame.page, frame.total)
    return state


@contextlib.contextmanager
def raw_keys(terminal: int) -> Iterator[None]:
    """Read keys one by one, without echo; deadly signals raise KeyboardInterrupt instead, so that all is undone."""
    former = termios.tcgetattr(terminal)
    handlers: dict[int, Any] = {}

    def stop(number: int, _: object) -> None:
        raise KeyboardInterrupt

    try:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            handlers[number] = signal.signal(number, stop)
        handlers[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, signal.SIG_IGN)
        tty.setcbreak(terminal)
        yield
    finally:
        with contextlib.suppress(termios.error):
            termios.tcsetattr(terminal, termios.TCSAFLUSH, former)
        for one, handler in handlers.items():
            signal.signal(one, handler)
