"""What life.sh tries once the package is installed: each step on the real gateway that the package's service runs in a
lab's gateway namespace, most of them under load.

The law of this file: Debian's Python and what the package installed; of the tree only the tests' own helpers.
"""

from __future__ import annotations

import contextlib
import ftplib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from algate.cli.lab.host import Host
from algate.cli.lab.judge import Mode
from algate.cli.lab.lab import LAN_DEVICE, WAN_DEVICE, Lab
from algate.cli.lab.servers import start_server
from tests.netns.footprint import footprint
from tests.netns.talk import CONTENT, Echo, Line, Talker, talking

CONFIG = Path("/etc/algate/config.toml")
DROP_IN = Path("/etc/systemd/system/algate.service.d/netns.conf")
PINS, RUN, CACHE = Path("/sys/fs/bpf/algate"), Path("/run/algate"), Path("/var/cache/algate")
PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")
ONE, TWO = Path("/tmp/one"), Path("/tmp/two")
ECHO, PAUSE = 7007, 0.05
LARGE = os.urandom(1 << 20) * 8
SPARED = (
    "/proc",
    "/sys",
    "/dev",
    "/root",
    "/tmp",
    "/run/algate-lab",
    "/var/cache/apt",
    "/var/log",
    "/usr/bin/systemctl",
)


