"""Two classes never share a name: who searches for one finds one."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable

import pytest

from tests.imports import ROOT

pytestmark = pytest.mark.pure  # both builds are of this text


def shared(sources: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Of files and their texts: names of public classes that stand in more than one file, and where."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name, source in sources:
        for one in ast.parse(source).body:
            if isinstance(one, ast.ClassDef) and not one.name.startswith("_"):
                found[one.name].append(name)
    return {name: files for name, files in found.items() if len(files) > 1}


def test_no_two_classes_share_a_name() -> None:
    paths = (path for tree in ("alg", "bpf", "cli") for path in sorted((ROOT / tree).rglob("*.py")))
    assert shared((path.relative_to(ROOT).as_posix(), path.read_text()) for path in paths) == {}


def test_a_shared_name_is_seen() -> None:
    assert shared([("a", "class One: ..."), ("b", "class One: ...\nclass Two: ...")]) == {"One": ["a", "b"]}
