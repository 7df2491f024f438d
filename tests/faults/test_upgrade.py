"""Hot upgrades: another daemon takes over while commands go on, or can't and changes nothing."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from algate.cli.lab.gateways import AlgateGateway, algate
from algate.cli.lab.lab import Lab
from tests.faults.bed import Incident
from tests.faults.fault import fault
from tests.faults.halves import GREETING, LOGIN, Halved, serving
from tests.netns.talk import until

PAUSE = 0.01  # s between two commands
BOUND = 1.0  # s that none may wait on any machine; what is aimed at is 0.1
READY = GREETING + LOGIN


@pytest.fixture(scope="module")
def gateway() -> Iterator[AlgateGateway]:
    with Lab() as lab, AlgateGateway(lab) as made:
        yield made


class Commands:
    """PORT every 10 ms on one control session, each answered. A context manager: runs in a thread meanwhile."""

    def __init__(self, lab: Lab) -> None:
        listener = serving(lab.server)
        self._session = Halved(lab.client, lab.plan.servers[0], listener, READY, [b"NOOP\r\n"])
        listener.close()
        self._address = lab.plan.clients[0].replace(".", ",").encode()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.waits: list[float] = []  # s from each PORT to its arrival, rewritten
        self.broken = ""

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                port = 40000 + len(self.waits) % 20000
                line = b"PORT %s,%d,%d\r\n" % (self._address, port >> 8, port & 255)
                began = time.monotonic()
                self._session.say(line)
                got = self._session.hear(line)
                self.waits.append(time.monotonic() - began)
                assert got.startswith(b"PORT ") and self._address not in got, got
                self._session.say(b"200 ok\r\n")
                assert self._session.hear(b"200 ok\r\n") == b"200 ok\r\n"
                time.sleep(PAUSE)
        except (OSError, AssertionError) as error:
            self.broken = repr(error)

    def more(self, number: int) -> bool:
        """Wait for that many more."""
        wanted = len(self.waits) + number
        until(lambda: len(self.waits) >= wanted or bool(self.broken))
        return not self.broken

    def __enter__(self) -> Commands:
        self._thread.start()
        assert self.more(20), self.broken
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._session.close()


def upgrade(gateway: AlgateGateway) -> subprocess.CompletedProcess[str]:
    return gateway.lab.gw.run([*algate(), "upgrade", "--run-dir", str(gateway.run_dir)], timeout=120)


def pid(gateway: AlgateGateway) -> int:
    return int(gateway.ask("status")["pid"])


@fault("`algate upgrade` while PORT is sent every 10 ms, {programs}")
@pytest.mark.parametrize("programs", ["programs kept", "programs loaded anew"])
def test_nobody_waits_for_an_upgrade(gateway: AlgateGateway, incident: Incident, programs: str) -> None:
    """All that takes time happens while the old daemon serves."""
    former = pid(gateway)
    if programs == "programs loaded anew":
        shutil.rmtree(Path(gateway.ask("status")["pins"]) / "programs")
    with Commands(gateway.lab) as commands:
        usual = sorted(commands.waits)[len(commands.waits) // 2]
        done = incident.inject(lambda: upgrade(gateway))
        assert done.returncode == 0, done.stderr
        incident.mended(lambda: commands.more(20))
        slowest = max(commands.waits)
    assert not commands.broken
    assert pid(gateway) not in (former, 0) and f"pid {pid(gateway)} serves" in done.stderr
    assert not Path(f"/proc/{former}").exists() or _zombie(former)
    incident.row.seen = done.stderr.strip().partition("; ")[2]
    incident.row.lost = (
        f"0 of {len(commands.waits)} commands; the slowest waited {1e3 * slowest:.0f} ms, usual {1e3 * usual:.1f} ms"
    )
    print(incident.row.seen, "|", incident.row.lost)
    assert slowest < BOUND


def _zombie(number: int) -> bool:
    return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


@fault("`algate upgrade` to what can't start: {what}")
@pytest.mark.parametrize("what", ["a wrong configuration"])
def test_an_upgrade_that_cant_be(gateway: AlgateGateway, incident: Incident, what: str) -> None:
    """The old daemon serves on, and says why in one line."""
    file = gateway.lab.folder / "algate.toml"
    former, text = pid(gateway), file.read_text()
    file.write_text(text + "[nat]\nhold_dawn = 3\n")
    try:
        with Commands(gateway.lab) as commands:
            done = incident.inject(lambda: upgrade(gateway))
            assert commands.more(20)
    finally:
        file.write_text(text)
    said = done.stderr.strip()
    assert done.returncode == 2 and "serves on" in said and "\n" not in said, said
    assert pid(gateway) == former and not commands.broken
    incident.noticed(f"exit code 2, `{said[:90]}...`", lambda: True)
    incident.row.lost = f"0 of {len(commands.waits)} commands; the slowest waited {1e3 * max(commands.waits):.0f} ms"
