"""deploy/SECURITY.md names tests that exist, and more than one for nobody."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "deploy/SECURITY.md").read_text()
ROWS = [row for row in PAGE.splitlines() if row.startswith("| ") and not row.startswith(("| attacker", "| ---"))]


@pytest.mark.parametrize("named", sorted(set(re.findall(r"`(tests/[\w/]+\.py::\w+)`", PAGE))))
def test_each_test_that_it_names_is_there(named: str) -> None:
    path, _, name = named.partition("::")
    assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE)


@pytest.mark.parametrize("row", ROWS)
def test_each_defence_names_one(row: str) -> None:
    assert re.search(r"`tests/[\w/]+\.py::\w+`", row.rsplit("|", 2)[1]), row


def test_keys_that_it_names_are_in_the_example() -> None:
    example = (ROOT / "deploy/config.example.toml").read_text()
    for key in ("host_share", "max_unanswered_per_host", "tls_passive_ports", "min_port", "names"):
        assert f"`{key}`" in PAGE or key in PAGE
        assert re.search(rf"^(# )?{key} =", example, re.MULTILINE), key
