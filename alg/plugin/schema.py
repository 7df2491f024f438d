"""Reading a table of untyped values into a frozen dataclass that declares its own keys, readers and defaults.

The law of this file: generic. It knows fields and problems, not what a key means. A field made by `option` reads the
key of its name (without a trailing underscore); anything else in a table is an unknown key. Everything that is
wrong is collected; nothing stops at the first error.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import MISSING, field, fields
from typing import Any, NamedTuple, TypeVar, cast

from algate.alg.errors import USAGE, AlgateError
from algate.alg.plugin.values import Reader, RefusedError
from algate.alg.wording import nearest, shown

T = TypeVar("T")


class Problem(NamedTuple):
    """What is wrong: the key's path ("nat.ports", "forward[1].to") and the reason; prints as one line."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class ConfigError(AlgateError):
    """A configuration that can't be used; `problems` holds all that is wrong with it, `rest` what is right, with
    defaults for what isn't, if that much was read. One thing is told in one line, several with a line of their own
    each."""

    def __init__(self, problems: Iterable[Problem], source: str = "configuration", rest: object = None) -> None:
        self.problems = list(problems)
        self.rest = rest
        lines = [f"{source}: {len(self.problems)} errors", *(f"  {one}" for one in self.problems)]
        super().__init__("\n".join(lines) if len(lines) != 2 else f"{source}: {self.problems[0]}", USAGE)


def option(default: object, reader: Reader[T]) -> T:
    """A key with a default (as the reader would return it), as a dataclass field."""
    made: T = field(default=cast(T, default), metadata={"reader": reader})
    return made


def required(reader: Reader[T]) -> T:
    """A key without a default, as a dataclass field."""
    made: T = field(metadata={"reader": reader})
    return made


def keys(kind: type) -> dict[str, Any]:
    """Key name -> dataclass field, for the fields that are options."""
    return {one.name.rstrip("_"): one for one in fields(kind) if "reader" in one.metadata}


def read_table(
    kind: type[T], table: object, path: str, problems: list[Problem], *, extra: Collection[str] = (), **given: Any
) -> T | None:
    """An instance of `kind` from a table. A refused value leaves the default; None if something required is missing.

    `extra`: keys that the caller reads itself; `given`: values of fields that aren't options.
    """
    if not isinstance(table, Mapping):
        problems.append(Problem(path, f"{shown(table)} is not a table: write [{path}]"))
        table = {}
    known = keys(kind)
    problems += unknown_keys(table, [*known, *extra], path)
    values = dict(given)
    complete = True
    for key, one in known.items():
        if key in table:
            complete &= _read_value(one, table[key], f"{path}.{key}", values, problems)
        elif one.default is MISSING:
            complete = False
            problems.append(Problem(f"{path}.{key}", "is missing"))
    return kind(**values) if complete else None


def _read_value(one: Any, value: object, path: str, values: dict[str, Any], problems: list[Problem]) -> bool:
    """Put the value of a field into `values`; False if it was refused and the field has no default."""
    try:
        values[one.name] = one.metadata["reader"](value)
    except RefusedError as refused:
        problems += [Problem(f"{path}{place}", reason) for place, reason in refused.problems]
        return one.default is not MISSING
    return True


def unknown_keys(table: Mapping[str, object], known: Collection[str], path: str) -> list[Problem]:
    """A problem for each unknown key, naming the nearest known one."""
    made = []
    for key in table:
        if key not in known:
            where = f"{path}.{printable(key)}" if path else printable(key)
            made.append(Problem(where, f"unknown key; the nearest is `{nearest(key, known)}`"))
    return made


def printable(key: str) -> str:
    """A key from a hostile file, safe to show: quoted unless it is a plain word."""
    return key if key.isascii() and key.replace("_", "").replace("-", "").isalnum() else shown(key)
