"""The rows of every listing, whether shown as a table, as --tsv or as --json.

The law of this file: frozen records whose fields, in this order, are a contract that scripts rely on (DESIGN section
6). No kernel type, no formatting for people. Times are seconds as float; end points are "ip:port", for ICMP "ip:id".
A field named like a Python keyword has a trailing underscore here and none everywhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Self


def host_of(end: str) -> str:
    """The address of an end point, "ip:port" or "[ip]:port"; "" where there is no port."""
    return end.rpartition(":")[0].strip("[]")


def format_id(number: int) -> str:
    """An id as scripts see it: 16 hex digits. Most JSON readers would round a 64-bit number."""
    return f"{number:016x}"


def parse_id(text: str) -> int:
    """The inverse of format_id; ValueError if `text` isn't an id."""
    number = int(text, 16)
    if not 0 <= number < 1 << 64:
        raise ValueError(f"{text!r} is not an id")
    return number


class Row:
    """What all rows can do."""

    __slots__ = ()

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The field names as scripts see them."""
        return tuple(field.name.rstrip("_") for field in fields(cls))  # type: ignore[arg-type]

    def as_dict(self) -> dict[str, Any]:
        """The row as a JSON object, with the contract's names in the contract's order; tuples become lists."""
        pairs = ((name, getattr(self, one.name)) for name, one in zip(self.names(), fields(self), strict=True))  # type: ignore[arg-type]
        return {name: list(value) if isinstance(value, tuple) else value for name, value in pairs}

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Self:
        """The row from a JSON object. Unknown keys are ignored; a missing one is null or its default."""
        values: dict[str, Any] = {}
        for one in fields(cls):  # type: ignore[arg-type]
            made = one.default_factory
            default = made() if made is not MISSING else None if one.default is MISSING else one.default
            value = data.get(one.name.rstrip("_"), default)
            values[one.name] = tuple(value) if isinstance(value, list) else value
        return cls(**values)


@dataclass(frozen=True, slots=True)
class SessionRow(Row):
    """`id` and `related_to` by format_id; `mapped` null if untranslated; `state` one of SESSION_STATES."""

    id: str
    proto: str
    state: str
    inside: str
    outside: str
    mapped: str | None
    packets_out: int
    packets_in: int
    bytes_out: int
    bytes_in: int
    age: float
    expires_in: float
    alg: str | None = None
    related_to: str | None = None


SESSION_STATES = (
    "new", "established", "fin-in", "fin-out", "closing", "time-wait", "reset", "unreplied", "active",
)  # fmt: skip
EXPECTATION_STATES = ("pending", "open", "used", "expired", "withdrawn")  # DESIGN section 2; the last two end a row


@dataclass(frozen=True, slots=True)
class MappingRow(Row):
    """`sessions` counts those that share the mapping; `static`: it belongs to a forward, and `expires_in` is null."""

    proto: str
    inside: str
    public: str
    sessions: int
    age: float
    expires_in: float | None
    static: bool = False


@dataclass(frozen=True, slots=True)
class ExpectationRow(Row):
    """A connection `from` an address (or "any") `to` an end point; one from outside uses `public`, else null."""

    id: str
    state: str
    proto: str
    from_: str
    public: str | None
    to: str
    expires_in: float
    control: str
    alg: str | None


@dataclass(frozen=True, slots=True)
class ForwardRow(Row):
    """`wan_port`: "21" or "50000-50100"; `from`: the allowed sources, empty: all; `origin`: "config" or "live"."""

    proto: str
    wan_port: str
    to: str
    from_: tuple[str, ...] = ()
    alg: str | None = None
    origin: str = "config"
    hits: int = 0


@dataclass(frozen=True, slots=True)
class AllowRow(Row):
    """A service of an inside IPv6 host that the outside may open. `port`: "8443" or "6000-6009"; `to`: the host's
    address; `from`: the allowed sources, empty: all; `origin`: "config" or "live"."""

    proto: str
    port: str
    to: str
    from_: tuple[str, ...] = ()
    origin: str = "config"
    hits: int = 0


@dataclass(frozen=True, slots=True)
class SettingRow(Row):
    """A key of the configuration in force, of `status --settings`: its `value` as in the file, and where it comes from.

    `origin`: "default", "file" (`file` and `line`, where it is known), "command line", "forward add" (lasts until
    `down`), or "implied" (what another key says, or a plug-in for this configuration).
    """

    key: str
    value: Any
    origin: str
    file: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class HostRow(Row):
    """An inside host, or "others": all for whom the table of hosts had no room. Rates in bytes/s; `refused`: first
    packets since the gateway's maps were made; `limit_*` null: no limit of its own; `oldest`: the age of its oldest
    session, null: it has none."""

    inside: str
    sessions: int
    ports: int
    rate_out: float
    rate_in: float
    new_per_second: float
    refused: int
    limit_sessions: int | None
    limit_ports: int | None
    oldest: float | None


@dataclass(frozen=True, slots=True)
class RefusalRow(Row):
    """New sessions of an inside host that were refused lately for one drop reason: how often as far as the helper was
    told, the last one `ago` seconds. It has `has` of `limit` things (`of`: "sessions", "tcp ports") now, as the key
    `setting` of [nat] says; null where the reason isn't about what it has."""

    inside: str
    reason: str
    times: int
    ago: float
    has: int | None
    limit: int | None
    of: str | None
    setting: str | None


