"""Threads beside the daemon's loop.

They leave SIGABRT to the main thread. systemd's watchdog sends it to a daemon that hangs, and faulthandler then writes
where each thread stands: in the thread that the kernel picked. If that were another one, the main thread would run on
while its frames are read, and the log, instead of where it hung, would say "Segmentation fault".
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def start(target: Callable[[], None], name: str) -> threading.Thread:
    """Run `target` in a thread that doesn't keep the process alive."""

    def run() -> None:
        _leave_abort()
        target()

    thread = threading.Thread(target=run, daemon=True, name=name)
    thread.start()
    return thread


def pool() -> ThreadPoolExecutor:
    """For `loop.set_default_executor`: what `asyncio.to_thread` runs in."""
    return ThreadPoolExecutor(thread_name_prefix="beside", initializer=_leave_abort)


def _leave_abort() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGABRT})
