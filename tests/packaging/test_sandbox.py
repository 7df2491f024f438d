"""The daemon at work under its unit's own sandbox: transfers in all four modes, a reload, a restart that takes over.

`pytest --confined` runs whole rungs so. That the sandbox is none too wide is seen by what a process in it is refused.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.judge import Mode
from algate.cli.lab.lab import Lab
from algate.cli.lab.servers import start_server
from algate.cli.lab.trial import forwards
from tests import confinement
from tests.confinement import ROOT
from tests.netns.talk import talking


@pytest.fixture
def outside_tmp() -> Iterator[Path]:
    """A folder for what runs confined."""
    with confinement.folder() as made:
        yield made


def test_the_daemon_works_in_it() -> None:
    with confinement.everywhere(), Lab() as lab, AlgateGateway(lab, forwards(lab)) as gateway:
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
    argv = [*confinement.confined(outside_tmp), sys.executable, "-c", f"import ctypes, os, socket\n{code}"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    wanted = PROBES[probe]
    assert done.stdout.strip() in (wanted, *(["PermissionError"] if wanted == "OSError" else [])), done.stdout
