"""The old daemon's side of an upgrade: a new one that can't get ready, and whom it gives way to."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from algate.alg.admin import handover
from algate.alg.daemon.service import Daemon
from algate.alg.errors import AlgateError


class Service:
    """What the handover asks of a service."""

    def __init__(self) -> None:
        self.gave = self.resumed = 0
        self.pairing = self.running = None

    def need_running(self) -> None:
        pass

    def resume(self) -> None:
        self.resumed += 1

    def give_way(self) -> float:
        self.gave += 1
        return 7.0


def upgrade(monkeypatch: pytest.MonkeyPatch, service: Service, code: str, **args: Any) -> dict[str, Any]:
    """Of a daemon whose command line is that Python text."""
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, "-c", code])

    async def ask() -> dict[str, Any]:
        made = handover.Handover(cast(Daemon, service))
        asked = asyncio.ensure_future(made.upgrade({}))
        if args:
            await asyncio.sleep(0.1)
            assert made._child is not None
            await made.give_way({"pid": made._child.pid})
            made._child.wait()
        return await asked

    return asyncio.run(ask())


def test_the_last_line_and_the_code_of_one_that_cant_get_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service()
    code = "import sys; print('a log line\\nalgate: nat.hold_dawn: unknown', file=sys.stderr); sys.exit(2)"
    with pytest.raises(AlgateError) as refused:
        upgrade(monkeypatch, service, code)
    assert str(refused.value) == "no upgrade, the running daemon serves on: nat.hold_dawn: unknown"
    assert refused.value.exit_code == 2
    assert (service.gave, service.resumed) == (0, 1)


def test_one_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AlgateError, match="serves on: it ended with status -9") as refused:
        upgrade(monkeypatch, Service(), "import os; os.kill(os.getpid(), 9)")
    assert refused.value.exit_code == 1


def test_systemd_is_told_who_follows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(2)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        service = Service()
        answer = upgrade(monkeypatch, service, "import time; time.sleep(0.3)", gives=True)
        assert heard.recv(100) == f"MAINPID={answer['pid']}".encode()
        assert (service.gave, service.resumed) == (1, 0)


def test_under_systemd_nobody_else_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    service = Service()
    with pytest.raises(AlgateError, match="algate upgrade"):
        asyncio.run(handover.Handover(cast(Daemon, service)).give_way({"pid": 1}))
    assert not service.gave
