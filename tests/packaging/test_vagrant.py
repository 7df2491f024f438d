"""vagrant/: the Vagrantfile is valid, provisioning can be repeated, the smoke test's transfers tell good from bad.

Provisioning really runs here, in a separate mount and network namespace where /etc and /srv are copies; no
systemd runs there, so units are written but not started, and the test starts the unit's server itself.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VAGRANT = ROOT / "vagrant"
ELSEWHERE = """
set -euo pipefail
tmp=$1; script=$2
cp -a /etc "$tmp/etc"; mount --bind "$tmp/etc" /etc
for folder in /srv /run /usr/local/bin; do mount -t tmpfs none "$folder"; done
ip link set lo up
eval "$script"
"""


def elsewhere(tmp_path: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script where it can write to /etc, /srv, /run and /usr/local/bin without touching this host's."""
    command = ["unshare", "--mount", "--net", "--propagation", "private", "bash", "-c", ELSEWHERE]
    command += ["lab", str(tmp_path), script]
    environment = {**os.environ, "ALGATE_TREE": str(ROOT), "V": str(VAGRANT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


def validate(folder: Path) -> subprocess.CompletedProcess[str]:
    places = {"VAGRANT_HOME": str(folder / "home"), "VAGRANT_DOTFILE_PATH": str(folder / "state")}
    return subprocess.run(
        ["vagrant", "validate", "--ignore-provider"],
        cwd=folder, env={**os.environ, **places}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The folder, without what a real `vagrant up` leaves in it."""
    return Path(shutil.copytree(VAGRANT, tmp_path / "vagrant", ignore=shutil.ignore_patterns(".vagrant")))


def test_vagrantfile_is_valid(copy: Path) -> None:
    result = validate(copy)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "validated successfully" in result.stdout


def test_validation_would_see_a_missing_script(copy: Path) -> None:
    (copy / "provision.sh").unlink()
    assert validate(copy).returncode != 0


@pytest.mark.parametrize("role", ["gateway", "client", "server"])
def test_provisioning_twice_changes_nothing(tmp_path: Path, role: str) -> None:
    script = """
        $V/provision.sh %s >&2
        list() { (cd /etc; find algate* systemd/system/algate* -type f -exec stat -c '%%n %%y' {} + | sort); }
        list >/tmp/algate-first.$$; $V/provision.sh %s >&2; list >/tmp/algate-second.$$
        cat /tmp/algate-first.$$; cmp /tmp/algate-first.$$ /tmp/algate-second.$$; rm /tmp/algate-*.$$
    """
    result = elsewhere(tmp_path, script % (role, role))
    assert result.returncode == 0, result.stderr
    written = {line.split()[0] for line in result.stdout.splitlines()}
    files = {
        "gateway": {"algate/config.toml", "systemd/system/algate.service", "systemd/system/algate.service.d/tree.conf"},
        "server": {"algate-lab/vsftpd.conf", "systemd/system/algate-lab-ftp.service"},
    }
    assert written == files.get(role, files["server"])


def test_provisioned_gateway_configuration_loads(tmp_path: Path) -> None:
    from algate.alg.config import load as config

    script = """
        ip link add eth1 type veth peer name wan7; ip addr add 10.20.1.100/24 dev eth1
        ip addr add 198.51.100.100/24 dev wan7
        $V/provision.sh gateway >&2; cat /etc/algate/config.toml
    """
    result = elsewhere(tmp_path, script)
    assert result.returncode == 0, result.stderr
    loaded = config.loads(result.stdout)
    assert (loaded.gateway.lan, loaded.gateway.wan) == (("eth1",), "wan7")
    assert str(loaded.forwards[0].to) == "10.20.1.2:21"


SERVED = """
    $V/provision.sh server >&2
    for line in %s; do echo "$line" >>/etc/algate-lab/vsftpd.conf; done
    $(sed -n 's/^ExecStart=//p' /etc/systemd/system/algate-lab-ftp.service) & server=$!
    for _ in $(seq 100); do if ss -ltn | grep -q ':21 '; then break; fi; sleep 0.1; done
    code=0; $V/transfer.sh 127.0.0.1 || code=$?; kill $server; exit $code
"""


def test_transfers_pass_against_the_provisioned_server(tmp_path: Path) -> None:
    result = elsewhere(tmp_path, SERVED % "")
    assert result.returncode == 0, result.stdout + result.stderr
    assert [line.split()[0] for line in result.stdout.splitlines() if line.endswith("ok")] == [
        "passive", "extended-passive", "active", "extended-active",
    ]  # fmt: skip


def test_transfers_fail_where_a_mode_is_refused(tmp_path: Path) -> None:
    result = elsewhere(tmp_path, SERVED % "port_enable=NO")
    assert result.returncode == 1
    results = {line.split()[0]: line.split(maxsplit=2)[2] for line in result.stdout.splitlines()}
    assert results == {
        "passive": "ok", "extended-passive": "ok", "active": "failed down", "extended-active": "failed down",
    }  # fmt: skip


def test_unknown_role_is_refused(tmp_path: Path) -> None:
    result = elsewhere(tmp_path, "$V/provision.sh router")
    assert result.returncode == 2
    assert "router" in result.stderr
