"""What ends with a lab: a gateway's `down` is asked for again only where something of it is left."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from algate.bpf.pins import folder_name
from algate.cli.lab import gateways


@pytest.mark.parametrize("left", ["", "pins", "state"])
def test_down_is_run_if_something_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str) -> None:
    run_dir, ran = tmp_path / "a run", tmp_path / "it ran"
    run_dir.mkdir()
    monkeypatch.setattr(gateways, "BPFFS", tmp_path)
    if left == "pins":
        (tmp_path / folder_name(run_dir)).mkdir()
    elif left == "state":
        (run_dir / "state.json").touch()
    assert subprocess.run(gateways.if_left(run_dir, ["touch", str(ran)])).returncode == 0
    assert ran.exists() == bool(left)
