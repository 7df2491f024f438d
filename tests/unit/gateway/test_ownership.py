"""Whose programs are on a host, while other gateways are purged and other network namespaces deleted."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from algate.alg.gateway import namespace, ownership
from algate.bpf import pins, syscall


def purged_meanwhile(monkeypatch: pytest.MonkeyPatch, layout: Path) -> None:
    """Purge a gateway between a look into its folder of pins and one into a layout that was seen there."""
    real = os.scandir

    def scandir(place: Any = ".") -> Any:
        if not isinstance(place, int) and Path(place) == layout and layout.exists():
            shutil.rmtree(layout.parent)
        return real(place)

    monkeypatch.setattr(os, "scandir", scandir)


def test_a_neighbour_that_is_purged_meanwhile_has_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was "a bug in algate: FileNotFoundError", of a start beside it."""
    own, other = tmp_path / "algate", tmp_path / "algate-other"
    numbers = {}
    for number, path in enumerate((own / "1/sessions", own / "1/programs/scratch", other / "1/sessions")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        numbers[path] = number
    monkeypatch.setattr(pins, "folder", lambda _: own)
    monkeypatch.setattr(syscall, "obj_get", lambda path: os.open(path, os.O_RDONLY))

    class Info:
        def __init__(self, fd: int) -> None:
            self.id = numbers[Path(os.readlink(f"/proc/self/fd/{fd}"))]

    monkeypatch.setattr(syscall, "map_info", Info)
    both = ownership.Owners(Path("run"))
    assert both._own == {0} and both._others == {2}, "without the maps of kept programs"
    purged_meanwhile(monkeypatch, other / "1")
    alone = ownership.Owners(Path("run"))
    assert not other.exists() and alone._own == {0} and not alone._others


def test_a_namespace_that_is_deleted_meanwhile_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between a look into the folder of their names and one at each."""
    (tmp_path / "deleted").symlink_to("nowhere")
    (tmp_path / "there").touch()
    monkeypatch.setattr(namespace, "NAMED", tmp_path)
    assert [path.name for _, path in namespace.named()] == ["there"]
    with namespace.entered(1):
        pass


@pytest.mark.parametrize("place", ["gone", "file"])
def test_a_folder_of_pins_that_has_gone_holds_nothing(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    assert pins.names(tmp_path / place) == set() and pins.names(tmp_path) == {"file"}


def test_nobody_holds_what_is_purged_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pins, "folder", lambda _: tmp_path / "purged")
    monkeypatch.setattr(pins, "exists", lambda _: True)
    assert not pins.held(tmp_path)
