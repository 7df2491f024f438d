"""A log of translations in a file that is replaced when it is full: FILE, then FILE.1, FILE.2, up to so many.

The law of this file: the daemon's loop never waits for a disk. Lines are handed to a thread that writes them; while it
can't, at most QUEUE bytes wait, and what comes beyond is lost and counted."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from algate.alg import threads
from algate.alg.audit import record
from algate.alg.audit.translations import Translation
from algate.alg.errors import AlgateError

QUEUE = 8 << 20  # bytes that may wait: about 50,000 lines
CLOSING = 2.0  # s for the thread to write what waits when the log is closed
log = logging.getLogger(__name__)


class LogFile:
    """`size`: bytes at which a file is put aside; `files`: how many there are at most, the one being written included.

    AlgateError if the file can't be opened: its folder must exist.
    """

    def __init__(self, path: Path, size: int, files: int) -> None:
        self.path, self.size, self.files = path, size, files
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._wake = threading.Condition()
        self._closed = self._silent = False
        try:
            self._fd = _open(path)
        except OSError as error:
            raise AlgateError(f"[log] file: can't write {path}: {error.strerror}") from None
        self._written = os.fstat(self._fd).st_size
        self._thread = threads.start(self._run, "log-file")

    @property
    def waiting(self) -> int:
        """Bytes that aren't written yet."""
        return self._bytes

    def write(self, records: Sequence[Translation]) -> int:
        """All of them or none."""
        return len(records) if self._put("".join(f"{record.line(one)}\n" for one in records)) else 0

    def gap(self, number: int) -> bool:
        """One line."""
        return self._put(record.gap(number, time.time()) + "\n")

    def close(self) -> None:
        """Wait for what waits to be written, at most CLOSING s."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join(CLOSING)

    def _put(self, text: str) -> bool:
        data = text.encode()
        with self._wake:
            if self._closed or self._bytes + len(data) > QUEUE:
                return False
            self._waiting.append(data)
            self._bytes += len(data)
            self._wake.notify()
        return True

    def _run(self) -> None:
        """The thread: write what waits, in one go."""
        while True:
            with self._wake:
                while not self._waiting and not self._closed:
                    self._wake.wait()
                data = b"".join(self._waiting)
                self._waiting.clear()
                if not data:
                    break
            self._write(data)
            with self._wake:
                self._bytes -= len(data)
        with contextlib.suppress(OSError):
            os.close(self._fd)

    def _write(self, data: bytes) -> None:
        """Write whole lines; what the disk refuses stays until it takes it, or the log is closed."""
        while data:
            try:
                if self._written >= self.size or not self._is_ours():
                    self._turn_over()
                done = os.write(self._fd, data)
                self._written += done
                data = data[done:]
                self._silent = False
            except OSError as error:
                if not self._silent:
                    log.error("[log] file: %s: %s; lines wait, then are lost", self.path, error.strerror)
                    self._silent = True
                if self._closed:
                    return
                time.sleep(0.5)

    def _is_ours(self) -> bool:
        """Whether the path still leads to the file being written: logrotate may have moved it."""
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._fd))
        except OSError:
            return False

    def _turn_over(self) -> None:
        """Go on in a new file. One that somebody else put aside is left to them."""
        if self._is_ours():
            names = [self.path, *(self.path.with_name(f"{self.path.name}.{n}") for n in range(1, self.files))]
            for older, newer in zip(names[:0:-1], names[-2::-1], strict=True):
                with contextlib.suppress(FileNotFoundError):
                    os.replace(newer, older)
            if len(names) == 1:
                os.unlink(self.path)
        fresh = _open(self.path)
        os.close(self._fd)
        self._fd, self._written = fresh, os.fstat(fresh).st_size


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)


def family(path: Path) -> list[Path]:
    """The files of a log that are there, the oldest first. `path`: the one being written; others may be compressed."""
    aside = [one for one in path.parent.glob(f"{path.name}.*") if _number(one).isdigit()]
    aside.sort(key=lambda one: -int(_number(one)))
    return [*aside, *([path] if path.exists() else [])]


def _number(path: Path) -> str:
    return path.name.removesuffix(".gz").rpartition(".")[2]
