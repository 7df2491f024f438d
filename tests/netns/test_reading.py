"""Reading without root, as a process of another user: a member of the group, and a stranger."""

from __future__ import annotations

import grp
import json
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.lab import Lab
from algate.client import schema
from tests import stranger

GROUP = grp.getgrnam("games")  # of every Debian; nobody is in it
NOBODYS = 65534


@pytest.fixture(scope="module")
def gateway() -> Iterator[AlgateGateway]:
    with pytest.MonkeyPatch.context() as patched, Lab() as lab:
        patched.setenv("ALGATE_GROUP", GROUP.gr_name)
        lab.folder.chmod(0o711)
        with AlgateGateway(lab) as made:
            yield made


@pytest.fixture(autouse=True)
def run_dir(gateway: AlgateGateway, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ALGATE_RUN_DIR", str(gateway.run_dir))
    monkeypatch.setenv("ALGATE_GROUP", GROUP.gr_name)
    return gateway.run_dir


READS = ("status", "stats", "sessions", "mappings", "expectations", "forward list")
CHANGES = (
    ("kill --inside 10.0.0.1", "kill"), ("reload", "reload"), ("upgrade", "upgrade"),
    ("forward add tcp 2121 10.77.0.2:21", "forward add"), ("forward del tcp 2121", "forward del"),
)  # fmt: skip


def test_a_member_reads_and_changes_nothing(gateway: AlgateGateway, run_dir: Path) -> None:
    for words in READS:
        done = stranger.algate(GROUP.gr_gid, *words.split(), "--json")
        assert (done.returncode, done.stderr) == (0, ""), words
        jsonschema.validate(json.loads(done.stdout), schema(words))
    assert "translating" in stranger.algate(GROUP.gr_gid, "status").stdout
    assert "translating" in stranger.algate(GROUP.gr_gid, "top", "--once").stdout
    for words, verb in CHANGES:
        done = stranger.algate(GROUP.gr_gid, *words.split())
        assert (done.returncode, done.stdout) == (3, ""), words
        assert done.stderr == f"algate: {verb} changes the gateway: run it as root (sudo algate {verb} ...)\n"
    assert gateway.ask("forward-list") == []
    assert stranger.algate(GROUP.gr_gid, "kill", "--dry-run", "--inside", "10.0.0.1").returncode == 1  # none there


@pytest.mark.parametrize("words", ["run --lan lan0 --wan wan0", "down", "export -", "import -", "check --live"])
def test_what_works_without_a_daemon_needs_root_as_well(words: str) -> None:
    done = stranger.algate(GROUP.gr_gid, *words.split())
    assert (done.returncode, done.stdout) == (3, "")
    assert "needs root" in done.stderr and "sudo" in done.stderr and done.stderr.count("\n") == 1


def test_the_socket_is_all_that_a_member_reaches(run_dir: Path) -> None:
    for command in (("ls", run_dir), *(("cat", run_dir / name) for name in ("state.json", "lock"))):
        done = stranger.algate(GROUP.gr_gid, "--", *map(str, command))
        assert done.returncode != 0 and "Permission denied" in done.stderr, command


def test_a_stranger_gets_nowhere(run_dir: Path) -> None:
    for words in ("status", "sessions --json", "kill --inside 10.0.0.1", ""):
        done = stranger.algate(NOBODYS, *words.split()) if words else stranger.algate(NOBODYS)
        verb = words.partition(" ")[0] or "status"
        assert (done.returncode, done.stdout) == (3, ""), words
        assert done.stderr == (
            f"algate: no permission for {run_dir}/control.sock: run it as root (sudo algate {verb} ...), "
            f"or to read as a member of the group {GROUP.gr_name}\n"
        )


def test_a_file_that_is_its_owners(gateway: AlgateGateway) -> None:
    file = gateway.lab.folder / "secret.toml"
    file.write_text("[nat]\n")
    file.chmod(0o600)
    done = stranger.algate(NOBODYS, "check", str(file))
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"algate: {file} can't be read: it is for its owner alone; run it as root (sudo)\n"


def test_a_run_dir_made_anew_lets_the_group_in_again(gateway: AlgateGateway, run_dir: Path) -> None:
    """Somebody removes the socket; the daemon notices and makes another."""
    from tests.netns.talk import until

    (run_dir / "control.sock").unlink()
    until(lambda: stranger.algate(GROUP.gr_gid, "status").returncode == 0, 10)
