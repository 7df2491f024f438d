"""Which rows of a listing to show: `--proto --state --inside --outside --alg --related-to`, for both daemon and CLI.

The law of this file: pure; text in, a frozen Filter out that accepts or rejects a row. Values of one filter are
alternatives ("tcp,udp"); different filters must all hold. A filter on something that a row doesn't have never matches.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from itertools import islice
from typing import Any, TypeVar

from algate.alg.errors import USAGE, AlgateError
from algate.alg.rows import (
    EXPECTATION_STATES,
    SESSION_STATES,
    AllowRow,
    EventRow,
    ExpectationRow,
    ForwardRow,
    HostRow,
    MappingRow,
    PortRow,
    Row,
    SessionEventRow,
    SessionRow,
    host_of,
)  # fmt: skip
from algate.alg.wording import nearest, shown, unbracketed

Network = IPv4Network | IPv6Network
R = TypeVar("R", bound=Row)

EVENT_NAMES = ("event", "reason")  # for `follow` only
NAMES = ("proto", "state", "inside", "outside", "alg", "related_to")
SECONDS = ("idle", "age")  # for sessions only; the daemon judges them
PROTOS = ("tcp", "udp", "icmp")
STATES = (*SESSION_STATES, *EXPECTATION_STATES)


@dataclass(frozen=True, slots=True)
class Place:
    """End points: a network and a port; None means any."""

    network: Network | None = None
    port: int | None = None
    base: int = field(init=False, default=0)
    mask: int = field(init=False, default=-1)

    def __post_init__(self) -> None:
        if isinstance(self.network, IPv4Network):
            object.__setattr__(self, "base", int(self.network.network_address))
            object.__setattr__(self, "mask", int(self.network.netmask))

    def holds(self, end_point: str | None) -> bool:
        """Whether "ip:port", "ip", a CIDR (by overlap) or "any" lies in it. A port that is asked for must be there."""
        if not end_point:
            return False
        if self.mask >= 0 and (plain := _plain(end_point)):  # a listing may have a million of these
            return plain[0] & self.mask == self.base and self.port in (None, plain[1])
        network, port = _split(end_point)
        if self.port is not None and port != self.port:
            return False
        if self.network is None or network is None:
            return self.network is None or end_point.startswith("any")
        return self.network.version == network.version and self.network.overlaps(network)


@dataclass(frozen=True, slots=True)
class Filter:
    """Everything that was asked for; an empty tuple asks for nothing."""

    proto: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    inside: tuple[Place, ...] = ()
    outside: tuple[Place, ...] = ()
    alg: tuple[str, ...] = ()
    related_to: tuple[str, ...] = ()
    event: tuple[str, ...] = ()
    reason: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any(getattr(self, one.name) for one in fields(self))

    def matches(self, row: Row) -> bool:
        """Whether a row of any listing is wanted."""
        return (
            _among(self.proto, getattr(row, "proto", None))
            and _among(self.state, getattr(row, "state", None))
            and _among(self.alg, getattr(row, "alg", None) or "none")
            and _among(self.related_to, _parent(row))
            and (not self.event or _named(self.event, getattr(row, "event", None)))
            and (not self.reason or _named(self.reason, getattr(row, "reason", None)))
            and (not self.inside or any(place.holds(one) for place in self.inside for one in insides(row)))
            and (not self.outside or any(place.holds(one) for place in self.outside for one in outsides(row)))
        )

    def pieces(self, rows: Iterable[R], size: int) -> Iterator[list[R]]:
        """The wanted rows among each `size` rows, perhaps none, so that others get a turn while a million go by."""
        rest = iter(rows)
        while some := list(islice(rest, size)):
            yield self.select(some)

    def select(self, rows: Iterable[R]) -> list[R]:
        """The wanted rows, in their order."""
        return [row for row in rows if self.matches(row)] if self else list(rows)


def parse(args: Mapping[str, Any]) -> Filter:
    """A Filter from a request's args: text for each of NAMES, or null. Other args are ignored.

    Raises AlgateError (exit code 2) naming the option and what would be right.
    """
    given = {name: _words(name, args.get(name)) for name in (*NAMES, *EVENT_NAMES)}
    for name, choices in (("proto", PROTOS), ("state", STATES)):
        for word in given[name]:
            if word not in choices:
                close = nearest(word, choices)
                raise _refused(name, word, f"is not one of {', '.join(choices)}; the nearest is {close}")
    return Filter(
        proto=given["proto"],
        state=given["state"],
        inside=tuple(_place("inside", word) for word in given["inside"]),
        outside=tuple(_place("outside", word) for word in given["outside"]),
        alg=given["alg"],
        related_to=tuple(word.rjust(16, "0") for word in given["related_to"]),
        event=given["event"],
        reason=given["reason"],
    )


def parse_text(text: str, names: Sequence[str] = NAMES) -> tuple[Filter, tuple[str, ...]]:
    """A filter typed as one line, "proto=tcp inside=10.0.0.0/24 foo": the Filter, and words to find in any field."""
    args, words = read_text(text, names)
    return parse(args), words


def read_text(text: str, names: Sequence[str] = NAMES) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The args of a request that a typed line stands for, of these `names`, and words to find in any field.

    Raises AlgateError (exit code 2) for another name and for a value that isn't right.
    """
    args: dict[str, Any] = {}
    free: list[str] = []
    for term in text.split():
        name, equals, value = term.partition("=")
        name = name.lstrip("-").replace("-", "_")
        if not equals:
            free.append(term.lower())
        elif name not in names:
            raise AlgateError(f"no filter {shown(name)}: {_choices(name, names)}", USAGE)
        elif name in SECONDS:
            args[name] = _seconds(name, value)
        else:
            args[name] = f"{args[name]},{value}" if name in args else value
    parse(args)
    return args, tuple(free)


