"""The daemon at work under its unit's own sandbox: transfers in all four modes, a reload, a restart that takes over.

systemd isn't there to build it, so sandbox.py does, and says what it leaves out. That it is none too wide is seen by
what a process in it is refused.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from algate.cli.lab import gateways
from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.judge import Mode
from algate.cli.lab.lab import Lab
from algate.cli.lab.servers import start_server
from algate.cli.lab.trial import forwards
from tests.netns.talk import talking
from tests.packaging import sandbox

ROOT = Path(__file__).resolve().parents[2]
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


@pytest.fixture
def outside_tmp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for the lab: PrivateTmp hides /tmp."""
    folder = Path(tempfile.mkdtemp(prefix="ag-sandbox-", dir="/run"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_the_daemon_works_in_it(outside_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    CACHE.mkdir(mode=0o700, exist_ok=True)
    plain = gateways.algate()
    with Lab() as lab:
        gateway = AlgateGateway(lab, forwards(lab))
        gateway.run_dir.mkdir(mode=0o700)
        monkeypatch.setattr(gateways, "algate", lambda: [*confined(gateway.run_dir, CACHE), *plain])
        with gateway:
            server = start_server("vsftpd", lab.server)
            (server.pub / "file").write_bytes(b"content")
            with talking(lab.client, lab.plan.servers[0], server.login) as talker:
                for mode in Mode:
                    assert talker.fetch("pub/file", mode) == b"content"
                gateway.ask("reload")
                assert gateway.stop_daemon() == 0
                gateway.start()
                assert talker.fetch("pub/file", Mode.PORT) == b"content", gateway.log
            status = Path(f"/proc/{gateway.ask('status')['pid']}/status").read_text()
            assert "Seccomp:\t2" in status and "NoNewPrivs:\t1" in status


PROBES = {
    "open('/etc/algate-probe', 'w')": "OSError",
    "open('/usr/algate-probe', 'w')": "OSError",
    "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)": "PermissionError",
    "os.setpriority(os.PRIO_PROCESS, 0, 5)": "PermissionError",
    "ctypes.CDLL(None).reboot(0)": "-1",
    f"[one for one in os.listdir('/root') if not {str(ROOT)!r}.startswith('/root/' + one)]": "[]",
}


@pytest.mark.parametrize("probe", list(PROBES))
def test_what_it_refuses(outside_tmp: Path, probe: str) -> None:
    code = f"try:\n    print({probe})\nexcept OSError as error:\n    print(type(error).__name__)"
    argv = [*confined(outside_tmp), sys.executable, "-c", f"import ctypes, os, socket\n{code}"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    wanted = PROBES[probe]
    assert done.stdout.strip() in (wanted, *(["PermissionError"] if wanted == "OSError" else [])), done.stdout
