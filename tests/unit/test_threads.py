"""Threads beside the daemon's loop leave SIGABRT to the main one."""

from __future__ import annotations

import queue
import signal
import threading

from algate.alg import threads


def blocked() -> set[signal.Signals]:
    return {number for number in signal.pthread_sigmask(signal.SIG_BLOCK, ()) if isinstance(number, signal.Signals)}


def test_none_of_them_hears_sigabrt() -> None:
    heard: queue.Queue[set[signal.Signals]] = queue.Queue()
    threads.start(lambda: heard.put(blocked()), "one")
    assert signal.SIGABRT in heard.get(timeout=10)
    with threads.pool() as pool:
        assert signal.SIGABRT in pool.submit(blocked).result(timeout=10)
    assert signal.SIGABRT not in blocked(), "the main thread hears it"


def test_a_thread_keeps_no_process_alive() -> None:
    names: queue.Queue[tuple[str, bool]] = queue.Queue()
    threads.start(lambda: names.put((threading.current_thread().name, threading.current_thread().daemon)), "one")
    assert names.get(timeout=10) == ("one", True)
