"""A package's compiled programs: taken for exactly the text that they were made of, without headers or clang."""

from __future__ import annotations

from pathlib import Path

import pytest

from algate.alg.admin import doctor
from algate.bpf import compiler, flatten, headers, programs
from algate.bpf.compiler import Artifact, MapSpec
from algate.bpf.errors import AlgateError

pytestmark = pytest.mark.unit

MADE = Artifact((MapSpec("one", 1, 4, 8, 16, 0),), {"program": b"\x95" + bytes(7)})


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a package would have them, on a host without kernel headers and without a cache."""

    def none(folder: Path | None = None) -> headers.Headers:
        raise AlgateError("no kernel headers")

    monkeypatch.setattr(compiler, "SHIPPED", tmp_path)
    monkeypatch.setattr(headers, "prepare", none)
    return tmp_path


def source(folder: Path, text: str) -> Path:
    path = folder / "source.c"
    path.write_text(text)
    return path


def test_they_are_taken_for_their_own_text_alone(package: Path) -> None:
    names, path = ("program",), source(package, "int program;\n")
    (package / f"{compiler.package_key(flatten.flatten(path), names)}.json").write_text(MADE.dump())
    assert compiler.get(names, None, path) == (MADE, compiler.READY)
    with pytest.raises(AlgateError, match="no kernel headers"):
        compiler.get(("program", "another"), None, path)
    with pytest.raises(AlgateError, match="no kernel headers"):
        compiler.get(names, None, source(package, "int program; /* changed */\n"))


def test_where_the_text_lies_makes_no_difference(tmp_path: Path) -> None:
    """A builder's folder isn't where the package is installed."""
    texts = []
    for name in ("build", "usr/lib"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "part.h").write_text("int part;\n")
        texts.append(flatten.flatten(source(folder, '#include "part.h"\nint program;\n')))
    assert texts[0] != texts[1]
    assert len({compiler.package_key(text, ("program",)) for text in texts}) == 1


def test_doctor_asks_for_no_headers_then(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not doctor.headers_row(package).ok
    name = compiler.package_key(flatten.flatten(compiler.SOURCE), programs.PROGRAMS)
    (package / f"{name}.json").write_text(MADE.dump())
    assert doctor.headers_row(package).detail == compiler.READY
    assert doctor.compiles().ok
