"""Which bpffs outlives its users: the host's, one that was handed down, and not one of `ip netns exec`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from algate.bpf import pins
from algate.bpf.errors import AlgateError

pytestmark = pytest.mark.unit

MOUNT = "42 23 0:39 / {place} rw,relatime{tags} - {kind} {source} rw\n"
PLAIN = MOUNT.format(place="/sys/fs/bpf", tags="", kind="bpf", source="bpf")


class Proc:
    """A /proc: process 1, a shell, and this process below it. `mounts`: mountinfo."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "host").touch()
        (path / "apart").touch()
        self.process("1", "0", "host")
        self.process("70", "1", "host")
        self.process("self", "70", "host")
        self.mounts(PLAIN)

    def process(self, pid: str, parent: str, namespace: str | None) -> None:
        (self.path / pid / "ns").mkdir(parents=True, exist_ok=True)
        (self.path / pid / "stat").write_text(f"80 (a (b) S) S {parent} 80 80 0")
        place = self.path / pid / "ns/mnt"
        place.unlink(missing_ok=True)
        if namespace:
            os.link(self.path / namespace, place)

    def mounts(self, text: str) -> None:
        (self.path / "self/mountinfo").write_text(text)


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Proc:
    monkeypatch.setattr(pins, "is_bpffs", lambda path: path == pins.BPFFS)
    return Proc(tmp_path)


def test_the_hosts_own_lasts(proc: Proc) -> None:
    assert not pins.apart(proc.path) and not pins.passing(proc.path)


def test_one_of_a_namespace_apart_passes_unless_it_was_handed_down(proc: Proc) -> None:
    proc.process("self", "70", "apart")
    assert pins.apart(proc.path) and pins.passing(proc.path)
    proc.mounts(MOUNT.format(place="/sys/fs/bpf", tags=" shared:3 master:1", kind="bpf", source="bpf"))
    assert not pins.passing(proc.path), "as under systemd's PrivateMounts"


def test_where_process_1_may_not_be_looked_at_the_oldest_ancestor_counts(proc: Proc) -> None:
    proc.process("1", "0", None)
    assert not pins.apart(proc.path)
    proc.process("self", "70", "apart")
    assert pins.apart(proc.path)


def test_without_an_ancestor_the_name_of_sys_tells(proc: Proc, monkeypatch: pytest.MonkeyPatch) -> None:
    proc.process("1", "0", None)
    proc.process("self", "1", "apart")
    proc.mounts(MOUNT.format(place="/sys", tags="", kind="sysfs", source="gw"))
    assert not pins.apart(proc.path), "no namespace is called that"
    monkeypatch.setattr(Path, "is_file", lambda self: str(self) == "/run/netns/gw")
    assert pins.apart(proc.path)


def test_none_is_mounted_that_would_end_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pins, "is_bpffs", lambda path: False)
    monkeypatch.setattr(pins, "apart", lambda: True)
    with pytest.raises(AlgateError, match="nsenter --net=") as caught:
        pins.bpffs()
    assert caught.value.exit_code == 3