@dataclass(frozen=True, slots=True)
class PortRow(Row):
    """The ports of one public address and protocol in the range of `[nat] ports`: each is used, free, held down (freed
    a moment ago, and kept from other hosts) or reserved. `fill`: the part that is used or reserved; `exhausted_in`:
    seconds until that is 1 at the rate of the last day, null: it doesn't grow, or isn't known yet."""

    public: str
    proto: str
    used: int
    free: int
    held_down: int
    reserved: int
    fill: float
    exhausted_in: float | None


@dataclass(frozen=True, slots=True)
class GroupRow(Row):
    """Sessions summed up by `--by`: `key` is the host, port, plug-in or whatever was asked for."""

    key: str
    sessions: int
    packets_out: int
    packets_in: int
    bytes_out: int
    bytes_in: int


LOST = "events-lost"  # the event that stands in for others


@dataclass(frozen=True, slots=True)
class EventRow(Row):
    """`time`: seconds since the epoch. `detail` and `fields` may hold hostile text: whoever shows them escapes them.

    `fields` are for machines: `inside`, `outside` and `client` of the control session, then the event's own.
    """

    time: float
    event: str
    control: str | None
    alg: str | None
    detail: str
    reason: str = ""
    fields: Mapping[str, str | int | float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As Row.as_dict, but faster: a follower may be told thousands per second."""
        return {
            "time": self.time, "event": self.event, "control": self.control, "alg": self.alg,
            "detail": self.detail, "reason": self.reason, "fields": dict(self.fields),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class SessionEventRow(Row):
    """A session that was made or ended, as `follow --sessions` tells it: names as in SessionRow. `time`: seconds since
    the epoch; `event`: "session-created" or "session-ended"; counters and `duration` are those of what ended."""

    time: float
    event: str
    id: str
    proto: str
    state: str
    inside: str
    outside: str
    mapped: str | None
    packets_out: int
    packets_in: int
    bytes_out: int
    bytes_in: int
    duration: float
    alg: str | None = None
    related_to: str | None = None


@dataclass(frozen=True, slots=True)
class LeaseRow(Row):
    """A gateway leased these public ports, of each shared address. Seconds since the epoch; `until` null: it still has
    them."""

    ports: str
    node: str
    since: float
    until: float | None


@dataclass(frozen=True, slots=True)
class HolderRow(Row):
    """Who was behind a public end point, as `whose` answers. `inside`: "ip:port", or a host where a block of ports
    answers; `outside`: towards whom, null: all, or several; `since` and `until`: seconds since the epoch, null: not
    known, or not over; `source`: "live", the kind of record in the log that says so, "computed": the port is in a
    block that the configuration gives that host, or "lease": `inside` is a gateway, which knows more."""

    public: str
    proto: str
    inside: str
    outside: str | None
    since: float | None
    until: float | None
    source: str
