"""The unit's capabilities are enough, and each is needed. CAP_IPC_LOCK stands in for its LimitMEMLOCK here."""

from __future__ import annotations

import secrets
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ALGATE = ROOT / ".venv/bin/algate"
READY_SECONDS = 300


@pytest.fixture
def namespace() -> Iterator[str]:
    """A network namespace with an inside and an outside device."""
    name = f"ag-{secrets.token_hex(4)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    commands = ["link set lo up"]
    for device, address in (("lan0", "10.9.0.1/24"), ("wan0", "198.51.100.9/24")):
        commands += [f"link add {device} type veth peer name p{device}", f"addr add {address} dev {device}"]
        commands += [f"link set {device} up", f"link set p{device} up"]
    try:
        for command in commands:
            subprocess.run(["ip", "-n", name, *command.split()], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False)


def held() -> list[str]:
    """The capabilities of algate.service, as setpriv spells them."""
    (line,) = [
        line
        for line in (ROOT / "deploy/algate.service").read_text().splitlines()
        if line.startswith("CapabilityBoundingSet=")
    ]
    return [name.removeprefix("CAP_").lower() for name in line.split("=", 1)[1].split()]


def inside(namespace: str, capabilities: list[str] | None, *command: str | Path) -> list[str | Path]:
    enter: list[str | Path] = ["nsenter", f"--net=/run/netns/{namespace}"]
    if capabilities is None:
        return [*enter, *command]
    bounding = ",".join(["-all", *(f"+{name}" for name in [*capabilities, "ipc_lock"])])
    return [*enter, "setpriv", "--no-new-privs", "--inh-caps=-all", f"--bounding-set={bounding}", *command]


def run_command(run_dir: Path) -> list[str | Path]:
    return [ALGATE, "run", "--lan", "lan0", "--wan", "wan0", "--run-dir", run_dir]


def test_the_units_capabilities_are_enough(namespace: str, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    command = inside(namespace, held(), *run_command(run_dir))
    with open(tmp_path / "log", "wb") as log:
        daemon = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == "ready\n", (tmp_path / "log").read_text()
        doctor = subprocess.run(
            inside(namespace, None, ALGATE, "doctor", "--tsv", "--run-dir", run_dir),
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert "attached to wan0 (wan), lan0 (lan)" in doctor.stdout, doctor.stdout + doctor.stderr
        assert doctor.returncode == 0, doctor.stdout
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(30) == 0
    finally:
        daemon.kill()
        daemon.wait()
        subprocess.run(inside(namespace, None, ALGATE, "down", "--purge", "--run-dir", run_dir), check=True)


@pytest.mark.parametrize("missing", ["bpf", "net_admin", "perfmon"])
def test_each_capability_is_needed(namespace: str, tmp_path: Path, missing: str) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir(mode=0o700)  # without CAP_NET_ADMIN `run` makes none, and `down` would take its name for mistyped
    fewer = [name for name in held() if name != missing]
    command = inside(namespace, fewer, *run_command(run_dir))
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=READY_SECONDS)
        assert result.returncode == 3, result.stderr
        assert "ready" not in result.stdout
        assert result.stderr.splitlines()[-1].startswith("algate: ")
    finally:
        subprocess.run(inside(namespace, None, ALGATE, "down", "--purge", "--run-dir", run_dir), check=True)
