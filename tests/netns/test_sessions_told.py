"""Sessions told of by a running gateway: to a follower, to a log, to whoever asks whose a port was."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from socket import SOCK_DGRAM
from typing import Any

import pytest

from algate.alg.audit import record
from algate.alg.audit.logfile import family
from algate.cli.lab.gateways import AlgateGateway, algate
from algate.cli.lab.lab import Lab
from algate.cli.lab.servers import FtpServer, start_server
from tests.netns.talk import CONTENT, Echo, Line, data, talking, until, verb
from tests.topology import no_netfilter

ECHO = 7007
MANY = 45_000  # sessions: more than the rings of all CPUs hold, if one CPU makes them
CONFIG = '[log]\nlevel = "{level}"\nfile = "{file}"\n'


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "translations.log"


@pytest.fixture(scope="module")
def gateway(log: Path) -> Iterator[AlgateGateway]:
    config = CONFIG.format(level="sessions", file=log)
    with Lab() as lab, AlgateGateway(lab, config=config) as made, Echo(lab.server, ECHO):
        yield made
        no_netfilter(lab, made)


@pytest.fixture(scope="module")
def server(gateway: AlgateGateway) -> FtpServer:
    made = start_server("vsftpd", gateway.lab.server)
    (made.pub / "file").write_bytes(CONTENT)
    return made


class Follower:
    """`algate follow ARGV --json` as a process; what it has said."""

    def __init__(self, gateway: AlgateGateway, *argv: str) -> None:
        words = [*algate(), "follow", *argv, "--json", "--run-dir", str(gateway.run_dir)]
        self._gateway = gateway
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.rows: list[dict[str, Any]] = []
        threading.Thread(target=self._read, daemon=True).start()
        until(self._asked)
        time.sleep(0.3)  # for the daemon to take the request up

    def _asked(self) -> bool:
        """Whether it has a connection to the daemon."""
        for one in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                if os.readlink(one).startswith("socket:"):
                    return True
        return False

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.rows.append(json.loads(line))

    def wait(self, **fields: str) -> dict[str, Any]:
        """The first row with these values."""
        found = until(lambda: [one for one in self.rows if fields.items() <= one.items()])
        return dict(found[0])

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


def where(gateway: AlgateGateway) -> str:
    return gateway.lab.server.address


def records(log: Path) -> list[Any]:
    lines = [line for one in family(log) for line in one.read_text().splitlines()]
    return [record.parse(line) or line for line in lines]


def test_a_follower_hears_what_it_asked_for(gateway: AlgateGateway) -> None:
    with Follower(gateway, "--sessions", "--proto", "tcp", "--outside", f"{where(gateway)}:{ECHO}") as follower:
        with Line(gateway.lab.client, where(gateway), ECHO, SOCK_DGRAM) as other:
            assert other.ask(b"x") == b"x"
        with Line(gateway.lab.client, where(gateway), ECHO) as line:
            assert line.ask(b"hello") == b"hello"
            made = follower.wait(event="session-created", inside=line.local)
            listed = data(gateway, "sessions", "--inside", line.local)[0]
        assert (made["id"], made["mapped"], made["state"]) == (listed["id"], listed["mapped"], "new")
        assert data(gateway, "kill", made["id"])
        ended = follower.wait(event="session-ended", id=made["id"])
        assert ended["bytes_out"] > 100 and ended["packets_in"] >= 3 and ended["mapped"] == made["mapped"]
        assert {one["proto"] for one in follower.rows} == {"tcp"}


def test_a_data_session_is_related_to_its_control_session(gateway: AlgateGateway, server: FtpServer) -> None:
    with Follower(gateway, "--sessions", "--inside", gateway.lab.client.address) as follower:
        with talking(gateway.lab.client, where(gateway), server.login) as talker:
            assert talker.fetch("pub/file") == CONTENT
        control = follower.wait(event="session-created", alg="ftp")
        assert follower.wait(event="session-created", related_to=control["id"])["alg"] is None


def test_nobody_asks_and_nothing_is_told(gateway: AlgateGateway, log: Path) -> None:
    """Without a follower and with `level = "none"` the kernel has no word for it."""
    told = "algate_translation_records_total"
    (gateway.lab.folder / "algate.toml").write_text("")
    assert "log" in verb(gateway, "reload", "--json").stdout
    before = gateway.ask("stats")[told]
    with Line(gateway.lab.client, where(gateway), ECHO) as line:
        assert line.ask(b"x") == b"x"
    time.sleep(0.2)
    assert gateway.ask("stats")[told] == before
    (gateway.lab.folder / "algate.toml").write_text(CONFIG.format(level="sessions", file=log))
    assert verb(gateway, "reload").returncode == 0


def test_whose_was_it(gateway: AlgateGateway, log: Path) -> None:
    with Line(gateway.lab.client, where(gateway), ECHO) as line:
        assert line.ask(b"x") == b"x"
        local = line.local
        (listed,) = data(gateway, "sessions", "--inside", local)
        public = listed["mapped"]
        (now,) = data(gateway, "whose", public, "--proto", "tcp")
        assert (now["inside"], now["source"], now["until"]) == (local, "live", None)
    meant = time.time()
    time.sleep(0.3)
    assert data(gateway, "kill", listed["id"])
    until(lambda: any(getattr(one, "session", 0) == int(listed["id"], 16) and one.since for one in records(log)))
    assert verb(gateway, "whose", public, "--proto", "tcp").returncode == 1
    done = verb(gateway, "whose", public, "--at", str(meant), "--log", str(log))
    assert (done.returncode, done.stderr) == (0, "") and f"{public} tcp: {local}" in done.stdout
    assert "(session-ended)" in done.stdout and len(done.stdout.splitlines()) == 1
    assert verb(gateway, "whose", public, "--at", str(meant - 3600), "--log", str(log)).returncode == 1


def test_what_is_lost_is_told(gateway: AlgateGateway, log: Path) -> None:
    """The daemon stands still while one host makes more sessions than the ring has room for."""
    assert gateway.process is not None
    base = gateway.ask("stats")
    with Follower(gateway, "--sessions", "--proto", "udp", "--event", "session-created") as follower:
        pid = int(gateway.ask("status")["pid"])
        os.kill(pid, signal.SIGSTOP)
        try:
            with gateway.lab.client.socket(kind=SOCK_DGRAM) as sender:
                for port in range(MANY):
                    sender.sendto(b"x", (where(gateway), 20_000 + port))
                    if port % 64 == 0:
                        time.sleep(0.001)
        finally:
            os.kill(pid, signal.SIGCONT)
        gap = follower.wait(event="events-lost")
        assert gap["reason"] == "ring-full" and gap["fields"]["count"] > 1000
    lost, told = "algate_translation_records_lost_total", "algate_translation_records_total"

    def missing() -> float:
        """Of the sessions made since, those that are neither told nor lost."""
        now = gateway.ask("stats")
        gained = {name: now[name] - base[name] for name in (lost, told, "algate_sessions_created_total")}
        assert gained["algate_sessions_created_total"] >= MANY * 0.9
        return float(gained["algate_sessions_created_total"] - gained[lost] - gained[told])

    until(lambda: missing() <= 0)
    until(lambda: any("events-lost" in str(one) for one in records(log)))
    assert gateway.ask("stats")['algate_log_records_lost_total{sink="file"}'] > 0


def test_what_happened_without_a_daemon_is_a_gap(gateway: AlgateGateway, log: Path) -> None:
    gateway.stop_daemon()
    for _ in range(5):
        with Line(gateway.lab.client, where(gateway), ECHO) as line:
            assert line.ask(b"x") == b"x"
    before = sum("events-lost" in str(one) for one in records(log))
    gateway.start()
    gaps = until(lambda: [one for one in records(log) if "events-lost" in str(one)][before:])
    assert int(gaps[0].rpartition("=")[2]) >= 5


def test_a_log_that_cannot_be_written_is_an_error_at_once(gateway: AlgateGateway) -> None:
    file = gateway.lab.folder / "algate.toml"
    before = file.read_text()
    file.write_text(CONFIG.format(level="mappings", file="/nonexistent/log"))
    done = verb(gateway, "reload")
    assert done.returncode == 1 and "[log] file: can't write /nonexistent/log" in done.stderr
    file.write_text(before)
    assert verb(gateway, "reload").returncode == 0


def test_a_follower_ends_with_the_daemon(gateway: AlgateGateway) -> None:
    with Follower(gateway, "--sessions") as follower:
        gateway.stop_daemon()
        assert follower.process.wait(20) == 1
        assert follower.process.stderr is not None
        assert follower.process.stderr.read().endswith(f"the daemon on {gateway.run_dir} has stopped\n")
