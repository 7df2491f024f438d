"""The pages for operators are true: links lead somewhere, the commands and files that they name exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "deploy/README.md", ROOT / "vagrant/README.md"]
by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@by_page
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@by_page
def test_verbs_exist(page: Path) -> None:
    said = subprocess.run([ROOT / ".venv/bin/algate", "--help"], capture_output=True, text=True, check=True).stdout
    known = set(re.findall(r"^  ([a-z]+) {2,}", said, re.MULTILINE))
    code = "\n".join(re.findall(r"```.*?```|`[^`\n]+`", page.read_text(), re.DOTALL))
    named = set(re.findall(r"(?:`|^|sudo |bin/)algate ([a-z]+)\b", code, re.MULTILINE))
    assert named - {"translating"} <= known, "that is what top's pictures begin with"


@by_page
def test_named_files_exist(page: Path) -> None:
    named = re.findall(r"(?<![\w/.])((?:deploy|vagrant|bpf|tests)/[\w./-]+\.\w+)", page.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_file_of_deploy_is_listed() -> None:
    page = (ROOT / "deploy/README.md").read_text()
    table = page[page.index("## The files here") :]
    patterns = [pattern.replace("*", "[a-z]+") for pattern in re.findall(r"`([\w*-]+\.[\w.]+)`", table)]
    files = [path.name for path in (ROOT / "deploy").iterdir() if path.is_file() and path.name != "README.md"]
    assert [name for name in files if not any(re.fullmatch(pattern, name) for pattern in patterns)] == []


def test_no_mirror_or_registry_is_named() -> None:
    """Package hosts belong in each machine's own settings."""
    folders = ("bpf", "alg", "cli", "tests", "deploy", "vagrant", ".ci")
    paths = [*ROOT.glob("*.*"), *(path for folder in folders for path in (ROOT / folder).rglob("*"))]
    kinds = (".md", ".sh", ".txt", ".toml", ".py", ".yml", ".service", "Vagrantfile", "run")
    pattern = re.compile(r"(deb|ftp|security|py|files)[a-z]*\.(debian|python|pythonhosted)\.org|" + "py" + r"pi\.org")
    texts = {path: path.read_text(errors="replace") for path in paths if path.is_file() and path.name.endswith(kinds)}
    assert [str(path) for path, text in texts.items() if pattern.search(text)] == []
