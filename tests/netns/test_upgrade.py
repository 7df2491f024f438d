"""Another version with another map layout: its start, and the way back, keep sessions; export and import do too."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from algate.alg.admin import live
from algate.bpf import pins
from algate.cli.lab.gateways import AlgateGateway, algate
from algate.cli.lab.judge import Mode
from algate.cli.lab.lab import Lab, LabPlan
from algate.cli.lab.servers import FtpServer, start_server
from algate.cli.lab.trial import NAT64_PREFIX
from tests.netns.talk import CONTENT, Echo, Line, talking, until
from tests.netns.test_filter6 import connects

ECHO = 7007
LOADS = True  # each gateway anew (conftest.py)
GAP = 3.0  # s; an established session waits for nothing but a busy machine
WAIT = 240  # s: the other version is compiled first


@pytest.fixture(scope="module")
def other_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to import from: this version, but for two structs that are longer."""
    folder = tmp_path_factory.mktemp("other")
    root = Path(live.__file__).resolve().parents[2]
    made = folder / "algate"
    made.mkdir()
    for name in ("alg", "bpf", "cli"):
        shutil.copytree(root / name, made / name, ignore=shutil.ignore_patterns("__pycache__"))
    header = made / "bpf/include/abi.h"
    text = header.read_text()
    for struct in ("mapping", "track"):
        start = text.index(f"struct {struct} {{\n") + len(f"struct {struct} {{\n")
        text = text[:start] + "    __u64 pad9;\n" + text[start:]
    header.write_text(text)
    return folder


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(LabPlan(six=True)) as made:
        yield made


@pytest.fixture
def gateway(lab: Lab) -> Iterator[AlgateGateway]:
    with AlgateGateway(lab, config=f'[ipv6]\nfilter = true\n[nat64]\nprefix = "{NAT64_PREFIX}"\n') as made:
        yield made


@pytest.fixture
def server6(lab: Lab, server: FtpServer) -> Iterator[FtpServer]:
    """The same over IPv6, beside it."""
    more = {"listen": "NO", "listen_ipv6": "YES", "listen_address6": lab.plan.servers6[0]}
    made = start_server("vsftpd", lab.server, more=more)
    (made.pub / "file").write_bytes(CONTENT)
    until(lambda: connects(lab.server, lab.plan.servers6[0], made.port), 10)
    yield made
    made.stop()


class Pinger:
    """Asks an echo all the time; `worst`: the longest wait for an answer."""

    def __init__(self, line: Line) -> None:
        self.worst = 0.0
        self._line, self._on = line, True
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while self._on:
            began = time.monotonic()
            assert self._line.ask(b"x") == b"x"
            self.worst = max(self.worst, time.monotonic() - began)
            time.sleep(0.005)

    def stop(self) -> float:
        self._on = False
        self._thread.join(30)
        return self.worst


def verb(gateway: AlgateGateway, *words: str) -> tuple[int, str]:
    """A verb of the version that runs."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, gateway.path))} if gateway.path else None
    done = gateway.lab.gw.run([*algate(), *words, "--run-dir", str(gateway.run_dir)], env=env)
    return done.returncode, done.stdout + done.stderr


def test_another_layout_and_back(
    lab: Lab, gateway: AlgateGateway, server: FtpServer, server6: FtpServer, other_version: Path
) -> None:
    """With a control session of each family, and one between them, whose replies have become longer."""
    address = lab.plan.servers[0]
    shown = NAT64_PREFIX.replace("::/96", f"::{address}")
    with (
        Echo(lab.server, ECHO),
        Line(lab.client, address, ECHO) as line,
        talking(lab.client, address, server.login) as talker,
        talking(lab.client, lab.plan.servers6[0], server6.login) as talker6,
        talking(lab.client, shown, server.login) as talker64,
    ):
        assert talker.fetch("pub/file") == talker64.fetch("pub/file", Mode.EPSV) == CONTENT
        mapped = {row["inside"]: row["mapped"] for row in gateway.ask("sessions")}
        for path in ((other_version,), ()):
            pinger = Pinger(line)
            gateway.stop_daemon()
            gateway.path, gateway.wait = path, WAIT
            assert "carries its sessions over" in verb(gateway, "check", "--pins", "--json")[1]
            gateway.start()
            worst = pinger.stop()
            print(f"carried over to another layout: an echo waited {worst:.2f} s at most")
            assert worst < GAP
            assert "sessions over from another version's maps" in gateway.log
            assert talker.say("NOOP").startswith("200")
            assert talker.fetch("pub/file") == talker6.fetch("pub/file", Mode.EPSV) == CONTENT
            assert talker64.fetch("pub/file", Mode.EPRT) == talker64.fetch("pub/file", Mode.EPSV) == CONTENT
            now = {row["inside"]: row["mapped"] for row in gateway.ask("sessions")}
            assert now[line.local] == mapped[line.local]
            assert verb(gateway, "check", "--live") == (0, "algate: the tables agree\n")
            assert verb(gateway, "check", "--pins")[0] == 0
            assert len(list(pins.folder(gateway.run_dir).iterdir())) == 1


def test_a_layout_that_nobody_describes_is_refused_untouched(lab: Lab, gateway: AlgateGateway) -> None:
    with Echo(lab.server, ECHO), Line(lab.client, lab.plan.servers[0], ECHO) as line:
        assert line.ask(b"x") == b"x"
        gateway.stop_daemon()
        base = pins.folder(gateway.run_dir)
        (own,) = base.iterdir()
        strange = own.rename(base / "0123456789abcdef")
        (strange / "layout").unlink()
        assert verb(gateway, "check", "--pins")[0] == 1
        with pytest.raises(Exception, match="doesn't describe them: export their sessions"):
            gateway.start()
        assert list(base.iterdir()) == [strange]
        assert line.ask(b"still") == b"still"


def test_export_and_import(
    lab: Lab, gateway: AlgateGateway, server: FtpServer, server6: FtpServer, tmp_path: Path
) -> None:
    """With a control session of each family; active mode over IPv6, which needs its expectation."""
    address = lab.plan.servers[0]
    with (
        Echo(lab.server, ECHO),
        Line(lab.client, address, ECHO) as line,
        talking(lab.client, address, server.login) as talker,
        talking(lab.client, lab.plan.servers6[0], server6.login) as talker6,
    ):
        assert line.ask(b"x") == b"x"
        file = tmp_path / "state"
        gateway.stop_daemon()
        assert verb(gateway, "export", str(file))[0] == 0
        assert file.stat().st_mode & 0o077 == 0
        code, said = verb(gateway, "import", str(file))
        assert (code, "already" in said) == (1, True)
        assert verb(gateway, "down", "--purge")[0] == 0
        bad = tmp_path / "bad"
        bad.write_bytes(file.read_bytes()[:-30])
        code, said = verb(gateway, "import", str(bad))
        assert (code, said.count("\n")) == (1, 1) and "nothing was changed" in said
        assert not pins.folder(gateway.run_dir).exists()
        assert verb(gateway, "import", str(file))[0] == 0
        gateway.start()
        assert line.ask(b"y") == b"y"
        assert talker.fetch("pub/file") == CONTENT
        assert talker6.fetch("pub/file", Mode.EPRT) == CONTENT
        assert live.check(gateway.run_dir) == []
