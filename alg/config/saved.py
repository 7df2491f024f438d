"""Adding or removing one [[forward]] in the text of a configuration file; every other byte stays.

The law of this file: text in, text out; parsing the result proves that it says what was meant. The command reads and
writes the file; the daemon isn't allowed to.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from algate.alg.errors import AlgateError
from algate.alg.plugin.values import PortRange, port_range

_HEADER = re.compile(r"\s*\[\[\s*(?:forward|\"forward\"|'forward')\s*\]\]\s*(?:#.*)?$")
_ANY_HEADER = re.compile(r"\s*\[")
_IDLE = re.compile(r"\s*(?:#.*)?$")
KEYS = ("proto", "wan_port", "to", "from", "alg")


def with_forward(text: str, table: Mapping[str, Any], source: str) -> str:
    """`text` with that [[forward]] at its end, unchanged if it has it; `table` as KEYS, `wan_port` a number or a range.

    AlgateError if `source` isn't TOML, has another forward of these ports, or has them in a form that can't be added
    to.
    """
    wanted = {key: _plain(table[key]) for key in KEYS if table.get(key) not in (None, "", [], ())}
    before = _parsed(text, source)
    if wanted in _forwards(before):
        return text
    other = next((one for one in _forwards(before) if _overlap(one, wanted)), None)
    if other is not None:
        raise AlgateError(
            f"{source} has a forward of {other['proto']} port {other['wan_port']}: delete it with --save first"
        )
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in wanted.items()]
    gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
    grown = text + gap + "\n".join(("[[forward]]", *lines)) + "\n"
    return _proved(grown, {**before, "forward": [*_forwards(before), wanted]}, source)


def without_forward(text: str, proto: str, wan_port: int | str, source: str) -> str | None:
    """`text` without the [[forward]] of that public port or range; None if it has none.

    AlgateError if `source` isn't TOML, or has its forwards in a form that can't be cut out.
    """
    before = _parsed(text, source)
    forwards = _forwards(before)
    place = next((i for i, one in enumerate(forwards) if _ports(one) == (proto, _range(wan_port))), None)
    if place is None:
        return None
    rest = forwards[:place] + forwards[place + 1 :]
    expected = {key: value for key, value in before.items() if key != "forward"} | ({"forward": rest} if rest else {})
    lines = text.splitlines(keepends=True)
    spans = list(_spans(lines))
    if len(spans) != len(forwards):
        raise _by_hand(source)
    first, last = spans[place]
    if first and not lines[first - 1].strip():
        first -= 1  # the empty line in front of it
    return _proved("".join(lines[:first] + lines[last:]), expected, source)


def _spans(lines: list[str]) -> Iterator[tuple[int, int]]:
    """First line of each [[forward]], and the line after its last key: comments after that belong to what follows."""
    starts = [number for number, line in enumerate(lines) if _HEADER.match(line)]
    for start in starts:
        end = next((n for n in range(start + 1, len(lines)) if _ANY_HEADER.match(lines[n])), len(lines))
        while _IDLE.match(lines[end - 1]):
            end -= 1
        yield start, end


def _parsed(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise AlgateError(f"{source} is not TOML, nothing saved: {ascii(str(error))[1:-1]}", 2) from None


def _forwards(tables: Mapping[str, Any]) -> list[Any]:
    found = tables.get("forward", [])
    return found if isinstance(found, list) else [found]


def _proved(text: str, expected: Mapping[str, Any], source: str) -> str:
    try:
        if tomllib.loads(text) == expected:
            return text
    except tomllib.TOMLDecodeError:
        pass
    raise _by_hand(source)


def _by_hand(source: str) -> AlgateError:
    return AlgateError(f"{source} has forwards that aren't [[forward]] tables: change it by hand, then reload")


def _plain(value: Any) -> Any:
    """A value as TOML has it: a tuple is a list, a port's digits are a number."""
    if isinstance(value, tuple):
        return list(value)
    return int(value) if isinstance(value, str) and value.isdigit() else value


def _range(value: Any) -> PortRange | None:
    try:
        return port_range()(_plain(value))
    except ValueError:
        return None


def _ports(table: Any) -> tuple[Any, PortRange | None]:
    return (table.get("proto"), _range(table.get("wan_port"))) if isinstance(table, dict) else (None, None)


def _overlap(one: Any, other: Any) -> bool:
    (proto, ports), (same, others) = _ports(one), _ports(other)
    return proto == same and ports is not None and others is not None and ports.overlaps(others)
