"""The JSON Schemas of what each verb prints with --json, made from the types of rows.py and answers.py.

`python -m algate.cli.schemas FOLDER` writes them; alg/client/schema holds the result, and a test compares.

The law of this file: pure but for `main`; a table of verbs, and types into schemas. It knows no field.
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints, is_typeddict

from algate.alg import answers, findings, rows
from algate.cli.lab.demonstration import DemoRow
from algate.cli.lab.pair_trial import PairRow

DIALECT = "https://json-schema.org/draft/2020-12/schema"
LISTS: Mapping[str, type] = {
    "sessions": rows.SessionRow, "mappings": rows.MappingRow, "expectations": rows.ExpectationRow,
    "hosts": rows.HostRow, "ports": rows.PortRow,
    "forward list": rows.ForwardRow, "forward add": rows.ForwardRow,
    "allow list": rows.AllowRow, "allow add": rows.AllowRow, "kill": rows.SessionRow,
    "doctor": findings.CheckRow, "check": findings.ProblemRow, "check --pins": findings.ProblemRow,
    "check --live": findings.BrokenRow,
    "status --settings": rows.SettingRow, "whose": rows.HolderRow, "demo": DemoRow,
    "demo --ha": PairRow, "ha leases": rows.LeaseRow,
}  # fmt: skip
OBJECTS: Mapping[str, Any] = {
    "status": answers.StatusAnswer, "ha status": answers.HaAnswer,
    "stats": dict[str, float], "explain": answers.ExplainAnswer,
    "reload": answers.ReloadAnswer, "upgrade": answers.UpgradeAnswer, "bench": answers.BenchAnswer,
}  # fmt: skip
LINES: Mapping[str, type] = {"follow": rows.EventRow, "follow --sessions": rows.SessionEventRow}
OPTIONS: Mapping[str, tuple[str, Any]] = {
    "--by": ("any listing with --by", rows.GroupRow), "--count": ("any listing with --count", answers.CountAnswer),
    "--silent": ("status of a daemon that doesn't answer", answers.SilentAnswer),
}  # fmt: skip
PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def of(kind: Any) -> dict[str, Any]:
    """The schema of a type. TypeError for one that this knows nothing of."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return {}
    if kind in PLAIN:
        return {"type": PLAIN[kind]}
    if origin in (Union, types.UnionType):
        some = [of(one) for one in inner]
        if all(set(one) == {"type"} for one in some):
            return {"type": [one["type"] for one in some]}
        return {"anyOf": some}
    if origin in (list, tuple):
        return {"type": "array", "items": of(inner[0])}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": of(inner[1])}
    if is_typeddict(kind) or is_dataclass(kind):
        hints = get_type_hints(kind)
        properties = {name.rstrip("_"): of(one) for name, one in hints.items()}
        return {"type": "object", "properties": properties, "required": list(properties)}
    raise TypeError(f"no schema for {kind}")


def marked(kind: Any) -> dict[str, Any]:
    """An object that says which version of the schema it has."""
    made = of(kind)
    made["properties"] = {"schema": {"const": answers.SCHEMA}, **made.get("properties", {})}
    made["required"] = ["schema", *made.get("required", [])]
    return made


def document(title: str, schema: Mapping[str, Any], text: str) -> dict[str, Any]:
    return {"$schema": DIALECT, "title": title, "description": text, **schema}


def documents() -> dict[str, dict[str, Any]]:
    """Verb -> the schema of what it prints with --json."""
    made = {}
    for verb, kind in LISTS.items():
        schema = {"type": "array", "items": marked(kind)}
        made[verb] = document(f"algate {verb} --json", schema, "a list of objects")
    for verb, kind in OBJECTS.items():
        made[verb] = document(f"algate {verb} --json", marked(kind), "one object")
    for verb, kind in LINES.items():
        made[verb] = document(f"algate {verb} --json", marked(kind), "one object a line")
    for option, (title, kind) in OPTIONS.items():
        schema = {"type": "array", "items": marked(kind)} if kind is rows.GroupRow else marked(kind)
        made[option] = document(f"{title} --json", schema, "a list of objects" if "items" in schema else "one object")
    return made


def file_name(verb: str) -> str:
    """As `algate.client.schema` looks for it."""
    return verb.removeprefix("--").replace(" --", "-").replace(" ", "-") + ".json"


def main(folder: Path) -> None:
    """Write them all."""
    folder.mkdir(parents=True, exist_ok=True)
    for verb, schema in documents().items():
        (folder / file_name(verb)).write_text(json.dumps(schema, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
