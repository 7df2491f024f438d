"""alg/README.md, the map of alg/: every module is in its folder's table, and every name there is a module's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.imports import ROOT

pytestmark = pytest.mark.unit

ALG = ROOT / "alg"
PAGE = (ALG / "README.md").read_text()
HEADING = re.compile(r"^##+ [^`\n]*`((?:alg|[a-z]+(?:/[a-z]+)*)/)`", re.MULTILINE)  # the folder that a section is about


def rooms(page: str) -> dict[str, set[str]]:
    """Folder -> the modules in the first column of the first table under its heading."""
    found: dict[str, set[str]] = {}
    for heading in HEADING.finditer(page):
        section = re.split(r"^##", page[heading.end() :], maxsplit=1, flags=re.MULTILINE)[0]
        table = section.partition("| --- |")[2].partition("\n\n")[0]
        cells = re.findall(r"^\| ([^|]*) \|", table, re.MULTILINE)
        folder = heading[1].removeprefix("alg/").rstrip("/")
        found[folder] = {name for cell in cells for name in re.findall(r"`(\w+\.py)`", cell)}
    return found


def modules(root: Path) -> dict[str, set[str]]:
    """Folder -> its modules, from the tree."""
    found: dict[str, set[str]] = {}
    for path in root.rglob("*.py"):
        if path.name != "__init__.py":
            folder = path.parent.relative_to(root).as_posix().removeprefix(".")
            found.setdefault(folder, set()).add(path.name)
    return found


def test_every_module_is_on_the_map_and_no_name_is_dead() -> None:
    assert rooms(PAGE) == modules(ALG)


def test_other_names_of_modules_are_not_dead() -> None:
    known = {path.name for tree in ("alg", "bpf", "cli", "tests") for path in (ROOT / tree).rglob("*.py")}
    assert set(re.findall(r"`(?:[\w.]+/)*(\w+\.py)`", PAGE)) <= known


def test_a_missing_and_a_dead_name_are_seen() -> None:
    assert rooms(PAGE.replace("| `sweeper.py` |", "| `duster.py` |"))["daemon"] ^ modules(ALG)["daemon"] == {
        "sweeper.py",
        "duster.py",
    }