def _choices(name: str, names: Sequence[str]) -> str:
    return f"the nearest is {nearest(name, names)}" if names else "here only words are looked for"


def _seconds(name: str, text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,3})?", text):
        raise AlgateError(f"--{name}: {shown(text)} is not a number of seconds", USAGE)
    return float(text)


def spoken(row: Row, words: Iterable[str]) -> bool:
    """Whether every word occurs in some field of the row. A whole address means that host, on either side."""
    text = None
    for word in words:
        if address(word) is not None:
            ends = (*insides(row), *outsides(row))
            if not any(end and word in (end, host_of(end)) for end in ends):
                return False
            continue
        if text is None:
            text = " ".join(str(value).lower() for value in row.as_dict().values() if value is not None)
        if word not in text:
            return False
    return True


@lru_cache(maxsize=64)
def address(word: str) -> IPv4Address | IPv6Address | None:
    """The address that a word is; None if it isn't a whole one."""
    try:
        return ip_address(word)
    except ValueError:
        return None


def insides(row: Row) -> tuple[str | None, ...]:
    """The inside end points of a row. An expectation with a public port comes from outside, one without from inside."""
    match row:
        case SessionRow() | MappingRow() | HostRow() | SessionEventRow():
            return (row.inside,)
        case ExpectationRow():
            return (row.to,) if row.public else (row.from_,)
        case ForwardRow() | AllowRow():
            return (row.to,)
        case EventRow():
            return (str(row.fields.get("inside", "")),)
        case _:
            return ()


def outsides(row: Row) -> tuple[str | None, ...]:
    """The outside end points of a row; for a mapping that is its public end point."""
    match row:
        case SessionRow() | SessionEventRow():
            return (row.outside,)
        case MappingRow():
            return (row.public,)
        case PortRow():
            return (row.public,)
        case ExpectationRow():
            return (row.from_,) if row.public else (row.to,)
        case ForwardRow() | AllowRow():
            return row.from_ or ("any",)
        case EventRow():
            return (str(row.fields.get("outside", "")),)
        case _:
            return ()


def _parent(row: Row) -> str | None:
    """The control session that a row belongs to."""
    match row:
        case SessionRow() | SessionEventRow():
            return row.related_to
        case ExpectationRow() | EventRow():
            return row.control
        case _:
            return None


def _named(wanted: tuple[str, ...], value: str | None) -> bool:
    """Whether a name is wanted: itself, its first words ("expectation" for "expectation-made"), or "any"."""
    return bool(value) and any(word in ("any", value) or str(value).startswith(f"{word}-") for word in wanted)


def _among(wanted: tuple[str, ...], value: str | None) -> bool:
    return not wanted or value in wanted


def _words(name: str, value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    words = tuple(word.strip().lower() for word in value.split(",")) if isinstance(value, str) else ()
    if not words or not all(re.fullmatch(r"[^\s]{1,64}", word) for word in words) or len(words) > 64:
        raise _refused(name, value, 'is not a list of words like "a,b"')
    return words


def _place(name: str, word: str) -> Place:
    network, port = _split(word)
    if (network is None and (port is None or not word.startswith(("*:", ":")))) or "%" in word:
        raise _refused(name, word, "is not a network: write it like 10.0.0.0/24, 10.0.0.5:21, [2001:db8::5]:21 or :21")
    if port is not None and port > 65535:
        raise _refused(name, word, "has a port beyond 65535")
    return Place(network, port)


def _plain(end_point: str) -> tuple[int, int] | None:
    """Address and port of "a.b.c.d:port" as numbers; None for anything else."""
    host, _, port = end_point.partition(":")
    try:
        a, b, c, d = host.split(".")
        return int(a) << 24 | int(b) << 16 | int(c) << 8 | int(d), int(port)
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def _split(text: str) -> tuple[Network | None, int | None]:
    """Network and port of "CIDR:port", "[v6 CIDR]:port" or either alone; None for a part that is missing or wrong. A
    port may be too large."""
    host, colon, port_text = text.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")) or not re.fullmatch("[0-9]{1,5}", port_text):
        host, port_text = text, ""
    port = int(port_text) if port_text else None
    try:
        return ip_network(unbracketed(host), strict=False), port
    except ValueError:
        return None, port


def _refused(name: str, value: object, reason: str) -> AlgateError:
    return AlgateError(f"--{name.replace('_', '-')}: {shown(value)} {reason}", USAGE)
