"""A helper that hangs: systemd hears no more of it, `status` says so in time, and its log says where it hung."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.host import PATIENCE
from algate.cli.lab.lab import Lab
from tests.netns.talk import Echo, Line, until, verb

ECHO = 7007
WATCHED = 1.0  # s, of WatchdogSec


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """What a unit with WatchdogSec= gives its daemon."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(5 * PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", str(int(WATCHED * 1e6)))
        yield heard


def life_sign(systemd: socket.socket) -> None:
    """Wait for the next one; TimeoutError if none comes."""
    while systemd.recv(4096) != b"WATCHDOG=1":
        pass


def silent(systemd: socket.socket, seconds: float) -> bool:
    systemd.setblocking(False)
    try:
        while True:  # what it said before
            systemd.recv(4096)
    except BlockingIOError:
        systemd.settimeout(seconds)
    try:
        return not systemd.recv(4096)
    except TimeoutError:
        return True


def test_a_hung_helper_is_seen(lab: Lab, systemd: socket.socket) -> None:
    with AlgateGateway(lab) as gateway, Echo(lab.server, ECHO), Line(lab.client, lab.plan.servers[0], ECHO) as line:
        assert line.ask(b"before") == b"before"
        began = time.monotonic()
        for _ in range(4):
            life_sign(systemd)
        assert time.monotonic() - began < 4 * WATCHED * PATIENCE, "twice per interval"
        assert gateway.process is not None
        pid = gateway.ask("status")["pid"]
        os.kill(pid, signal.SIGSTOP)
        assert silent(systemd, 3 * WATCHED)
        began = time.monotonic()
        verb(gateway, "--version")
        alone = time.monotonic() - began
        done = verb(gateway, "status", "--json")
        assert time.monotonic() - began < 3 * PATIENCE + 3 * alone, "on a loaded machine Python's own start takes long"
        found = json.loads(done.stdout)
        assert done.returncode == 1 and found["state"] == "the daemon doesn't answer"
        assert (found["pid"], found["process"], found["sessions"]) == (pid, "stopped", 1)
        assert found["heartbeat_age"] > 3 and found["helper_alive"] is False
        assert "1 session goes on in the kernel, control sessions wait" in done.stderr
        assert line.ask(b"meanwhile") == b"meanwhile"
        os.kill(pid, signal.SIGABRT)  # as systemd does
        os.kill(pid, signal.SIGCONT)
        until(lambda: not gateway.process or not gateway.process.alive())
        assert "Fatal Python error: Aborted" in gateway.log and "admin/run.py" in gateway.log, gateway.log
        gateway.start()
        assert line.ask(b"after") == b"after"
