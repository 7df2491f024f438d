"""The lab's daemon under the unit's own sandbox: `pytest --confined` runs any rung that starts gateways in it.

systemd isn't there to build it, so packaging/sandbox.py does, and says what it leaves out.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from algate.cli.lab import gateways
from tests.packaging import sandbox

ROOT = Path(__file__).resolve().parents[1]
UNIT = ROOT / "deploy/algate.service"
CACHE = Path("/var/cache/algate")


def confined(*writable: Path) -> list[str]:
    """What to put before a command. CAP_IPC_LOCK stands in for the unit's LimitMEMLOCK."""
    caps = [one.removeprefix("CAP_").lower() for one in sandbox.settings(UNIT, "CapabilityBoundingSet")[0].split()]
    bounding = ",".join(["-all", *(f"+{one}" for one in [*caps, "ipc_lock"])])
    program = [sys.executable, sandbox.__file__]
    return [
        *program, "mounts", str(UNIT), *map(str, writable), "--", "setpriv", "--no-new-privs", "--inh-caps=-all",
        f"--bounding-set={bounding}", *program, "calls", str(UNIT), "--",
    ]  # fmt: skip


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Where labs are made meanwhile: PrivateTmp hides /tmp."""
    made = Path(tempfile.mkdtemp(prefix="ag-sandbox-", dir="/run"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(made))
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)


@contextlib.contextmanager
def everywhere() -> Iterator[None]:
    """Every `algate run` and `algate down` of a lab is confined meanwhile."""
    CACHE.mkdir(mode=0o700, exist_ok=True)
    plain = gateways.algate()
    with folder() as writable, pytest.MonkeyPatch.context() as patch:
        patch.setattr(gateways, "algate", lambda: [*confined(writable, CACHE), *plain])
        yield
