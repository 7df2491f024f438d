"""Programs that are kept: taken over if they are what would be loaded, and never otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from algate.bpf import abi, compiler, loader, pins, syscall
from algate.bpf.keep import FOLDER
from algate.bpf.loader import Gateway
from algate.bpf.programs import UNPINNED, programs
from algate.bpf.requests import ControlProgram


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A pin folder of one run directory."""
    made = pins.version_folder(tmp_path)
    yield made
    pins.remove(tmp_path)


def ids(gateway: Gateway) -> dict[str, int]:
    return {name: syscall.prog_info(fd).id for name, fd in gateway.fds.items()}


FEW = ("tc_lan", "tc_wan_in", "control", "stage_refuse")


def few(folder: Path | None, six: bool, nat64: bool = False) -> tuple[compiler.Artifact, str]:
    """Some of the programs over all maps: the verifier takes seconds for all."""
    found, headers = programs(folder, six, nat64)
    return compiler.Artifact(found.maps, {name: found.programs[name] for name in FEW}), headers


def test_the_second_start_takes_what_the_first_left(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "programs", few)
    monkeypatch.setattr(loader, "STAGES", {abi.Stage.REFUSE: "stage_refuse"})
    keep = folder / FOLDER

    def start() -> Gateway:
        return Gateway(folder, 64, 1, tmp_path)

    first = start()
    assert not first.kept
    before = ids(first)
    first.close()
    second = start()
    assert second.kept and ids(second) == before and pins.version_folder(tmp_path) == folder
    second.install_stages()
    assert second.open_ring(lambda cpu, sample: None, lambda number: None, 8) and not second.turn()
    assert ControlProgram(second.fds["control"]).keys(abi.ControlOp.KILL, [bytes(abi.SessionKey())]) == 0
    second.close()

    (keep / "tc_lan").unlink()  # killed before all were pinned
    third = start()
    assert not third.kept and not set(before.values()) & set(ids(third).values())
    (keep / "tc_lan").unlink()
    syscall.obj_pin(third.fds["tc_wan_in"], keep / "tc_lan")  # another text
    third.close()
    fourth = start()
    assert not fourth.kept
    fourth.close()

    (folder / "adjusts").unlink()  # other maps: the same text would write where nobody reads
    fifth = start()
    assert not fifth.kept
    own = {name: syscall.map_info(fd).id for name, fd in fifth._map_fds.items() if name in UNPINNED}
    assert own
    fifth.close()
    sixth = start()
    assert sixth.kept and {name: syscall.map_info(sixth._map_fds[name]).id for name in own} == own
    sixth.close()
