"""What the daemon says, read by threads of their own: the stream of snapshots, and answers to errands.

The law of this file: it waits for the daemon so that the screen doesn't; it draws nothing. After every loss it connects
again by itself.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from algate.alg.errors import AlgateError
from algate.alg.rows import SessionRow
from algate.cli.top.choices import TopErrand
from algate.cli.top.history import TopSnapshot
from algate.client import Client

RETRY = 1.0  # seconds between attempts to reach a daemon that is away
SILENCE = 5.0  # seconds without a snapshot until the operator is told
ANEW = 10.0  # seconds of silence until another connection is tried; then twice as long, and so on
KEPT = 8  # snapshots that wait for a screen which is busy
FIRST_ROWS = 3  # of an errand's listing that are kept; all are counted
OTHER_VERSION = "the daemon's answer can't be understood: it may be a different version"


@dataclass(frozen=True, slots=True)
class TopAnswer:
    """To an errand. `error`: why there is none, or ""."""

    errand: TopErrand
    data: Any = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class News:
    """Since the last look. `trouble`: what is wrong with the stream, "": nothing."""

    snapshots: list[TopSnapshot]
    answers: list[TopAnswer]
    trouble: str


class Feed:
    """Threads that read; `fileno()` is readable when there is news."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._lock = threading.Lock()
        self._fresh: list[TopSnapshot] = []
        self._answers: list[TopAnswer] = []
        self._trouble = "waiting for the daemon"
        self._heard = time.monotonic()
        self._anew = ANEW
        self._asked: Mapping[str, Any] | None = None
        self._number = 0  # of the request that counts; threads of earlier ones end
        self._wake_read, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        self._ended = threading.Event()

    def fileno(self) -> int:
        """A descriptor to wait for."""
        return self._wake_read

    def ask(self, args: Mapping[str, Any]) -> None:
        """Have the stream answer this request from now on."""
        with self._lock:
            late = time.monotonic() - self._heard > self._anew + float(args.get("interval", 0))
            if args == self._asked and not late:
                return
            if late:
                self._anew *= 2
            else:
                self._heard = time.monotonic()
            self._asked, self._number = args, self._number + 1
        threading.Thread(target=self._read, args=(self._number, args), name="feed", daemon=True).start()

    def run(self, errand: TopErrand) -> None:
        """Ask something once."""
        threading.Thread(target=self._carry_out, args=(errand,), name="errand", daemon=True).start()

    def wake(self) -> None:
        """Make `fileno()` readable."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake, b".")

    def take(self) -> News:
        """What has come since the last call."""
        while select.select([self._wake_read], [], [], 0)[0]:
            os.read(self._wake_read, 4096)
        with self._lock:
            fresh, self._fresh = self._fresh, []
            answers, self._answers = self._answers, []
            silent = time.monotonic() - self._heard
            return News(fresh, answers, self._trouble or self._silence(silent))

    def _silence(self, seconds: float) -> str:
        least = SILENCE + float((self._asked or {}).get("interval", 0))
        return f"no news from the daemon for {seconds:.0f} s" if seconds > least else ""

    def barred(self) -> str:
        """Why this user may not end sessions; "": nothing is known against it."""
        if Client(self.run_dir).may_change():
            return ""
        return "you may only read: ending sessions changes the gateway, run `sudo algate top`"

    def close(self) -> None:
        """Let the threads end by themselves; they hold nothing that matters."""
        self._ended.set()

    def _past(self, number: int) -> bool:
        return self._ended.is_set() or number != self._number

    def _read(self, number: int, args: Mapping[str, Any]) -> None:
        while not self._past(number):
            trouble = f"retrying: the daemon on {self.run_dir} went away"
            try:
                for data in Client(self.run_dir).told("top", args):
                    if self._past(number):
                        return
                    self._news(number, TopSnapshot.read(data), "")
            except AlgateError as error:
                trouble = f"retrying: {error}"
            except (TypeError, ValueError, AttributeError):
                trouble = OTHER_VERSION
            self._news(number, None, trouble)
            self._ended.wait(RETRY)

    def _news(self, number: int, snapshot: TopSnapshot | None, trouble: str) -> None:
        with self._lock:
            if number != self._number:
                return
            self._trouble = trouble
            if snapshot is not None:
                self._fresh = [*self._fresh[-KEPT:], snapshot]
                self._heard, self._anew = time.monotonic(), ANEW
        self.wake()

    def _carry_out(self, errand: TopErrand) -> None:
        try:
            answer = TopAnswer(errand, self._answer(errand))
        except AlgateError as error:
            answer = TopAnswer(errand, error=str(error))
        except (TypeError, ValueError, KeyError, AttributeError):
            answer = TopAnswer(errand, error=OTHER_VERSION)
        with self._lock:
            self._answers.append(answer)
        self.wake()

    def _answer(self, errand: TopErrand) -> Any:
        """The object; of sessions that end or would, how many, and the first ones."""
        if errand.verb != "kill":
            return Client(self.run_dir).ask(errand.verb, errand.args)
        rows = Client(self.run_dir).listed(errand.verb, SessionRow, errand.args)
        first = list(islice(rows, FIRST_ROWS))
        return len(first) + sum(1 for _ in rows), first
