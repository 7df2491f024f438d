"""An export: what a gateway holds as lines of JSON, for another version or another host.

The law of this file: lines to entries and back. Names of maps and fields are those of the exporting version; unknown
ones are passed over, missing ones are 0. Addresses are written as such, ports in host order, ids in hexadecimal.
Moments travel as ages in seconds, so the clock of the other host doesn't matter. The last line says how many there
were: a file that was cut short is refused.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from algate.alg.gateway import older
from algate.alg.gateway.estate import TRAVELS, Estate
from algate.bpf import layout, ticks
from algate.bpf.contents import contents
from algate.bpf.description import Description, own
from algate.bpf.errors import AlgateError

FORMAT = 1
LINE_MOST = 1 << 16  # bytes
DAY = 86400.0
TICKS = {("session", "last_seen"), ("port_slot", "stamp"), ("share", "stamp"), ("expectation", "expires"),
         ("track", "punted_at"), ("port_block", "stamp")}  # fmt: skip
IDS = {("session", "id"), ("session", "related"), ("expectation", "id"), ("expectation", "control_id"),
       ("adjust", "id"), ("track", "id"), ("decision_key", "id"), ("port_block", "assigned"),
       ("u64", "")}  # fmt: skip  # u64: relations
BOOT = Path("/proc/sys/kernel/random/boot_id")


class ExportError(AlgateError):
    """The file can't be imported; the text says which line and why."""


def write(old: Description, entries: Callable[[str], Iterator[tuple[bytes, bytes]]], secret: int) -> Iterator[str]:
    """The lines of an export, as the maps are walked."""
    now = ticks.now()
    head = {"algate-export": FORMAT, "layout": old.hash, "made": time.time(), "boot": _boot(),
            "clock": time.clock_gettime_ns(time.CLOCK_MONOTONIC), "secret": f"{secret:016x}"}  # fmt: skip
    yield json.dumps(head)
    counts = Counter[str]()
    for name in (one for one in TRAVELS if one in old.maps):
        kind, key, value = old.maps[name]
        for k, v in entries(name):
            if kind == "array" and not any(v):
                continue
            counts[name] += 1
            one = {"map": name, "key": _decode(old, key, k, now), "value": _decode(old, value, v, now)}
            yield json.dumps(one, separators=(",", ":"))
    yield json.dumps({"end": dict(counts)})


def _boot() -> str:
    try:
        return BOOT.read_text().strip()
    except OSError:
        return ""


def _decode(old: Description, name: str, raw: bytes, now: int) -> Any:
    found: dict[str, Any] = {}
    for one in old.fields(name):
        width = old.width(one.kind)
        parts = [raw[one.offset + at * width : one.offset + (at + 1) * width] for at in range(one.count or 1)]
        if one.count is not None and width == 1:
            found[one.name] = b"".join(parts).rstrip(b"\0").hex()
            continue
        told = [_value(old, name, one, part, now) for part in parts]
        found[one.name] = told[0] if one.count is None else told
    return found.get("", found) if "" in found else found


def _value(old: Description, struct: str, field: layout.Field, raw: bytes, now: int) -> Any:
    if field.kind not in layout.SCALARS:
        return _decode(old, field.kind, raw, now)
    if field.kind == "__be32":
        return str(IPv4Address(raw))
    if field.kind.startswith("__be"):
        return int.from_bytes(raw, "big")
    number = int.from_bytes(raw, sys.byteorder, signed=layout.SCALARS[field.kind][1])
    if (struct, field.name) in TICKS:
        return round(ticks.distance(now, number) * ticks.SECONDS, 3)
    return f"{number:x}" if (struct, field.name) in IDS else number


