"""A third party's plug-in: built, installed, found through its entry point, turned on by the configuration."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.distribution import install

ROOT = Path(__file__).resolve().parents[2]
LOOK = """
import json, pathlib, sys
from algate.alg.config import load as config
from algate.alg.plugin import policy, registry
said = []
found = registry.discover(report=said.append)
devices = {"gateway.lan": ["a"], "gateway.wan": "b"}
made = config.load(pathlib.Path(sys.argv[1]), devices, policy.kinds(found)).alg.protocols
print(json.dumps({
    "origins": found.origins, "said": said,
    "plugins": {name: [one.enabled, list(one.watched), one.transport] for name, one in made.items()},
}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(ROOT / "tests/callback_plugin", tmp_path_factory.mktemp("third"))


def look(config: Path, *folders: Path) -> Any:
    """What a new algate process finds with those folders on its path."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, folders))}
    done = subprocess.run(
        [sys.executable, "-c", LOOK, config], capture_output=True, text=True, env=env, cwd="/", timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_is_found_off_and_turned_on_by_its_table(installed: Path, tmp_path: Path) -> None:
    config = tmp_path / "algate.toml"
    config.write_text("")
    found = look(config, installed)
    assert found["origins"]["callback"] == "algate-callback 1.2" and found["said"] == []
    assert found["plugins"]["callback"] == [False, [7070], "tcp"]
    config.write_text("[alg.callback]\nenabled = true\nports = [7171]\nmin_port = 2000\n")
    assert look(config, installed)["plugins"]["callback"] == [True, [7171], "tcp"]
    assert "callback" not in look(write(tmp_path, ""))["plugins"], "not installed"


def write(folder: Path, text: str) -> Path:
    file = folder / "other.toml"
    file.write_text(text)
    return file


def test_a_broken_distribution_is_left_out_and_the_others_stay(installed: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    info = broken / "algate_broken-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: algate-broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[algate.protocols]\nbroken = algate_broken:PLUGIN\nmissing = nowhere:X\n")
    (broken / "algate_broken.py").write_text("raise RuntimeError('boom')\n")
    found = look(write(tmp_path, ""), installed, broken)
    assert set(found["origins"]) == {"ftp", "tftp", "irc", "callback"}
    assert len(found["said"]) == 2 and any("boom" in line for line in found["said"])
