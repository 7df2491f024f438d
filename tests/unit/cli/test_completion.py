"""Completion: the words that a running gateway knows, and silence where there is none."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from algate.cli import app as command
from algate.cli import completion
from tests import fake_daemon
from tests.fake_daemon import CONTROL, SESSIONS


def context(run_dir: Path) -> types.SimpleNamespace:
    return types.SimpleNamespace(params={"run_dir": run_dir})


def test_values_come_from_the_daemon(tmp_path: Path) -> None:
    with fake_daemon.running(tmp_path):
        ids = completion.ids(context(tmp_path), [], "")
        assert set(ids) == {row.id for row in SESSIONS}
        assert ids[0] == next(row.id for row in SESSIONS if row.alg)
        assert completion.ids(context(tmp_path), [], CONTROL) == [CONTROL]
        assert completion.insides(context(tmp_path), [], "10.0.0.2") == ["10.0.0.2"]


def test_no_daemon_offers_nothing(tmp_path: Path) -> None:
    assert completion.ids(context(tmp_path), [], "") == []
    assert completion.subjects(context(tmp_path / "none"), [], "") == []


def test_an_endless_listing_is_cut(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from algate.alg.admin import control

    rows = ({"id": f"{number:016x}", "inside": "10.0.0.1:1"} for number in range(10_000_000))
    monkeypatch.setattr(control, "rows", lambda *asked: rows)
    assert len(completion.ids(context(tmp_path), [], "")) == completion.MOST
    assert int(next(rows)["id"], 16) == completion.LOOKED_AT


def test_run_dirs_are_those_with_a_socket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(completion, "RUN", tmp_path)
    (tmp_path / "algate").mkdir()
    (tmp_path / "algate/control.sock").touch()
    (tmp_path / "other").mkdir()
    assert completion.run_dirs(None, [], "") == [str(tmp_path / "algate")]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("algate exp", ["expectations", "explain", "export"]),
        ("algate forward ", ["list", "add", "del"]),
        ("algate sessions --proto ", ["tcp", "udp", "icmp"]),
        ("algate sessions --pro", ["--proto"]),
        ("algate run --datapath x", ["xdp", "xdp-generic"]),
    ],
)
def test_what_a_shell_is_told(words: str, offered: list[str]) -> None:
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" ")), completion.VARIABLE: "complete_bash"}
    done = subprocess.run(
        [sys.executable, "-m", "algate.cli.app"],
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.split(), done.stderr) == (offered, "")


def test_every_verb_can_be_completed() -> None:
    assert all(command.build(verb) is not None for verb in command.VERBS)