def told(*argv: str, code: int = 0) -> str:
    """What a command says, on stdout and stderr."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300, stdin=subprocess.DEVNULL)
    assert done.returncode == code, f"{' '.join(argv)}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def apt(*argv: str) -> str:
    return told("apt-get", "-qy", "-o", "Dpkg::Use-Pty=0", "-o", "Dpkg::Options::=--force-confold", *argv)


def package(folder: Path) -> str:
    return str(next(folder.glob("*.deb")))


def status() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(told("algate", "status", "--json"))
    return found


def mapped() -> dict[str, str]:
    return {one["inside"]: one["mapped"] for one in json.loads(told("algate", "sessions", "--json"))}


class Load:
    """Three clients at work until `end`: an echo that asks all the time, transfer after transfer in changing modes over
    one control session, and one long download. `slowest`: of the echo, in s."""

    def __init__(self, client: Host, address: str, line: Line, talker: Talker, slow: Talker) -> None:
        self.client, self.line, self.talker, self.slow = client, line, talker, slow
        self.address = address
        self.asked = self.transfers = 0
        self.slowest = 0.0
        self.wrong: list[str] = []
        self._going = True
        self._large = bytearray()
        jobs = (self._ask, self._fetch, self._download)
        self._threads = [threading.Thread(target=self._guarded, args=(job,)) for job in jobs]
        for one in self._threads:
            one.start()

    def _guarded(self, job: Callable[[], None]) -> None:
        try:
            job()
        except (OSError, EOFError, ftplib.Error) as error:
            self.wrong.append(f"{job.__name__}: {type(error).__name__}: {error}")

    def _ask(self) -> None:
        while self._going:
            began = time.monotonic()
            self.line.ask(b"x" * 100)
            self.asked += 1
            self.slowest = max(self.slowest, time.monotonic() - began)
            time.sleep(PAUSE)

    def _fetch(self) -> None:
        while self._going:
            mode = list(Mode)[self.transfers % len(Mode)]
            if self.talker.fetch("pub/file", mode) != CONTENT:
                self.wrong.append(f"transfer {self.transfers}: other content")
            self.transfers += 1
            time.sleep(PAUSE)

    def _download(self) -> None:
        def take(piece: bytes) -> None:
            self._large += piece
            if self._going:
                time.sleep(len(piece) / 200_000)  # 8 MiB would take 40 s; the rest comes at once in the end

        self.slow._in(lambda: self.slow.ftp.retrbinary("RETR pub/large", take, 1 << 14))

    def check(self) -> None:
        assert not self.wrong, self.wrong

    def end(self) -> None:
        self._going = False
        for one in self._threads:
            one.join(60)
        self.check()
        assert bytes(self._large) == LARGE, f"{len(self._large)} of {len(LARGE)} bytes"


class Life:
    """The steps, in order; each says what it showed and how long it took."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.since = time.monotonic()

    def step(self, what: str) -> None:
        now = time.monotonic()
        print(f"life: {what:<60} {now - self.since:4.0f} s", flush=True)
        self.since = now

    def fresh(self) -> None:
        """Installed, told why it doesn't run, and with all that belongs to it."""
        said = Path("/tmp/install.log").read_text()
        assert "not enabled, not started: name your devices" in said, said
        told("systemctl", "is-enabled", "algate.service", code=1)
        told("systemctl", "is-active", "algate.service", code=3)
        assert re.fullmatch(r"algate 0\.1\.0\n", told("algate", "--version"))
        assert told("getent", "group", "algate").startswith("algate:x:")
        assert "/etc/algate/config.toml" in told("dpkg-query", "-W", "-f", "${Conffiles}", "algate")
        inside = f"--net=/run/netns/{self.lab.gw.netns}"
        words = ("algate", "check", str(CONFIG), "--lan", LAN_DEVICE, "--wan", WAN_DEVICE)
        assert told("nsenter", inside, "--", *words).endswith("is right\n")
        here = told("dpkg", "-L", "algate").splitlines()
        for end in ("man8/algate.8.gz", "man5/algate.toml.5.gz", "completions/algate", "vendor-completions/_algate",
                    "vendor_completions.d/algate.fish", "system/algate.service"):  # fmt: skip
            assert any(one.endswith(end) for one in here), end
        assert "no daemon on /run/algate" in told("algate", "status", code=1)
        self.step("not enabled, and says why; nothing is missing")

    def demo(self) -> None:
        assert not list(Path("/usr/src").glob("linux-headers*")), "there are kernel headers"
        said = told("algate", "demo")
        assert "8 of 8 transfers right" in said, said
        assert not list(CACHE.glob("*.json")), "it compiled, though compiled programs were shipped"
        self.step("demo: 8 of 8 transfers right, without kernel headers")

    def begin(self) -> None:
        """Configured and started as the installation said."""
        text = CONFIG.read_text()
        text = text.replace('# lan = ["eth1"]', f'lan = ["{LAN_DEVICE}"]').replace(
            '# wan = "eth0"', f'wan = "{WAN_DEVICE}"'
        )
        CONFIG.write_text(text)
        DROP_IN.parent.mkdir(parents=True, exist_ok=True)
        DROP_IN.write_text(f"[Service]\nNetworkNamespacePath=/run/netns/{self.lab.gw.netns}\n")
        told("systemctl", "enable", "--now", "algate.service")
        found = status()
        assert (found["state"], found["version"]) == ("translating", "0.1.0"), found
        assert PARANOID.read_text() == "2\n"
        self.step("runs once the configuration names its devices")

    def change(self, load: Load, lines: dict[str, str], folder: Path, version: str) -> None:
        """Another version takes over under load; every session is the one that it was."""
        before, asked, transfers = status(), load.asked, load.transfers
        said = apt("install", "--allow-downgrades", package(folder))
        after = status()
        assert after["pid"] != before["pid"] and after["version"] == version, f"{after}\n{said}"
        until_more(lambda: load.transfers, transfers + 2, load)
        load.check()
        now = mapped()
        assert {one: now.get(one) for one in lines} == lines
        assert load.asked > asked
        self.step(f"now {version}: {load.transfers} transfers, slowest echo {load.slowest:.2f} s")

    def refuse(self, load: Load) -> None:
        """An upgrade whose configuration is wrong leaves the running helper alone, and that one says what it is."""
        before, text = status(), CONFIG.read_text()
        CONFIG.write_text(text + "\n[nonsense]\n")
        said = apt("install", package(TWO))
        CONFIG.write_text(text)
        assert "the former version's helper runs on" in said, said
        after = status()
        assert (after["pid"], after["version"]) == (before["pid"], "0.1.0"), after
        load.check()
        self.step("a wrong configuration stops no running helper")

    def under_load(self) -> None:
        lab, address = self.lab, self.lab.plan.servers[0]
        server = start_server("vsftpd", lab.server)
        (server.pub / "file").write_bytes(CONTENT)
        (server.pub / "large").write_bytes(LARGE)
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.closing(Echo(lab.server, ECHO)))
            line = stack.enter_context(Line(lab.client, address, ECHO))
            talker, slow = (stack.enter_context(talking(lab.client, address, server.login)) for _ in range(2))
            line.ask(b"before")
            load = Load(lab.client, address, line, talker, slow)
            try:
                ends = (line.local, *(local(one) for one in (talker, slow)))
                lines = {one: mapped()[one] for one in ends}
                self.change(load, lines, TWO, "0.1.1")
                self.change(load, lines, ONE, "0.1.0")
                self.refuse(load)
            finally:
                load.end()
        self.step(f"the load ends well: {load.transfers} transfers, {load.asked} echoes, one download of 8 MiB")

    def remove(self, before: dict[str, Any], paranoid: str) -> None:
        """Off its devices, switches restored, sessions in their pins."""
        apt("remove", "algate")
        assert footprint(self.lab.gw) == before
        assert list(PINS.rglob("sessions")), "the sessions are to stay"
        assert CONFIG.exists() and not Path("/usr/bin/algate").exists()
        assert PARANOID.read_text() == paranoid
        self.step("removed: devices and switches as before, sessions kept")

    def again(self) -> None:
        """Installed again over what stayed: it starts by itself, since the configuration names its devices."""
        said = apt("install", "--no-install-recommends", package(ONE))
        assert "Setting up algate" in said and "it doesn't start" not in said and "not started" not in said, said
        told("systemctl", "is-enabled", "algate.service")
        assert status()["state"] == "translating"
        self.step("installed again: it starts, the configuration is there")

    def purge(self, before: dict[str, Any]) -> None:
        apt("purge", "algate")
        assert footprint(self.lab.gw) == before
        left = [path for path in everything() if "algate" in path]
        DROP_IN.unlink()
        DROP_IN.parent.rmdir()
        assert [path for path in left if not path.startswith(str(DROP_IN.parent))] == []
        assert not PINS.exists()
        told("getent", "group", "algate", code=2)
        self.step("purged: no file, pin, qdisc, switch or group is left")


