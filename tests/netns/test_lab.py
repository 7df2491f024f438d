"""The lab itself: it leaves nothing behind, and its judge can fail a gateway."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from algate.cli.lab import record as lab_record
from algate.cli.lab.capture import Capture
from algate.cli.lab.gateways import RouteGateway
from algate.cli.lab.judge import InsideEnd, Mode, judge
from algate.cli.lab.lab import Lab, LabPlan
from algate.cli.lab.record import records, sweep
from algate.cli.lab.transfers import Errand, Operation, carry_out, order
from algate.cli.lab.trial import TrialStage
from algate.cli.lab.wire import trace
from algate.client import schema
from tests.topology import gateway_lab

SLEEPER = """
import pathlib, sys, time
from algate.cli.lab import record
from algate.cli.lab.lab import Lab
record.RECORDS = pathlib.Path(sys.argv[1])
with Lab() as lab:
    lab.server.spawn("sleep", ["sleep", "600"])
    print(lab.tag, lab.folder, flush=True)
    time.sleep(600)
"""


def remains(tag: str, folder: str) -> list[str]:
    """What is left of a lab on this machine."""
    found = [name for name in os.listdir("/run/netns") if name.startswith(tag)]
    return found + [str(path) for path in (Path(folder), lab_record.RECORDS / f"{tag}.json") if path.exists()]


@pytest.fixture
def own_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Records that only this test sees: whoever starts a lab removes dead ones."""
    monkeypatch.setattr(lab_record, "RECORDS", tmp_path / "records")
    return lab_record.RECORDS


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_removes_the_lab(own_records: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER, own_records], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    tag, folder = process.stdout.readline().split()
    assert len(remains(tag, folder)) == 5
    process.send_signal(number)
    process.wait(20)
    assert remains(tag, folder) == []


def test_a_killed_lab_is_removed_by_the_next_start(own_records: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", SLEEPER, own_records], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    tag, folder = process.stdout.readline().split()
    inside = subprocess.run(["ip", "netns", "pids", f"{tag}-server"], capture_output=True, text=True).stdout.split()
    assert len(inside) == 1
    assert tag not in sweep(), "a living owner's lab is not to be touched"
    process.kill()
    process.wait()
    assert len(remains(tag, folder)) == 5
    assert tag in sweep()
    assert remains(tag, folder) == []
    status = Path(f"/proc/{inside[0]}/status")  # if init doesn't reap, a zombie stays
    assert not status.exists() or "State:\tZ" in status.read_text()


def test_several_clients_a_router_and_two_servers_reach_each_other() -> None:
    plan = LabPlan(clients=("10.77.0.2", "10.77.0.3", "10.77.0.4"), router=True)
    with Lab(plan) as lab, RouteGateway(lab):
        assert {r.tag for r in records()} >= {lab.tag}
        for client in lab.clients:
            for server in plan.servers:
                assert client.run(["ping", "-c1", "-W2", server]).returncode == 0
        assert lab.clients[0].run(["ping", "-c1", "-W2", "10.77.0.4"]).returncode == 0


@pytest.mark.parametrize("mode", list(Mode))
def test_the_judge_refuses_bare_forwarding(mode: Mode) -> None:
    """The transfer succeeds and the content is equal, yet the private address is outside."""
    with Lab() as lab, RouteGateway(lab), TrialStage(lab, InsideEnd.CLIENT, "vsftpd") as stage:
        result = stage.trial("curl", mode, Operation.GET, b"content")
    assert result.content_equal
    assert any("private address in an IP header outside" in problem for problem in result.problems)
    announced_inside = any("wrong address" in problem for problem in result.problems)
    assert announced_inside == mode.active


def test_the_judge_notices_another_mode() -> None:
    """A client that falls back to another mode reports success; the wire doesn't."""
    with gateway_lab("kernel") as (lab, _), TrialStage(lab, InsideEnd.CLIENT, "vsftpd") as stage:
        errand = Errand(Mode.PASV, Operation.LIST, stage.target, stage.server.login, "pub", lab.folder / "listing")
        assert carry_out(lab.client, "curl", errand, order("curl", errand)).ok
        links = trace(stage.inside.take()), trace(stage.outside.take())
        assert judge(stage.scene, *links, Mode.PASV).ok
        assert any("PASV was used, not EPSV" in p for p in judge(stage.scene, *links, Mode.EPSV).problems)


def test_the_demo_with_the_kernels_nat() -> None:
    """All eight rows with the baseline: what fails only with algate is then algate's fault."""
    algate = Path(sys.executable).with_name("algate")
    done = subprocess.run([algate, "demo", "--gateway", "kernel", "--json"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("8 of 8 transfers right\n")
    rows = json.loads(done.stdout)
    jsonschema.validate(rows, schema("demo"), cls=jsonschema.Draft202012Validator)
    assert [(row["side"], row["mode"]) for row in rows] == [
        (str(side), str(mode)) for side in InsideEnd for mode in Mode
    ]
    assert all(row["ok"] and row["sha256_ok"] and row["bytes"] == 2 * (32 << 20) for row in rows)
    names = [
        "schema",
        "side",
        "mode",
        "inside_line",
        "outside_line",
        "public_port",
        "expectation",
        "data",
        "bytes",
        "rate",
    ]
    assert all(list(row) == [*names, "sha256_ok", "ok"] for row in rows)


def test_a_capture_has_what_passed_before_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long its thread gets no CPU: here it gets none at all."""
    monkeypatch.setattr(Capture, "_read", lambda self: None)
    with Lab() as lab:
        capture = Capture(lab.gw, "lan0")
        try:
            assert lab.client.run(["ping", "-c", "1", "-W", "5", lab.plan.gateway]).returncode == 0
            assert [one.proto for one in capture.take()] == [1, 1]
        finally:
            capture.close()
