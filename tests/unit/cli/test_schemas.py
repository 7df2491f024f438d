"""The JSON Schemas: made from the types, shipped as made, one for each verb with --json, and what verbs print is so."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypedDict

import jsonschema
import pytest
from typer.testing import CliRunner

from algate.alg.rows import ForwardRow
from algate.cli import app as command
from algate.cli import schemas
from algate.client import schema
from tests import fake_daemon
from tests.imports import ROOT

SHIPPED = ROOT / "alg/client/schema"


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A fake daemon that ALGATE_RUN_DIR points to."""
    monkeypatch.setenv("ALGATE_RUN_DIR", str(tmp_path))
    with fake_daemon.running(tmp_path):
        yield


def run(*argv: str) -> Any:
    return CliRunner().invoke(command.app, list(argv))


def test_what_is_shipped_is_what_is_made() -> None:
    """`python -m algate.cli.schemas alg/client/schema` writes them."""
    made = {schemas.file_name(verb): one for verb, one in schemas.documents().items()}
    assert {path.name: json.loads(path.read_text()) for path in SHIPPED.glob("*.json")} == made
    for verb, one in schemas.documents().items():
        jsonschema.Draft202012Validator.check_schema(one)
        assert schema(verb) == one


def spoken() -> Iterator[str]:
    """Each verb that has --json, by its words."""
    for verb in command.VERBS:
        built = command.build(verb)
        for name, one in getattr(built, "commands", {"": built}).items():
            if any("--json" in option.opts for option in one.params):
                yield f"{verb} {name}".strip()


def test_every_verb_with_json_has_a_schema() -> None:
    assert set(spoken()) - set(schemas.documents()) == set()


@pytest.mark.parametrize(
    ("verb", "argv"),
    [
        ("sessions", ()), ("mappings", ()), ("expectations", ()), ("forward list", ()), ("status", ()), ("stats", ()),
        ("reload", ()), ("forward add", ("tcp", "2121", "10.0.0.9:21")), ("explain", ("10.0.0.2:40001",)),
        ("kill", ("--inside", "10.0.0.2")),
    ],
)  # fmt: skip
def test_what_a_verb_prints_is_so(daemon: None, verb: str, argv: tuple[str, ...]) -> None:
    made = run(*verb.split(), *argv, "--json")
    assert made.exit_code == 0, made.output
    said = json.loads(made.stdout)
    validate(verb, said)
    for one in said if isinstance(said, list) else [said]:
        assert one["schema"] == 1


def test_each_line_of_follow_is_so(daemon: None) -> None:
    lines = [json.loads(line) for line in run("follow", "--json").stdout.splitlines()]
    assert len(lines) == 2
    for line in lines:
        validate("follow", line)


@pytest.mark.parametrize("option", [("--count",), ("--by", "host")])
def test_sums_and_counts_are_so(daemon: None, option: tuple[str, ...]) -> None:
    validate(option[0], json.loads(run("sessions", "--json", *option).stdout))


def test_check_is_so(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("[nat]\nports = 1\n")
    said = json.loads(run("check", "--json", str(tmp_path / "bad.toml")).stdout)
    assert said
    validate("check", said)


def validate(verb: str, said: Any) -> None:
    jsonschema.validate(said, schema(verb), cls=jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("status", {"schema": 1}),
        ("status", {**fake_daemon.STATUS, "schema": 2}),
        ("status", {**fake_daemon.STATUS, "schema": 1, "uptime": "1 h"}),
        ("forward list", [ForwardRow("tcp", "21", "10.0.0.5:21").as_dict()]),
        ("forward list", [{"schema": 1, **ForwardRow("tcp", "21", "10.0.0.5:21").as_dict(), "wan_port": 21}]),
        ("stats", {"schema": 1, "algate_punts_total": "many"}),
    ],
)
def test_what_is_otherwise_is_refused(verb: str, said: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        validate(verb, said)


class Sample(TypedDict):
    """Types as verbs may have them."""

    a: dict[str, list[int]]
    b: tuple[str, ...] | None
    c: Mapping[str, str | int]
    d: Any


def test_types_into_schemas() -> None:
    made = schemas.of(Sample)["properties"]
    assert made["a"]["additionalProperties"] == {"type": "array", "items": {"type": "integer"}}
    assert made["b"] == {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]}
    assert made["c"]["additionalProperties"] == {"type": ["string", "integer"]}
    assert made["d"] == {}
    with pytest.raises(TypeError):
        schemas.of(Literal["x"])
