"""deploy/debian and build-deb.sh fit the tree. What the package does is tried by life.sh, in an empty Debian 12."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEBIAN = ROOT / "deploy/debian"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SCRIPTS = ("algate.preinst", "algate.postinst", "algate.prerm", "algate.postrm")


def numbers(version: str) -> list[int]:
    return [int(one) for one in re.findall(r"\d+", version)]


def test_the_changelog_has_the_projects_version() -> None:
    assert (DEBIAN / "changelog").read_text().startswith(f"algate ({PROJECT['version']}) ")


def test_the_vendored_typer_is_one_that_the_project_takes() -> None:
    asked = next(one for one in PROJECT["dependencies"] if one.startswith("typer"))
    least, below = re.findall(r"[<>]=?([\d.]+)", asked)
    pinned = re.findall(r"^typer==([\d.]+) --hash=sha256:[0-9a-f]{64}$", (DEBIAN / "vendored.txt").read_text(), re.M)
    assert len(pinned) == 1 and numbers(least) <= numbers(pinned[0]) < numbers(below)


def test_what_the_build_rewrites_is_there() -> None:
    """For Debian 12: setuptools 66 doesn't know these lines, and typer comes with the package."""
    text = (ROOT / "pyproject.toml").read_text()
    for line in (r'^license = "', r"^license-files = ", r'^    "typer>=', r'"setuptools>=', r"^version = "):
        assert re.search(line, text, re.MULTILINE), line
    top = {path.name for path in ROOT.iterdir()}
    parts = re.search(r"^parts=\((.*)\)$", (ROOT / "deploy/build-deb.sh").read_text(), re.MULTILINE)
    assert parts and set(parts[1].split()) <= top


def test_the_units_lines_that_the_build_rewrites_are_there() -> None:
    unit = (ROOT / "deploy/algate.service").read_text().splitlines()
    assert "Install" in unit[0] and unit[1].startswith("#   cp deploy"), "they tell how to install by hand"
    assert {line.partition("=")[0] for line in unit if "/opt/algate/bin/algate" in line} == {"ExecStart", "ExecReload"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_maintainer_scripts_are_shell_and_know_debhelper(name: str) -> None:
    text = (DEBIAN / name).read_text()
    assert text.startswith("#!/bin/sh\n") and "\nset -e\n" in text and "\n#DEBHELPER#\n" in text
    subprocess.run(["dash", "-n", DEBIAN / name], check=True)


def test_an_unknown_option_is_refused() -> None:
    done = subprocess.run([ROOT / "deploy/build-deb.sh", "--fast"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr == "build-deb.sh: unknown option '--fast'\n"
