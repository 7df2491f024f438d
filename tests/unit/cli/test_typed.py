"""What was typed becomes a value, in the same words with every version of typer, and without its validation library."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from algate.cli.typed import PlainValue, plain

pytestmark = pytest.mark.unit
ONE: Any = SimpleNamespace(multiple=False, nargs=1)
MANY: Any = SimpleNamespace(multiple=False, nargs=-1)


@pytest.mark.parametrize(
    ("kind", "typed", "value"),
    [(int, "12", 12), (float, "1.5", 1.5), (float, "3", 3.0), (str, " x ", " x "), (Path, "/run", Path("/run")),
     (bool, "yes", True), (bool, "0", False), (bool, True, True), (Path, Path("a"), Path("a")), (int, None, None)],
)  # fmt: skip
def test_plain_values(kind: type, typed: object, value: object) -> None:
    read = PlainValue(kind).coerce(typed, ONE, None)
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    ("kind", "typed", "told"),
    [(int, "x", "'x' is not a whole number"), (int, "1.5", "'1.5' is not a whole number"),
     (float, "nan", "'nan' is not a number"), (float, "", "'' is not a number"), (int, "-1", "-1 is less than 0"),
     (float, "99", "99 is more than 60"), (bool, "perhaps", "'perhaps' is neither true nor false"),
     (int, "\x1b[2J", "'\\x1b[2J' is not a whole number")],
)  # fmt: skip
def test_what_is_no_value_is_said_in_the_operators_words(kind: type, typed: str, told: str) -> None:
    with pytest.raises(typer.BadParameter) as refused:
        PlainValue(kind, 0, 60).coerce(typed, ONE, None)
    assert refused.value.message == told


def test_several() -> None:
    assert PlainValue(str).coerce(("a", "b"), MANY, None) == ["a", "b"]
    assert PlainValue(int).coerce(None, MANY, None) == ()


@pytest.mark.parametrize(
    "odd", [{"exists": True}, {"readable": True}, {"allow_dash": True}, {"parser": int}, {"resolve_path": True}]
)
def test_what_is_not_plain_is_left_to_typer(odd: dict[str, Any]) -> None:
    known = dict.fromkeys(("exists", "resolve_path", "writable", "allow_dash", "path_type", "parser", "clamp"))
    about = SimpleNamespace(**{**known, "readable": False, "min": None, "max": None, **odd})
    assert plain(Path, about) is None
    assert plain(SimpleNamespace, about) is None


LOADED = """
import json, sys
from algate.cli.app import main
sys.argv = ["algate", *json.loads(sys.argv[1])]
try:
    main()
except SystemExit:
    pass
heavy = ("pydantic", "rich", "bcc", "asyncio", "prometheus_client", "pyroute2", "algate.alg.plugin.model")
print(json.dumps([name for name in heavy if name in sys.modules]))
"""


@pytest.mark.parametrize(
    "words", [["status"], ["sessions", "--tsv", "--limit", "5"], ["hosts", "--json"], ["kill", "a1"],
              ["mappings", "--tsv"], ["forward", "list", "--json"], ["explain", "10.0.0.2"]]
)  # fmt: skip
def test_a_verb_that_only_asks_starts_light(words: list[str], tmp_path: Path) -> None:
    """A tenth of a second before the question is asked; each of these libraries takes 20 to 60 ms of it."""
    argv = [sys.executable, "-c", LOADED, json.dumps([*words, "--run-dir", str(tmp_path)])]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert "no daemon on" in done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []
