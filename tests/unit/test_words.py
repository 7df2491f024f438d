"""Words that a reader of today stumbles over stay out of docstrings, comments and pages."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.imports import ROOT

pytestmark = pytest.mark.pure  # both builds are of this text

OUT = re.compile(
    r"\b(?:mayn't|shall|besides|likewise)\b"
    r"|\b(?:one|two|three|four) a (?:connection|direction|line|packet|pair|protocol|row|session|side)\b",
    re.IGNORECASE,
)
TREES = ("alg", "bpf", "cli", "deploy", "tests", "vagrant")
# Not yet rewritten: a folder leaves this list when it is. In the end the list must be empty.
NOT_YET: tuple[str, ...] = ()
COMMENT = {".c": r"/\*.*?\*/|//[^\n]*", ".h": r"/\*.*?\*/|//[^\n]*", ".sh": r"#[^\n]*", ".toml": r"#[^\n]*"}
COMMENT |= {".def": COMMENT[".h"], ".service": COMMENT[".sh"], ".txt": COMMENT[".sh"], ".Vagrantfile": COMMENT[".sh"]}


def suffix(name: str) -> str:
    """A file's kind; of one without a dot, its name."""
    return Path(name).suffix or f".{Path(name).name}"


def prose(name: str, source: str) -> Iterator[str]:
    """The docstrings and comments of a file, or a whole page. Blank space is one blank each."""
    kind = suffix(name)
    found: list[str] = []
    if kind == ".py":
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        found = [ast.get_docstring(one) or "" for one in ast.walk(ast.parse(source)) if isinstance(one, documented)]
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        found += [one.string for one in tokens if one.type == tokenize.COMMENT]
    elif kind == ".md":
        found = [source]
    elif kind in COMMENT:
        found = re.findall(COMMENT[kind], source, re.DOTALL)
    yield from (re.sub(r"[\s*]+", " ", one) for one in found)


def words(name: str, source: str) -> list[str]:
    """The words of OUT in a file."""
    return [f"{name}: {hit[0]}" for text in prose(name, source) for hit in OUT.finditer(text)]


def files() -> Iterator[Path]:
    """Every text of the project that NOT_YET doesn't name."""
    for path in (*ROOT.glob("*.md"), *(path for tree in TREES for path in sorted((ROOT / tree).rglob("*")))):
        name = path.relative_to(ROOT).as_posix()
        if path.is_file() and suffix(name) in {".py", ".md", *COMMENT} and not name.startswith(NOT_YET):
            yield path


def test_the_words_stay_out() -> None:
    assert [hit for path in files() for hit in words(str(path.relative_to(ROOT)), path.read_text())] == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("a.py", '"""Queues, two a\ndirection."""'),
        ("a.py", "def f():\n    '''It mayn't wait.'''"),
        ("a.py", "x = 1  # Besides, it is one"),
        ("a.h", "/* It shall\n * pass. */"),
        ("a.sh", "true # likewise"),
        ("a.md", "One a connection."),
    ],
)
def test_a_planted_word_is_seen(name: str, source: str) -> None:
    assert len(words(name, source)) == 1


def test_code_is_not_prose() -> None:
    assert words("a.py", "besides = 'shall'") == []
