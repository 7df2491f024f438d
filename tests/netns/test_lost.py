"""A full ring: copies are lost, TCP repeats what was held, and no unrewritten byte leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from algate.cli.lab.capture import Capture
from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.judge import private_text
from algate.cli.lab.lab import Lab
from algate.cli.lab.servers import start_server
from algate.cli.lab.wire import trace
from tests.netns import crowd
from tests.netns.talk import until

CLIENTS, TRANSFERS = 24, 8


def test_sessions_recover_from_lost_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon is stopped for less than `helper_timeout` at a time: its ring of one page overflows each time."""
    monkeypatch.setenv("ALGATE_RING_PAGES", "1")
    with Lab() as lab, AlgateGateway(lab, config="[alg]\nhelper_timeout = 30\n") as gateway:
        server = start_server("vsftpd", lab.server)
        where = [lab.plan.servers[0], "21", server.login.user, server.login.password]
        argv = [sys.executable, crowd.__file__, *where, str(CLIENTS), str(TRANSFERS), "pub"]
        private = IPv4Network(lab.plan.inside)
        with Capture(lab.server, forbidden=(lab.plan.inside,)) as outside:
            process = subprocess.Popen(
                lab.client.command(argv), stdout=subprocess.PIPE, text=True, cwd=Path(crowd.__file__).parents[2]
            )
            try:
                interrupt(gateway, process)
                told = json.loads(process.communicate(timeout=120)[0])
            finally:
                process.kill()
            seen = trace(outside.take())
        assert told == {"done": CLIENTS * TRANSFERS, "errors": []}
        assert gateway.ask("stats")["algate_punts_lost_total"] > 0, "nothing was lost: this proves nothing"
        assert [ip for ip in seen.addresses() if ip.startswith("10.77.0.")] == []
        assert len(seen.control()) == CLIENTS
        for connection in seen.control():
            assert private_text(connection.up.bytes(), private) == []
            assert b"PORT 198,51,100,2," in connection.up.bytes()
            # The dialogue itself ends: a repetition that comes after a host has closed may be answered by a RST.
            assert connection.finished and connection.down is not None
            assert connection.up.bytes().endswith(b"QUIT\r\n") and b"\r\n221 " in connection.down.bytes()
        every = b"\n".join(segment.payload for segment in seen.segments)
        assert private_text(every, private) == [], "also not in a segment that was sent again"


def interrupt(gateway: AlgateGateway, process: subprocess.Popen[str]) -> None:
    """Stop and continue the daemon while the clients work."""
    pid = int(gateway.ask("status")["pid"])
    until(lambda: gateway.ask("status")["control_sessions"] > 0)
    for _ in range(4):
        if process.poll() is not None:
            return
        os.kill(pid, signal.SIGSTOP)
        time.sleep(1.0)
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.3)
