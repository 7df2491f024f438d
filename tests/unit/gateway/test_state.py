"""What is written down of the devices: whole or not at all, also on a full disk, and read from older versions."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from algate.alg.errors import AlgateError
from algate.alg.gateway.state import DeviceState, State
from algate.bpf import compiler


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_one_line_and_the_former_text_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = State(tmp_path / "state.json", devices={"lan0": DeviceState("lan0", 7, "lan")})
    state.save()
    state.devices["wan0"] = DeviceState("wan0", 8, "wan")
    monkeypatch.setattr(json, "dump", full)
    with pytest.raises(AlgateError, match=r"can't write .*state\.json: No space left on device; what it said before"):
        state.save()
    assert list(State.load(tmp_path).devices) == ["lan0"]
    assert [one.name for one in tmp_path.iterdir()] == ["state.json"]


def test_a_full_disk_under_the_cache_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler.Artifact, "dump", full)
    compiler._keep(tmp_path, tmp_path / "a.json", compiler.Artifact((), {}))
    assert list(tmp_path.iterdir()) == []


def test_an_older_version_s_text_is_read(tmp_path: Path) -> None:
    note = {"name": "wan0", "index": 8, "role": "wan", "clsact": True, "xdp": "", "forwarding": "0"}
    (tmp_path / "state.json").write_text(json.dumps({"netns": 1, "devices": {"wan0": note}}))
    assert State.load(tmp_path).devices["wan0"].tcx == 0


def test_a_lost_text_is_missed_only_if_it_had_something_to_say(tmp_path: Path) -> None:
    state = State.load(tmp_path)
    assert not state.lost()
    state.devices["lan0"] = DeviceState("lan0", 7, "lan")
    assert state.lost()
    state.save()
    assert not state.lost()
