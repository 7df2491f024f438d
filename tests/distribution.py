"""A distribution built and installed as a stranger's is: by pip, into a folder of its own, without any network.

The law of this file: packaging alone; it knows no plug-in.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

PIP = (sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "--no-input")
OFFLINE = ("--no-index", "--no-deps", "--no-build-isolation")


def install(source: Path, work: Path) -> Path:
    """Build the distribution in `source` and install it; the folder to put on PYTHONPATH."""
    copy, wheels, target = work / "source", work / "wheels", work / "installed"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
    _run("wheel", *OFFLINE, "--wheel-dir", wheels, copy)
    (wheel,) = wheels.glob("*.whl")
    _run("install", "--no-index", "--no-deps", "--target", target, wheel)
    return target


def _run(*words: str | Path) -> None:
    done = subprocess.run([*PIP, *map(str, words)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
