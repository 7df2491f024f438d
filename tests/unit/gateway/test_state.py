"""What is written down of the devices: whole or not at all, also on a full disk, and read from older versions."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from algate.alg.admin import down
from algate.alg.errors import AlgateError
from algate.alg.gateway.state import READER, DeviceState, NewerStateError, State
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


NEWER = {
    "reader": READER, "netns": 1, "lanes": [7],
    "devices": {"wan0": {"name": "wan0", "index": 8, "role": "wan", "front": 5, "lane": {"a": 1}, "more": 2}},
}  # fmt: skip


def test_what_a_newer_version_added_is_passed_over_and_kept(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(json.dumps(NEWER))
    state = State.load(tmp_path)
    assert (state.devices["wan0"].index, state.devices["wan0"].front) == (8, 5)
    state.devices["wan0"].front = 6
    state.devices["lan0"] = DeviceState("lan0", 7, "lan")
    state.save()
    written = json.loads((tmp_path / "state.json").read_text())
    assert written["lanes"] == [7] and written["reader"] == READER
    assert {name: written["devices"]["wan0"][name] for name in ("lane", "more", "front")} == {
        "lane": {"a": 1}, "more": 2, "front": 6,
    }  # fmt: skip
    # Whoever adds a field: an older version passes over it. Does it leave something undone then? If so, raise READER.
    known = {"name", "index", "role", "clsact", "xdp", "forwarding", "tcx", "front"}
    assert set(written["devices"]["lan0"]) == known


def test_what_only_a_newer_version_can_undo_is_left_to_it(tmp_path: Path) -> None:
    text = json.dumps(NEWER | {"reader": READER + 1})
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(NewerStateError, match="newer version of algate"):
        State.load(tmp_path)
    with pytest.raises(NewerStateError):
        down._state(tmp_path)
    assert (tmp_path / "state.json").read_text() == text


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "7", '{"netns": 1}', '{"devices": {}}', '{"netns": 1, "devices": []}',
     '{"netns": 1, "devices": {"wan0": 5}}', '{"netns": 1, "devices": {"wan0": {"name": "wan0", "index": 8}}}',
     '{"netns": 1, "devices": {}, "reader": "x"}', '{"netns": 1, "devices": {}, "switches": 5}'],
)  # fmt: skip
def test_a_damaged_text_is_one_line_and_down_goes_without_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(AlgateError, match=r"state\.json is damaged: `algate down` goes without it, then start again"):
        State.load(tmp_path)
    assert down._state(tmp_path).devices == {} and capsys.readouterr().err.count("\n") == 1


def test_a_lost_text_is_missed_only_if_it_had_something_to_say(tmp_path: Path) -> None:
    state = State.load(tmp_path)
    assert not state.lost()
    state.devices["lan0"] = DeviceState("lan0", 7, "lan")
    assert state.lost()
    state.save()
    assert not state.lost()