class Clock:
    """Ages and ids of an export on this host: `shift` ns lie between its clock and ours."""

    def __init__(self, head: dict[str, Any]) -> None:
        self.now = ticks.now()
        self.gone = min(max(0.0, time.time() - float(head["made"])), DAY)  # since the export
        mine = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        same = head["boot"] and head["boot"] == _boot()
        self.shift = 0 if same else (mine - int(self.gone * 1e9) - int(head["clock"])) & ~0xFF
        self._early: dict[int, int] = {}

    def tick(self, age: float) -> int:
        """The tick of what was so many seconds old."""
        return (self.now - ticks.of(int((age + self.gone) * 1e9))) % ticks.WRAP

    def id(self, text: str) -> int:
        """An id; those from before this host's boot get small ones, each its own."""
        number = int(text, 16)
        shifted = number + self.shift
        if not number or shifted >= 1 << 32:
            return shifted if number else 0
        return self._early.setdefault(number, (len(self._early) + 1) << 8)


def read(lines: Iterable[bytes]) -> Estate:
    """Read an export to its end. ExportError if any of it can't be understood: nothing is half read."""
    estate, counts, ended = Estate(), Counter[str](), False
    new, clock = own(), None
    for number, line in enumerate(lines, 1):
        try:
            data: Any = json.loads(line) if len(line) <= LINE_MOST else None
            if clock is None:
                clock = _head(data, estate)
            elif ended:
                raise ValueError("there is more after the end")
            elif "end" in data:
                ended = True
                if data["end"] != dict(counts):
                    raise ValueError("entries are missing")
            else:
                counts[data["map"]] += 1
                _enter(new, estate, data, clock)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ExportError(f"line {number}: {_reason(error)}") from None
    if not ended:
        raise ExportError("it ends too early: the export was cut short" if clock else "it is empty")
    return estate


def _head(data: Any, estate: Estate) -> Clock:
    if not isinstance(data, dict) or "algate-export" not in data:
        raise ValueError("this is no export of algate")
    if data["algate-export"] != FORMAT:
        raise ValueError(f"it has format {data['algate-export']!a}, and this version reads {FORMAT}")
    estate.secret = int(data["secret"], 16)
    return Clock(data)


def _enter(new: Description, estate: Estate, data: Any, clock: Clock) -> None:
    name = data["map"]
    if name not in estate.maps:
        return
    _, key, value = contents()[name]
    fields = data["value"]
    if name == "sessions":
        fields = older.told(fields)
        if clock.id(fields.get("related", "0")):
            entry = {"map": "relations", "key": fields["id"], "value": fields["related"]}
            _enter(new, estate, entry, clock)
    estate.maps[name][_encode(new, key, data["key"], clock)] = _encode(new, value, fields, clock)


def _encode(new: Description, name: str, data: Any, clock: Clock) -> bytes:
    made = bytearray(new.size(name))
    for one in new.fields(name):
        told = data if not one.name else data.get(one.name)
        if told is None:
            continue
        width = new.width(one.kind)
        if one.count is not None and width == 1:
            raw = bytes.fromhex(told)
            if len(raw) > one.count:
                raise ValueError(f"{one.name} is too long")
            made[one.offset : one.offset + len(raw)] = raw
            continue
        for place, part in enumerate(([told] if one.count is None else told)[: one.count or 1]):
            at = one.offset + place * width
            made[at : at + width] = _raw(new, name, one, part, clock)
    return bytes(made)


def _raw(new: Description, struct: str, field: layout.Field, told: Any, clock: Clock) -> bytes:
    if field.kind not in layout.SCALARS:
        return _encode(new, field.kind, told, clock)
    width, signed = layout.SCALARS[field.kind]
    if field.kind == "__be32":
        return IPv4Address(told).packed
    if field.kind.startswith("__be"):
        return int(told).to_bytes(width, "big")
    if (struct, field.name) in TICKS:
        return clock.tick(float(told)).to_bytes(width, sys.byteorder)
    number = clock.id(told) if (struct, field.name) in IDS else told
    if not isinstance(number, int):
        raise ValueError(f"{field.name} is no number")
    return number.to_bytes(width, sys.byteorder, signed=signed)


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return "it is no JSON"
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return f"{error}" if isinstance(error, ValueError) else f"it can't be read ({type(error).__name__})"
