"""Which headers are chosen, and that a tree made of Debian's halves is complete and private."""

from __future__ import annotations

import io
import os
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from algate.bpf import headers
from algate.bpf.errors import AlgateError

pytestmark = pytest.mark.unit

COMMON = ("include/linux/kconfig.h", "include/uapi/linux/bpf.h", "include/net/sock.h")


def write(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    return root


def own_files() -> tuple[str, ...]:
    return ("include/generated/autoconf.h", f"arch/{headers._arch()}/include/generated/uapi/asm/types.h")


def debian(root: Path, version: str) -> tuple[Path, Path]:
    base = root / "usr/src"
    own = write(base / f"linux-headers-{version}-amd64", *own_files())
    common = write(base / f"linux-headers-{version}-common", *COMMON, f"arch/{headers._arch()}/include/asm/a.h")
    (own / "Makefile").write_text(f"include {common}/Makefile\n")
    return own, common


def test_running_kernels_headers_come_first(tmp_path: Path) -> None:
    own, common = debian(tmp_path, "6.1.0-9")
    modules = tmp_path / "lib/modules/6.1.0-9-amd64"
    modules.mkdir(parents=True)
    (modules / "build").symlink_to(own)
    (modules / "source").symlink_to(common)
    debian(tmp_path, "6.12.0-1")
    found = headers.find(tmp_path, "6.1.0-9-amd64")
    assert found.native and found.halves == (own.resolve(), common.resolve())
    other = headers.find(tmp_path, "6.18-custom")
    assert not other.native and other.halves[0].name == "linux-headers-6.12.0-1-amd64"


def test_newest_by_number_not_by_letter(tmp_path: Path) -> None:
    debian(tmp_path, "6.1.0-9")
    own, common = debian(tmp_path, "6.1.0-56")
    assert headers.find(tmp_path, "x").halves == (own, common)


def test_half_a_package_is_not_chosen(tmp_path: Path) -> None:
    _, common = debian(tmp_path, "6.1.0-9")
    (common / "include/linux/kconfig.h").unlink()
    with pytest.raises(AlgateError, match="apt-get install linux-headers-") as caught:
        headers.find(tmp_path, "x")
    assert caught.value.exit_code == 3


def test_dangling_build_link_is_passed_over(tmp_path: Path) -> None:
    debian(tmp_path, "6.1.0-9")
    (tmp_path / "lib/modules/6.18").mkdir(parents=True)
    (tmp_path / "lib/modules/6.18/build").symlink_to("/nowhere")
    assert not headers.find(tmp_path, "6.18").native


def test_halves_are_linked_into_one_private_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, common = debian(tmp_path, "6.1.0-9")
    monkeypatch.delenv(headers.VARIABLE, raising=False)
    candidate = headers.find(tmp_path, "x")
    monkeypatch.setattr(headers, "find", lambda: candidate)
    made = headers.prepare(tmp_path / "run")
    assert made.env == {headers.VARIABLE: str(made.path)} and made.path.is_relative_to(tmp_path / "run")
    for name in (*COMMON, *own_files(), f"arch/{headers._arch()}/include/asm/a.h"):
        assert (made.path / name).is_file(), name
    assert (made.path / "include/net").resolve() == common / "include/net"
    assert (made.path / "include/generated").resolve() == own / "include/generated"
    assert [entry.name for entry in (tmp_path / "run/headers").iterdir()] == [made.path.name]
    assert os.stat(tmp_path / "run/headers").st_mode & 0o777 == 0o700
    before = made.path.stat().st_ino
    monkeypatch.setenv(headers.VARIABLE, str(made.path))
    assert headers.prepare(tmp_path / "run") == made and made.path.stat().st_ino == before


@pytest.mark.parametrize("damaged", [False, True])
def test_a_tree_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: bool) -> None:
    """Texts are compiled at once: what one of them has in use stays."""
    debian(tmp_path, "6.1.0-9")
    monkeypatch.delenv(headers.VARIABLE, raising=False)
    candidate = headers.find(tmp_path, "x")
    monkeypatch.setattr(headers, "find", lambda: candidate)
    link, made = headers._link, []
    if damaged:
        (headers.prepare(tmp_path / "run").path / "include/linux").unlink()

    def slow(halves: tuple[Path, ...], tree: Path) -> None:
        time.sleep(0.05)
        link(halves, tree)
        made.append(tree)

    monkeypatch.setattr(headers, "_link", slow)
    with ThreadPoolExecutor(4) as pool:
        trees = list(pool.map(lambda _: headers.prepare(tmp_path / "run").path, range(4)))
    assert len(made) == len(set(trees)) == 1 and (trees[0] / COMMON[0]).is_file()
    assert [entry.name for entry in (tmp_path / "run/headers").iterdir()] == [trees[0].name]


def test_archive_of_the_kernel_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "sys/kernel/kheaders.tar.xz"
    archive.parent.mkdir(parents=True)
    with tarfile.open(archive, "w:xz") as tar:
        for name in (*COMMON, *own_files()):
            tar.addfile(tarfile.TarInfo(f"./{name}"), io.BytesIO())
    candidate = headers.find(tmp_path, "x")
    assert candidate.archive == archive
    monkeypatch.delenv(headers.VARIABLE, raising=False)
    monkeypatch.setattr(headers, "find", lambda: candidate)
    made = headers.prepare(tmp_path / "run")
    assert (made.path / COMMON[0]).is_file()


def test_callers_own_tree_is_kept_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = write(tmp_path / "mine", *COMMON, *own_files())
    monkeypatch.setenv(headers.VARIABLE, str(tree))
    assert headers.prepare(tmp_path / "run").path == tree
    (tree / COMMON[0]).unlink()
    with pytest.raises(AlgateError, match="not a complete kernel header tree"):
        headers.prepare(tmp_path / "run")
