"""One at a time makes what several want: a lock on a file, which ends with its process.

The law of this file: whoever comes in looks again whether it is there by now. On file systems without locks, or where
the file can't be written, all go on at once, each making its own.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait for whoever has the lock `path`, and have it."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            file = stack.enter_context(path.open("w"))
            stack.callback(path.unlink, missing_ok=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
