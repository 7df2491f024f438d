"""The JSON Schemas that are shipped with algate: what each verb prints with --json.

The law of this file: it reads what cli/schemas.py wrote from the types of rows.py and answers.py.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any


def schema(verb: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of `algate VERB --json`: "forward list", "check --live" as on the command line, "--by"
    and "--count" for any listing with that option. KeyError if there is none."""
    name = verb.removeprefix("--").replace(" --", "-").replace(" ", "-")
    file = resources.files("algate.client") / "schema" / f"{name}.json"
    try:
        made: dict[str, Any] = json.loads(file.read_text())
    except FileNotFoundError:
        raise KeyError(verb) from None
    return made
