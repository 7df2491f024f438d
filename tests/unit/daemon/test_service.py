"""The service before it runs: what it can already be asked, and what waits."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from unittest.mock import AsyncMock, Mock

import pytest

from algate.alg.admin.status import status
from algate.alg.config import load as configuration
from algate.alg.daemon import service
from algate.alg.daemon.service import Daemon
from algate.alg.errors import AlgateError
from algate.alg.plugin import policy, registry

GATEWAY = '[gateway]\nlan = ["eth1"]\nwan = "eth0"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "a.toml"
    made.write_text(GATEWAY)
    return made


@pytest.fixture
def waiting(file: Path, tmp_path: Path) -> Daemon:
    """A service whose WAN has no address yet."""
    config = configuration.load(file, {}, policy.kinds(registry.discover()))
    return Daemon(config, tmp_path, None)


def test_a_reload_while_it_waits_is_kept_for_the_start(waiting: Daemon, file: Path) -> None:
    file.write_text(GATEWAY + "[nat]\nmax_sessions = 1000\n[timeouts]\nudp = 77\n")
    assert waiting.reloading.reload()["changed"] == ["nat.max_sessions", "timeouts.udp"]
    assert (waiting.config.nat.max_sessions, waiting.config.timeouts.udp) == (1000, 77.0)


def test_a_reload_with_other_devices_changes_nothing(waiting: Daemon, file: Path) -> None:
    file.write_text(GATEWAY.replace("eth0", "eth9") + "[timeouts]\nudp = 77\n")
    with pytest.raises(AlgateError, match=r'^gateway\.wan: "eth0" -> "eth9" \(not while running.*nothing was changed'):
        waiting.reloading.reload()
    assert waiting.config.timeouts.udp != 77.0


def test_what_needs_a_running_gateway_says_how_far_it_is(waiting: Daemon) -> None:
    with pytest.raises(AlgateError, match="not translating yet: starting"):
        waiting.need_running()


def test_status_is_told_at_any_moment(waiting: Daemon) -> None:
    told = status(waiting)
    assert (told["state"], told["wan"], told["addresses"], told["sessions"]) == ("starting", "eth0", [], 0)
    assert (told["datapath"], told["tap"], told["pins"], told["headers"]) == (None, None, None, None)
    assert told["max_sessions"] == waiting.config.nat.max_sessions


def test_what_nobody_serves_ends_once_nothing_more_of_it_begins(
    waiting: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A SYN between the two would make a session by the former start's programs."""
    order: list[str] = []
    gateway = Mock()
    gateway.install_stages.side_effect = lambda: order.append("stages")
    monkeypatch.setattr(service, "assemble", lambda *_: Mock())
    monkeypatch.setattr(service, "end_unserved", lambda *_: order.append("end"))
    monkeypatch.setattr(waiting, "_loading", Mock(prepared=None, gateway=AsyncMock(return_value=gateway)))
    monkeypatch.setattr(waiting, "_datapath", Mock(attach_tap=Mock(side_effect=AlgateError("far enough"))))
    with pytest.raises(AlgateError, match="far enough"):
        asyncio.run(waiting._bring_up(Mock()))
    assert order == ["stages", "end"]


def test_a_gateway_alone_loads_nothing_of_a_pair() -> None:
    """Judged by what is imported: 13 ms of each start."""
    code = (
        "import sys, algate.alg.admin.run as run\n"
        "from pathlib import Path\n"
        "from algate.alg.config.load import Config\n"
        "assert run.Daemon(Config(), Path('/nowhere'), None).pairing is None\n"
        "print([one for one in sys.modules if one.startswith('algate.alg.ha') or one.endswith('pairing')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "['algate.alg.protocols.ftp.pairing']\n"
