"""Adding or removing one [[forward]] or [[allow_in]] in the text of a configuration file; every other byte stays.

The law of this file: text in, text out; parsing the result proves that it says what was meant. The command reads and
writes the file; the daemon isn't allowed to.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any, NamedTuple

from algate.alg.errors import AlgateError
from algate.alg.plugin.values import PortRange, port_range

_ANY_HEADER = re.compile(r"\s*\[")
_IDLE = re.compile(r"\s*(?:#.*)?$")


class Entries(NamedTuple):
    """A list of tables. `port`: the key that has the ports by which entries of one protocol are told apart; `host`: the
    key by which they are, too, or "". `words`: what an operator calls one and several."""

    name: str
    keys: tuple[str, ...]
    port: str
    host: str
    words: tuple[str, str]

    @property
    def header(self) -> re.Pattern[str]:
        """The line that begins one."""
        return re.compile(rf"\s*\[\[\s*(?:{self.name}|\"{self.name}\"|'{self.name}')\s*\]\]\s*(?:#.*)?$")

    def of(self, tables: Mapping[str, Any]) -> list[Any]:
        """All of a file."""
        found = tables.get(self.name, [])
        return found if isinstance(found, list) else [found]

    def ports(self, table: Any) -> tuple[Any, PortRange | None, Any]:
        """Protocol, ports and host of one."""
        if not isinstance(table, dict):
            return None, None, None
        return table.get("proto"), _range(table.get(self.port)), _host(table.get(self.host)) if self.host else None


FORWARD = Entries("forward", ("proto", "wan_port", "to", "from", "alg"), "wan_port", "", ("a forward", "forwards"))
ALLOW_IN = Entries("allow_in", ("proto", "port", "to", "from"), "port", "to", ("an entry", "services let in"))


def with_forward(text: str, table: Mapping[str, Any], source: str) -> str:
    """`text` with that [[forward]] at its end, unchanged if it has it; `table` as its keys, `wan_port` a number or a
    range.

    AlgateError if `source` isn't TOML, has another forward of these ports, or has them in a form that can't be added
    to.
    """
    return _with(FORWARD, text, table, source)


def without_forward(text: str, proto: str, wan_port: int | str, source: str) -> str | None:
    """`text` without the [[forward]] of that public port or range; None if it has none.

    AlgateError if `source` isn't TOML, or has its forwards in a form that can't be cut out.
    """
    return _without(FORWARD, text, (proto, _range(wan_port), None), source)


def with_allowed(text: str, table: Mapping[str, Any], source: str) -> str:
    """The same for an [[allow_in]]."""
    return _with(ALLOW_IN, text, table, source)


def without_allowed(text: str, proto: str, port: int | str, to: str, source: str) -> str | None:
    """The same for the [[allow_in]] of that port or range of a host."""
    return _without(ALLOW_IN, text, (proto, _range(port), _host(to)), source)


def _with(kind: Entries, text: str, table: Mapping[str, Any], source: str) -> str:
    wanted = {key: _plain(table[key]) for key in kind.keys if table.get(key) not in (None, "", [], ())}
    before = _parsed(text, source)
    if wanted in kind.of(before):
        return text
    other = next((one for one in kind.of(before) if _overlap(kind, one, wanted)), None)
    if other is not None:
        whose = f" of {other[kind.host]}" if kind.host else ""
        raise AlgateError(
            f"{source} has {kind.words[0]} of {other['proto']} port {other[kind.port]}{whose}: "
            "delete it with --save first"
        )
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in wanted.items()]
    gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
    grown = text + gap + "\n".join((f"[[{kind.name}]]", *lines)) + "\n"
    return _proved(kind, grown, {**before, kind.name: [*kind.of(before), wanted]}, source)


def _without(kind: Entries, text: str, meant: tuple[Any, PortRange | None, Any], source: str) -> str | None:
    before = _parsed(text, source)
    entries = kind.of(before)
    place = next((i for i, one in enumerate(entries) if kind.ports(one) == meant), None)
    if place is None:
        return None
    rest = entries[:place] + entries[place + 1 :]
    expected = {key: value for key, value in before.items() if key != kind.name} | ({kind.name: rest} if rest else {})
    lines = text.splitlines(keepends=True)
    spans = list(_spans(kind, lines))
    if len(spans) != len(entries):
        raise _by_hand(kind, source)
    first, last = spans[place]
    if first and not lines[first - 1].strip():
        first -= 1  # the empty line in front of it
    return _proved(kind, "".join(lines[:first] + lines[last:]), expected, source)


def _spans(kind: Entries, lines: list[str]) -> Iterator[tuple[int, int]]:
    """First line of each entry, and the line after its last key: comments after that belong to what follows."""
    header = kind.header
    starts = [number for number, line in enumerate(lines) if header.match(line)]
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


def _proved(kind: Entries, text: str, expected: Mapping[str, Any], source: str) -> str:
    try:
        if tomllib.loads(text) == expected:
            return text
    except tomllib.TOMLDecodeError:
        pass
    raise _by_hand(kind, source)


def _by_hand(kind: Entries, source: str) -> AlgateError:
    several = kind.words[1]
    return AlgateError(f"{source} has {several} that aren't [[{kind.name}]] tables: change it by hand, then reload")


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


def _host(value: Any) -> Any:
    """An address, however it is spelled."""
    try:
        return ip_address(str(value).strip("[]"))
    except ValueError:
        return value


def _overlap(kind: Entries, one: Any, other: Any) -> bool:
    (proto, ports, host), (same, others, whose) = kind.ports(one), kind.ports(other)
    return (proto, host) == (same, whose) and ports is not None and others is not None and ports.overlaps(others)
