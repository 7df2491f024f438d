"""The files of deploy/, read by the programs that they are for."""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from algate.alg.audit.fills import FILLS
from algate.alg.config import load as config
from algate.alg.plugin import policy, registry

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
HERE = Path(__file__).parent


def run(*command: str | Path, cwd: Path = HERE) -> str:
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, f"{' '.join(map(str, command))}\n{result.stdout}{result.stderr}"
    return result.stdout + result.stderr


# -- configuration --


def test_example_holds_every_default() -> None:
    devices = {"gateway.lan": ["lan0"], "gateway.wan": "wan0"}
    plugins = policy.kinds(registry.discover(()))
    assert config.load(DEPLOY / "config.example.toml", devices, plugins) == config.load(None, devices, plugins)


def test_example_names_every_key_and_its_comments_load(tmp_path: Path) -> None:
    """Commented-out keys are right too: with all of them uncommented, the file loads."""
    text = (DEPLOY / "config.example.toml").read_text()
    whole = re.sub(r"^# (?=(\[\[|[a-z_]+ = ))", "", text, flags=re.MULTILINE)
    whole = whole.replace("\nfilter = false", "\nfilter = true")
    path = tmp_path / "config.toml"
    path.write_text(whole)
    loaded = config.load(path, plugins=policy.kinds(registry.discover(())))
    assert loaded.gateway.wan == "eth0"
    assert len(loaded.forwards) == 1


# -- systemd --


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with its program in a place where `systemd-analyze verify` finds one."""
    program = tmp_path / "algate"
    program.write_text("#!/bin/sh\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    path = tmp_path / "algate.service"
    path.write_text((DEPLOY / "algate.service").read_text().replace("/opt/algate/bin/algate", str(program)))
    return path


def test_unit_is_accepted_without_a_word(unit: Path) -> None:
    said = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit)
    assert "algate" not in said, said


def test_verify_would_see_a_wrong_word(unit: Path) -> None:
    unit.write_text(unit.read_text().replace("[Service]", "[Service]\nProtectSistem=yes"))
    result = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ProtectSistem" in result.stdout + result.stderr


def settings(unit: Path) -> dict[str, str]:
    lines = unit.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def test_unit_keeps_what_pins_need() -> None:
    got = settings(DEPLOY / "algate.service")
    assert got["Type"] == "notify"
    assert got["RequiresMountsFor"] == "/sys/fs/bpf"
    assert got["RuntimeDirectoryPreserve"] == "yes"
    assert "/sys/fs/bpf" in got["ReadWritePaths"]
    assert set(got["CapabilityBoundingSet"].split()) == {"CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"}
    assert got["CacheDirectory"] == "algate"
    assert int(got["WatchdogSec"]) > 3 and got["Restart"] == "on-failure", "a turn of the loop may take a second"
    for breaker in ("ProtectKernelTunables", "ProtectKernelModules", "PrivateDevices", "MemoryDenyWriteExecute"):
        assert breaker not in got


def test_exposure_stays_small(unit: Path) -> None:
    """systemd's own measure, 0 (closed) to 10."""
    said = run("systemd-analyze", "security", "--offline=yes", "--threshold=25", unit)
    assert "Overall exposure level" in said


# -- Prometheus and Grafana --


def test_rules_fire_on_their_trouble_and_not_without(tmp_path: Path) -> None:
    for source in (DEPLOY / "prometheus.rules.yml", HERE / "prometheus.test.yml"):
        shutil.copy(source, tmp_path)
    run("promtool", "check", "rules", "prometheus.rules.yml", cwd=tmp_path)
    run("promtool", "test", "rules", "prometheus.test.yml", cwd=tmp_path)


SOURCES = ("metrics", "families", "fills", "durations", "pair")


def metric_names(text: str) -> set[str]:
    return {re.sub(r"_(bucket|count|sum|total)$", "", name) for name in re.findall(r"\balgate_[a-z_]+\b", text)}


def test_rules_and_dashboard_use_metrics_that_exist() -> None:
    known = metric_names("".join((DEPLOY.parent / f"alg/audit/{name}.py").read_text() for name in SOURCES))
    known |= {f"{name}_limit" for name in FILLS} | {"algate_build_info"}
    used = metric_names((DEPLOY / "prometheus.rules.yml").read_text() + (DEPLOY / "grafana-dashboard.json").read_text())
    assert used <= known


def test_drop_reasons_in_rules_exist() -> None:
    from algate.bpf import abi

    known = {name for name, _ in abi.reasons().values()}
    assert set(re.findall(r'reason="([^"]+)"', (DEPLOY / "prometheus.rules.yml").read_text())) <= known


def test_dashboard_panels_are_whole_and_do_not_overlap() -> None:
    board: dict[str, Any] = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert all(x < 24 for x, _ in cells)
        taken |= cells
        assert panel["targets"], panel["title"]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_dashboard_queries_parse(tmp_path: Path) -> None:
    """promtool reads each query as a rule, with Grafana's variables filled in."""
    board: dict[str, Any] = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    filled = [query.replace("$__rate_interval", "1m").replace("$instance", ".*") for query in queries]
    rules = [{"record": f"test:query{number}", "expr": query} for number, query in enumerate(filled)]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    run("promtool", "check", "rules", "rules.yml", cwd=tmp_path)
