"""`algate check`: all errors of a file at once, what the host lacks, exit codes; without daemon or root."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from algate.cli import app as command

pytestmark = pytest.mark.unit
WRONG = '[nat]\nmaping = "x"\nports = "70000"\n[alg.ftp]\nmin_prot = 1\n[[forward]]\nproto = "x"\n'


def check(path: Path, *argv: str) -> Result:
    return CliRunner().invoke(command.app, ["check", str(path), *argv])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "algate.toml"


def test_every_error_at_once(file: Path) -> None:
    file.write_text(WRONG)
    made = check(file, "--json", "--lan", "a0", "--wan", "b0")
    rows = json.loads(made.stdout)
    assert made.exit_code == 2
    assert {row["kind"] for row in rows} == {"error"}
    wanted = {"nat.maping", "nat.ports", "alg.ftp.min_prot", "forward[0].proto", "forward[0].wan_port", "forward[0].to"}
    assert wanted <= {row["path"] for row in rows}
    assert len(check(file).stdout.splitlines()) > len(wanted)


def test_a_right_file_on_a_host_without_its_devices(file: Path) -> None:
    file.write_text('[metrics]\nlisten = ""\n')
    devices = ("--lan", "nolan0", "--wan", "nowan0")
    made = check(file, "--json", *devices)
    assert made.exit_code == 1
    found = [(row["kind"], row["path"]) for row in json.loads(made.stdout)]
    assert found == [("host", "gateway.lan"), ("host", "gateway.wan")]
    right = check(file, "--no-host", *devices)
    assert (right.exit_code, right.stdout) == (0, "") and "is right" in right.stderr
    assert json.loads(check(file, "--no-host", "--json", *devices).stdout) == []


def test_a_metrics_port_in_use(file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        file.write_text(f'[metrics]\nlisten = "127.0.0.1:{taken.getsockname()[1]}"\n')
        made = check(file, "--tsv", "--lan", "nolan0", "--wan", "nowan0")
    assert "metrics.listen" in made.stdout


def test_no_file(file: Path) -> None:
    made = check(file)
    assert (made.exit_code, "algate.toml" in made.stdout) == (2, True)
