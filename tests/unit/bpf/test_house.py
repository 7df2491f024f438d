"""The headers and modules of bpf/: each says what it is for, stays short, and is listed on the folder's page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.imports import ROOT

pytestmark = pytest.mark.unit

FOLDER = ROOT / "bpf"
HEADERS = sorted((FOLDER / "include").glob("*.h"))
LINES_MOST = 300
DEFINITIONS = "abi.h"  # a table, read from top to bottom by two languages: as long as what they share


@pytest.mark.parametrize("path", HEADERS, ids=lambda path: path.name)
def test_a_header_opens_with_its_thought(path: Path) -> None:
    text = path.read_text()
    assert text.startswith(f"/* SPDX-License-Identifier: GPL-2.0-or-later\n *\n * {path.name}: ")
    assert path.name == DEFINITIONS or text.count("\n") <= LINES_MOST


def test_every_header_is_included_once() -> None:
    found = set()
    for path in FOLDER.glob("*.c"):
        included = re.findall(r'^#include "include/(\w+\.h)"$', path.read_text(), re.MULTILINE)
        assert len(included) == len(set(included))
        found |= set(included)
    found |= set(re.findall(r'^#include "[^"]*/(xlat\w*\.h)"$', (ROOT / "tests/xlat.bpf.c").read_text(), re.MULTILINE))
    assert found | {"peers.h"} == {path.name for path in HEADERS}


def test_the_page_names_every_header_and_module() -> None:
    page = (FOLDER / "README.md").read_text()
    files = {path.name for pattern in ("include/*", "*.c", "*.py", "*.md") for path in FOLDER.glob(pattern)}
    named = set(re.findall(r"`([\w.]+)`", page))
    assert files - {"__init__.py", "README.md"} <= named
    assert {name for name in named if name.endswith((".h", ".def"))} <= files
