"""A daemon that doesn't answer: `status` says so within 3 s, with what can be known, and fails."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from algate.alg.admin import control, doctor_gateway, silence
from algate.alg.admin.silence import Pulse
from algate.alg.gateway.state import DeviceState, State
from algate.client import Client
from tests.imports import ROOT

pytestmark = pytest.mark.unit


@pytest.fixture
def hung(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A daemon's control socket, with the daemon stopped behind it; its run directory and process id."""
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    argv = [sys.executable, "-m", "tests.fake_daemon", str(run_dir), "60"]
    with subprocess.Popen(argv, cwd=ROOT) as process:
        try:
            end = time.monotonic() + 30
            while not answers(run_dir) and time.monotonic() < end:
                time.sleep(0.02)
            os.kill(process.pid, signal.SIGSTOP)
            while silence.doing(process.pid) != "stopped":  # all its threads are
                time.sleep(0.01)
            yield run_dir, process.pid
        finally:
            process.kill()


def answers(run_dir: Path) -> bool:
    try:
        return bool(control.request(run_dir, "status"))
    except control.ControlError:
        return False


def test_status_says_so_in_time(hung: tuple[Path, int], tmp_path: Path) -> None:
    run_dir, pid = hung
    state = State(run_dir / "state.json", devices={"lan0": DeviceState("lan0", 9, "lan")})
    state.devices["wan0"] = DeviceState("wan0", 8, "wan")
    state.save()
    argv = [sys.executable, "-m", "algate.cli.app", "status", "--json", "--run-dir"]
    began = time.monotonic()
    subprocess.run([*argv, str(tmp_path / "none")], capture_output=True, timeout=60, check=False)
    alone = time.monotonic() - began
    done = subprocess.run([*argv, str(run_dir)], capture_output=True, text=True, timeout=60, check=False)
    assert time.monotonic() - began < 3 + 3 * alone, "on a loaded machine Python's own start takes as long"
    found = json.loads(done.stdout)
    assert done.returncode == 1
    assert (found["state"], found["pid"], found["process"]) == ("the daemon doesn't answer", pid, "stopped")
    assert (found["lan"], found["wan"], found["helper_alive"]) == (["lan0"], "wan0", None)
    assert f"(pid {pid}) doesn't answer and is stopped" in done.stderr and "restart" in done.stderr


@pytest.mark.parametrize("words", ["sessions --tsv", "mappings --json", "kill a1"])
def test_no_verb_waits_for_a_daemon_that_is_stopped(hung: tuple[Path, int], words: str) -> None:
    """Each was silent for 60 s."""
    argv = [sys.executable, "-m", "algate.cli.app", *words.split(), "--run-dir", str(hung[0])]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert f"(pid {hung[1]}) doesn't answer and is stopped" in done.stderr and "systemctl restart" in done.stderr


@pytest.mark.parametrize(("why", "told"), [("", "didn't answer within 0.6 s"), ("it hangs", "it hangs")])
def test_who_is_alive_is_waited_for(
    hung: tuple[Path, int], monkeypatch: pytest.MonkeyPatch, why: str, told: str
) -> None:
    monkeypatch.setattr(control, "SOON", 0.1)
    looks: list[Path] = []

    def look(run_dir: Path) -> str:
        looks.append(run_dir)
        return why if len(looks) == 2 else ""

    monkeypatch.setattr(silence, "hung", look)
    monkeypatch.setattr(control, "LOOK", 0.1)
    with pytest.raises(control.SilentError, match=told):
        Client(hung[0], 0.6).ask("status2")
    assert (len(looks) > 2) == (not why)


@pytest.mark.parametrize(
    ("alive", "process", "hangs"),
    [(True, "stopped", True), (True, "busy", False), (False, "busy", True), (None, "waiting", False),
     (None, "stopped", True)],
)  # fmt: skip
def test_what_counts_as_hung(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alive: bool | None, process: str, hangs: bool
) -> None:
    found = None if alive is None else Pulse(1.0, alive, 3, "closed")
    monkeypatch.setattr(silence, "pulse", lambda run_dir: found)
    monkeypatch.setattr(silence, "doing", lambda pid: process)
    assert bool(silence.hung(tmp_path)) == hangs


def test_people_get_units(hung: tuple[Path, int]) -> None:
    argv = [sys.executable, "-m", "algate.cli.app", "status", "--run-dir", str(hung[0])]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert re.fullmatch(r"[0-9.]+s", lines["uptime"]) and lines["heartbeat_age"] == "-", lines


def test_doctor_says_so(hung: tuple[Path, int]) -> None:
    row = doctor_gateway.daemon(hung[0])
    assert not row.ok and "doesn't answer and is stopped" in row.detail and row.fix


def test_a_full_queue_is_no_reason_to_wait(hung: tuple[Path, int]) -> None:
    run_dir, _ = hung
    began, said = time.monotonic(), ""
    for _ in range(600):  # connections that nobody accepts; 512 of them wait
        with pytest.raises(control.SilentError) as caught:
            control.request(run_dir, "status", seconds=0.01)
        said = str(caught.value)
        if "more to answer" in said:
            break
    assert "more to answer" in said and time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (Pulse(12.34, False, 7, "closed"), "12.3 s old; 7 sessions go on in the kernel, control sessions wait"),
        (Pulse(12.34, False, 7, "open"), "control sessions pass unread"),
        (Pulse(0.2, True, 7, "closed"), "gave a sign of life 0.2 s ago: try again"),
        (Pulse(None, False, 0, "closed"), "it gave no sign of life"),
        (None, "can't be read here"),
    ],
)
def test_what_the_kernel_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: Pulse | None, words: str) -> None:
    monkeypatch.setattr(silence, "pulse", lambda run_dir: seen)
    found = silence.known(tmp_path)
    assert words in silence.sentence(found)
    assert found["pid"] is None and found["sessions"] == (seen.sessions if seen else None)