def local(talker: Talker) -> str:
    """Its own end, "ip:port"."""
    assert talker.ftp.sock is not None
    return "{}:{}".format(*talker.ftp.sock.getsockname())


def until_more(count: Callable[[], int], wanted: int, load: Load) -> None:
    end = time.monotonic() + 30
    while count() < wanted:
        load.check()
        assert time.monotonic() < end, f"only {count()} of {wanted} after 30 s"
        time.sleep(0.05)


def everything() -> Iterator[str]:
    """Every path, but for what is the kernel's, this test's or apt's cache."""
    for folder, folders, files in os.walk("/"):
        folders[:] = [one for one in folders if not os.path.join(folder, one).startswith(SPARED)]
        yield from (path for one in (*folders, *files) if not (path := os.path.join(folder, one)).startswith(SPARED))


def main() -> int:
    """Exit code 1 with the reason at the first step that goes wrong."""
    found = PARANOID.read_text()
    paranoid = "3\n"  # Debian's default
    PARANOID.write_text(paranoid)
    try:
        with Lab() as lab:
            life = Life(lab)
            before = footprint(lab.gw)
            for step in (life.fresh, life.demo, life.begin, life.under_load):
                step()
            life.remove(before, paranoid)
            life.again()
            life.purge(before)
    except AssertionError as error:
        print(f"not so: {error}")
        with contextlib.suppress(OSError):
            print(Path("/run/fake-systemctl.log").read_text(errors="replace")[-4000:])
        raise
    finally:
        PARANOID.write_text(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
