"""`algate bench` works: it measures every gateway it names, loses nothing unsaid and leaves nothing behind.

How fast anything is, no test says: that is what the bench itself is for.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.bench
ALGATE = Path(sys.executable).with_name("algate")


def test_quick_run(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(ALGATE), "bench", "--quick", "--only", "packets", "--output", str(tmp_path)],
        capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    record = json.loads((tmp_path / "bench.json").read_text())
    said = json.dumps(record)
    for gateway in ("algate-tc", "algate-xdp", "nft"):
        assert gateway in said
    assert "<svg" in (tmp_path / "bench.svg").read_text()
    assert "ns" in done.stdout
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert "-bench" not in left
