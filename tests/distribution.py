"""A third party's distribution installed in its own folder, without a network: by pip, or as pip leaves it.

The law of this file: packaging only; it knows no plug-in.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

PIP = (sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "--no-input")
OFFLINE = ("--no-index", "--no-deps", "--no-build-isolation")


def install(source: Path, work: Path) -> Path:
    """Build the distribution in `source` and install it; returns the folder to put on PYTHONPATH."""
    copy, wheels, target = work / "source", work / "wheels", work / "installed"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
    _run("wheel", *OFFLINE, "--wheel-dir", wheels, copy)
    (wheel,) = wheels.glob("*.whl")
    _run("install", "--no-index", "--no-deps", "--target", target, wheel)
    return target


def _run(*words: str | Path) -> None:
    done = subprocess.run([*PIP, *map(str, words)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def lay_out(source: Path, target: Path) -> Path:
    """What `install` does to a distribution of single modules, but at once: modules and metadata. Returns `target`."""
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    info = target / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [f"{name} = {value}\n" for name, value in project["entry-points"]["algate.protocols"].items()]
    (info / "entry_points.txt").write_text("[algate.protocols]\n" + "".join(lines))
    for module in source.glob("*.py"):
        shutil.copy(module, target)
    return target
