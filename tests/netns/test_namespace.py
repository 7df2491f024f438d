"""How a gateway in a network namespace is started: a bpffs that ends with the command is refused, or warned of."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from algate.cli.lab.gateways import AlgateGateway, algate
from algate.cli.lab.lab import LAN_DEVICE, WAN_DEVICE, Lab
from tests.netns.footprint import footprint
from tests.netns.talk import data, until, verb

#: Without CAP_SYS_PTRACE nobody may look at process 1, which has it.
LOADS = True  # each gateway anew: pins are what this is about
BLIND = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"]


@pytest.fixture
def gateway(lab: Lab) -> Iterator[AlgateGateway]:
    """Not started; taken off at the end."""
    made = AlgateGateway(lab)
    made._prepare()
    yield made
    verb(made, "down", "--purge", host=lab.gw)


def started(lab: Lab, gateway: AlgateGateway, *before: str) -> list[str]:
    """The command line by `ip netns exec`."""
    run = [*algate(), "run", "--lan", LAN_DEVICE, "--wan", WAN_DEVICE, "--run-dir", str(gateway.run_dir)]
    return [*BLIND, "ip", "netns", "exec", lab.gw.netns, *before, *run]


def test_ip_netns_exec_is_refused_where_no_pin_would_last(lab: Lab, gateway: AlgateGateway) -> None:
    before = footprint(lab.gw)
    done = subprocess.run(started(lab, gateway), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3 and done.stdout == ""
    assert "no bpffs here that outlives this command" in done.stderr
    assert "nsenter --net=/run/netns/NAME algate run" in done.stderr
    assert footprint(lab.gw) == before


def row(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(one for one in rows if one["check"] == name)


def test_a_bpffs_of_the_command_alone_is_told_of(lab: Lab, gateway: AlgateGateway, tmp_path: Path) -> None:
    """The operator mounts one there: it runs, says what that means, and doctor fails, seen from elsewhere."""
    mount = ("bash", "-c", 'mount -t bpf bpf /sys/fs/bpf && exec "$@"', "first")
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(started(lab, gateway, *mount), stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            assert process.stdout is not None and process.stdout.readline() == "ready\n", (tmp_path / "log").read_text()
            assert any("all traffic stops" in note for note in data(gateway, "status")["notes"])
            done = verb(gateway, "doctor", "--json", host=lab.gw)
            assert done.returncode == 1
            found = row(json.loads(done.stdout), "pins")
            assert not found["ok"] and "none to be seen here" in found["detail"] and "nsenter" in found["fix"]
        finally:
            os.kill(process.pid, signal.SIGTERM)
            process.wait(20)
    assert "all traffic stops when the last process of this mount namespace ends" in (tmp_path / "log").read_text()
    found = row(json.loads(verb(gateway, "doctor", "--json", host=lab.gw).stdout), "pins")
    assert not found["ok"] and "programs are on " in found["detail"] and LAN_DEVICE in found["detail"]


def test_nsenter_is_the_way(lab: Lab, gateway: AlgateGateway) -> None:
    gateway.start()
    until(lambda: gateway.ask("status")["state"] == "translating")
    assert not [note for note in gateway.ask("status")["notes"] if "all traffic stops" in note]
    done = verb(gateway, "doctor", "--json", host=lab.gw)
    assert row(json.loads(done.stdout), "pins")["ok"]
    gateway.stop()
