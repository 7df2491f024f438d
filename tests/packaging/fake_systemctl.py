#!/usr/bin/python3
"""systemctl for a root without systemd: starts and stops what algate.service says, for the package's scripts.

The law of this file: the standard library and the unit. It does Type=notify, ExecStartPre and ExecStopPost, the run and
cache directories, WATCHDOG_USEC and NetworkNamespacePath. It does not do what only systemd can: the sandbox, ending a
daemon whose watchdog is silent, restarting one that failed, order at boot.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

UNIT = Path("/lib/systemd/system/algate.service")
WANTS = Path("/etc/systemd/system/multi-user.target.wants/algate.service")
DROP_INS = Path("/etc/systemd/system/algate.service.d")
PID, LOG = Path("/run/fake-systemctl.pid"), Path("/run/fake-systemctl.log")
STARTING, STOPPING = 60.0, 20.0


def settings(key: str) -> list[str]:
    files = [UNIT, *sorted(DROP_INS.glob("*.conf"))]
    lines = [line for file in files for line in file.read_text().splitlines()]
    return [line.partition("=")[2] for line in lines if line.startswith(f"{key}=")]


def words(line: str) -> list[str]:
    return [one.replace("$$", "$") for one in shlex.split(line.lstrip("+-!@:"))]


def main_pid() -> int:
    """0: not running."""
    with contextlib.suppress(OSError, ValueError):
        pid = int(PID.read_text())
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            return pid
    return 0


def start() -> int:
    if main_pid():
        return 0
    Path("/run/algate").mkdir(exist_ok=True)
    Path("/run/algate").chmod(int(settings("RuntimeDirectoryMode")[0], 8))
    Path("/var/cache/algate").mkdir(mode=0o700, exist_ok=True)
    for line in settings("ExecStartPre"):
        subprocess.run(words(line), check=True)
    inside = [f"--net={one}" for one in settings("NetworkNamespacePath")[-1:]]
    argv = (["nsenter", *inside, "--"] if inside else []) + words(settings("ExecStart")[0])
    place = Path("/run/fake-notify")
    place.unlink(missing_ok=True)
    env = {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": str(place)}
    env["WATCHDOG_USEC"] = str(int(settings("WatchdogSec")[0]) * 1_000_000)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard, LOG.open("ab") as log:
        heard.bind(str(place))
        heard.settimeout(0.1)
        child = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, cwd="/", start_new_session=True
        )
        PID.write_text(str(child.pid))
        end = time.monotonic() + STARTING
        while child.poll() is None and time.monotonic() < end:
            with contextlib.suppress(TimeoutError):
                if b"READY=1" in heard.recv(4096):
                    return 0
    print(f"Job for algate.service failed:\n{LOG.read_text(errors='replace')[-2000:]}", file=sys.stderr)
    return 1


def stop() -> int:
    pid = main_pid()
    if pid:
        os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + STOPPING
        while main_pid() and time.monotonic() < end:
            time.sleep(0.02)
        if main_pid():
            os.kill(pid, signal.SIGKILL)
        for line in settings("ExecStopPost"):
            subprocess.run(words(line), check=True)
    PID.unlink(missing_ok=True)
    return 0


def answer(verb: str, now: bool) -> int:
    match verb:
        case "start":
            return start()
        case "stop":
            return stop()
        case "restart":
            return stop() or start()
        case "try-restart":
            return (stop() or start()) if main_pid() else 0
        case "is-active":
            return 0 if main_pid() else 3
        case "is-enabled":
            print("enabled" if WANTS.is_symlink() else "disabled")
            return 0 if WANTS.is_symlink() else 1
        case "enable":
            WANTS.parent.mkdir(parents=True, exist_ok=True)
            WANTS.unlink(missing_ok=True)
            WANTS.symlink_to(UNIT)
            return start() if now else 0
    return 0


def main() -> int:
    verbs = [one for one in sys.argv[1:] if not one.startswith("-")]
    return answer(verbs[0], "--now" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
