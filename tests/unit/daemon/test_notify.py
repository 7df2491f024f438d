"""What systemd hears: life signs at half of its interval, from the process that it watches, and only while the loop
goes round."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from algate.alg.daemon.notify import Watchdog, watched

pytestmark = pytest.mark.unit


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield heard


def said(systemd: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(systemd.recv(1024))
        except BlockingIOError:
            return found


def test_it_speaks_at_half_of_the_interval(systemd: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "10000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    dog = Watchdog()
    for quarter in range(4 * 20):
        dog.feed(1000 + quarter / 4)
    assert said(systemd) == [b"WATCHDOG=1"] * 4
    dog.feed(2000)
    assert said(systemd) == [b"WATCHDOG=1"], "late, once"


@pytest.mark.parametrize("asked", [{}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"}])
def test_it_is_silent_if_nobody_watches_this_process(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch, asked: dict[str, str]
) -> None:
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    assert watched() == 0
    Watchdog().feed(1000)
    assert said(systemd) == []
