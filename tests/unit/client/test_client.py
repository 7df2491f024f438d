"""`algate.client` against a fake daemon: what each method asks, and that its answer is typed; the README's example."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from algate.client import Client, ControlError, EventRow, SessionRow, schema
from tests import fake_daemon
from tests.fake_daemon import CONTROL, EVENTS, EXPECTATIONS, FORWARDS, MAPPINGS, SESSIONS, STATUS
from tests.imports import ROOT, arrows

README = ROOT / "alg/client/README.md"


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """What the fake daemon is asked, on the run directory that ALGATE_RUN_DIR names."""
    monkeypatch.setenv("ALGATE_RUN_DIR", str(tmp_path))
    with fake_daemon.running(tmp_path) as requests:
        yield requests


def test_listings_are_typed_rows(asked: list[tuple[str, dict[str, Any]]]) -> None:
    gateway = Client()
    assert list(gateway.sessions(alg="ftp")) == [SESSIONS[0]]
    assert asked[-1] == ("sessions", {"alg": "ftp"})
    assert tuple(gateway.mappings()) == MAPPINGS
    assert tuple(gateway.expectations()) == EXPECTATIONS
    assert tuple(gateway.forwards()) == FORWARDS
    list(gateway.groups("host", proto="tcp"))
    assert asked[-1] == ("sessions", {"proto": "tcp", "by": "host"})


def test_objects(asked: list[tuple[str, dict[str, Any]]]) -> None:
    gateway = Client()
    assert gateway.status() == STATUS
    assert gateway.stats() == fake_daemon.stats()
    assert gateway.count(proto="tcp") == 3
    assert asked[-1] == ("sessions", {"proto": "tcp", "count": True})
    assert gateway.explain("10.0.0.2:40001")["verdict"] == "working"
    assert asked[-1] == ("explain", {"subject": ["10.0.0.2:40001"]})


def test_events_as_they_happen(asked: list[tuple[str, dict[str, Any]]]) -> None:
    events: list[EventRow] = list(Client().follow(reason="any", inside="10.0.0.0/8"))
    assert tuple(events) == EVENTS
    assert asked[-1] == ("follow", {"reason": "any", "inside": "10.0.0.0/8"})


def test_sessions_are_followed_and_ports_asked_for(asked: list[tuple[str, dict[str, Any]]]) -> None:
    told = [one.event for one in Client().follow_sessions(proto="udp,tcp")]
    assert told == ["session-created", "events-lost", "session-ended"]
    assert [one.inside for one in Client().whose("203.0.113.1:40001")] == ["10.0.0.2:40001"]


def test_changes(asked: list[tuple[str, dict[str, Any]]]) -> None:
    gateway = Client()
    made = gateway.forward_add("tcp", 2121, "10.0.0.9:21", ["192.0.2.0/24"], alg="ftp")
    assert made.to == "10.0.0.9:21" and made.origin == "live"
    ended: list[SessionRow] = gateway.kill([CONTROL], dry_run=True)
    assert ended == [SESSIONS[0]]
    assert asked[-1] == ("kill", {"ids": [CONTROL], "reset": False, "dry_run": True})
    assert gateway.reload()["changed"]
    gateway.down(purge=True)
    assert asked[-1] == ("down", {"purge": True})


def test_what_goes_wrong_is_one_error_with_the_exit_code_of_the_command(asked: Any, tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="no forward of tcp port 7") as caught:
        Client().forward_del("tcp", 7)
    assert caught.value.exit_code == 1
    with pytest.raises(ControlError, match=r"the nearest is tcp") as caught:
        list(Client().sessions(proto="tpc"))
    assert caught.value.exit_code == 2
    with pytest.raises(ControlError, match="no daemon on"):
        Client(tmp_path / "none").status()


def test_the_run_dir_may_be_text(asked: Any, tmp_path: Path) -> None:
    assert Client(str(tmp_path)).status()["pid"] == STATUS["pid"]


def test_schemas_are_found_by_verb() -> None:
    assert schema("status")["properties"]["schema"] == {"const": 1}
    assert schema("forward list")["items"]["required"][1] == "proto"
    with pytest.raises(KeyError):
        schema("frobnicate")


def test_the_example_of_the_page_runs(asked: Any, tmp_path: Path) -> None:
    """As a process, with what it prints as the page has it."""
    code, shown = re.findall(r"```(?:python)?\n(.*?)```", README.read_text(), re.DOTALL)[:2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == shown


def test_the_command_asks_by_the_client_alone() -> None:
    """No module of cli/ goes to the socket itself, and alg/client has one name."""
    ways = {f"{one} -> {other}" for one, others in arrows().items() for other in others}
    assert [way for way in sorted(ways) if way.startswith("algate.cli.") and way.endswith("admin.control")] == []
    assert "algate.alg.client" not in "".join(path.read_text() for path in (ROOT / "cli").rglob("*.py"))
