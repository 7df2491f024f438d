"""On which line of a configuration file each key stands; TOML's own reader doesn't say.

The law of this file: text in, line numbers out. Each statement is read by tomllib, so that nothing here knows TOML's
grammar but where a statement may begin.
"""

from __future__ import annotations

import tomllib
from typing import Any


def lines(text: str) -> dict[str, int]:
    """Path of each key and table ("nat.ports", "forward[0]", "alg.NAME.rule[1].deny") -> its line, counted from 1.

    `text` is valid TOML; of what isn't, the lines before the fault."""
    found: dict[str, int] = {}
    table, counts = "", dict[str, int]()
    rest = text.replace("\r\n", "\n").split("\n")
    at = 0
    while at < len(rest):
        start, word = at, rest[at].strip()
        at += 1
        if not word or word.startswith("#"):
            continue
        parsed = _read(rest[start])
        while parsed is None and at < len(rest):  # a value of several lines
            at += 1
            parsed = _read("\n".join(rest[start:at]))
        if parsed is None:
            return found
        if word.startswith("["):
            table = _header(parsed, counts)
            found[table] = start + 1
        else:
            _note(table, parsed, start + 1, found)
    return found


def _read(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _header(parsed: dict[str, Any], counts: dict[str, int]) -> str:
    """The path of "[a.b]" or "[[a.b]]". `counts`: how many tables each list has so far."""
    path, inner = "", parsed
    while inner:
        ((name, value),) = inner.items()
        path = f"{path}.{name}".removeprefix(".")
        if isinstance(value, list):
            counts[path] = counts.get(path, 0) + 1
            value = value[0]
        if path in counts:
            path = f"{path}[{counts[path] - 1}]"
        inner = value
    return path


def _note(path: str, value: Any, line: int, found: dict[str, int]) -> None:
    """Every key of a statement: dotted ones and inline tables have several."""
    if path:
        found.setdefault(path, line)
    if isinstance(value, dict):
        for name, one in value.items():
            _note(f"{path}.{name}".removeprefix("."), one, line, found)
    elif isinstance(value, list):
        for number, one in enumerate(value):
            if isinstance(one, dict):
                _note(f"{path}[{number}]", one, line, found)
