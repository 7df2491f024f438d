"""One daemon per run directory: a lock that dies with its process says who holds it.

The law of this file: the directory and its lock, nothing else. The service claims it before it touches the
kernel, so that a second instance leaves nothing half attached.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from algate.alg.errors import FAILED, MISSING, AlgateError


class Claim:
    """A run directory held by this process until it closes it or dies, however it dies."""

    def __init__(self, run_dir: Path) -> None:
        """Create the directory (mode 0700) if needed. AlgateError if another process holds it, or that fails."""
        try:
            run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(run_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            code = MISSING if isinstance(error, PermissionError) else FAILED
            raise AlgateError(f"can't use run directory {run_dir}: {error.strerror}", code) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.read(self._file, 32).decode("ascii", "replace").strip()
            os.close(self._file)
            pid = f" (pid {owner})" if owner.isdigit() else ""
            raise AlgateError(f"already running on {run_dir}{pid}: stop it, or give another --run-dir") from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Let go of the directory. The lock file stays: unlinking it would let two processes hold two locks."""
        if self._file >= 0:
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
