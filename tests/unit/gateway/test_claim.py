"""A run directory is root's own, is held once, and is made anew if it is lost."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from algate.alg.errors import AlgateError
from algate.alg.gateway.claim import Claim


def test_held_once(tmp_path: Path) -> None:
    with Claim(tmp_path / "run") as one:
        assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
        assert not one.lost()
        with pytest.raises(AlgateError, match=rf"already running on .* \(pid {os.getpid()}\)"):
            Claim(tmp_path / "run")
    Claim(tmp_path / "run").close()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_others_may_not_write_to_it(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(AlgateError, match=f"others may write to .* {mode:04o}.*chmod go-w"):
        Claim(folder)
    assert list(folder.iterdir()) == []


def test_another_s_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    with pytest.raises(AlgateError, match=f"belongs to uid {uid}, not to uid {uid + 1}"):
        Claim(tmp_path)


def test_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "run").symlink_to("there")
    with pytest.raises(AlgateError, match="is a symbolic link"):
        Claim(tmp_path / "run")
    assert list((tmp_path / "there").iterdir()) == []


def test_no_link_is_followed_to_the_lock(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("text")
    (tmp_path / "run").mkdir(mode=0o700)
    (tmp_path / "run" / "lock").symlink_to(target)
    with pytest.raises(AlgateError, match="can't use run directory"):
        Claim(tmp_path / "run")
    assert target.read_text() == "text"


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(AlgateError, match="can't use run directory"):
        Claim(tmp_path / "run")


@pytest.mark.parametrize("taken", ["all", "lock", "replaced"])
def test_a_lost_one_is_claimed_anew(tmp_path: Path, taken: str) -> None:
    folder = tmp_path / "run"
    with Claim(folder) as one:
        if taken == "lock":
            (folder / "lock").unlink()
        else:
            shutil.rmtree(folder)
        if taken == "replaced":
            folder.mkdir(mode=0o700)
        assert one.lost()
        one.renew()
        assert not one.lost()
        with pytest.raises(AlgateError, match="already running"):
            Claim(folder)
