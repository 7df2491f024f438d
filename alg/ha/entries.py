"""What travels between two gateways, as bytes: entries, several to a message, each of which replaces what it is about.

The law of this file: layout, and nothing of what it means. A message is whole or refused; a writer of another layout of
tables says so at the beginning of its log (`Authorship`), and is not read.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple

from algate.bpf.packing import native

from .store import StoreError

FORMAT = 1
_HEAD = struct.Struct("<BHI")  # kind, size of the key, size of the value or _GONE
_GONE = 0xFFFF_FFFF
BLOCKS = "port_blocks"
PAGE = 65536  # bytes of a message at most, unless one entry is larger


class EntryKind(IntEnum):
    """What an entry is about; its key, and its value where it isn't raw."""

    BEGIN = 1  # a Authorship: all that is held follows, until END
    END = 2
    SESSION = 3  # session id: packed key and value
    TRACK = 4  # session id: struct track
    ADJUST = 5  # session id: struct adjust
    HELD = 6  # session id and direction: what KeepHeld stores
    EXPECTATION = 7  # its id: packed key and value, and before them the id of its control session
    PARENT = 8  # id of a data session: that of its control session
    PORT = 9  # a row of `ports`: struct port_slot
    ROW = 10  # a map's name, 0 and a raw key: the raw value
    SESSIONS = 12  # no key: many of SESSION, as many.py lays them out
    PORTS = 13  # no key: many of PORT
    PARTING = 11  # no key: the writer is about to give the address away, or (value not empty) has, and has told all


class Entry(NamedTuple):
    """`value` None: there is no such thing any more."""

    kind: EntryKind
    key: bytes
    value: bytes | None = b""


class Authorship(NamedTuple):
    """Who writes, in which layout of tables, and by which clock: ns of CLOCK_MONOTONIC and seconds of the day's time at
    one moment. `boot`: of the host whose clock that is."""

    node: str
    layout: str
    boot: str
    clock: int
    time: float


class EntryError(StoreError):
    """These bytes are no message of this version's."""


def pack(entries: Iterable[Entry]) -> bytes:
    """A message."""
    parts = []
    for kind, key, value in entries:
        parts += [_HEAD.pack(kind, len(key), _GONE if value is None else len(value)), key, value or b""]
    return b"".join(parts)


def unpack(data: bytes) -> list[Entry]:
    """The entries of a message. EntryError if it isn't whole."""
    found, at = [], 0
    try:
        while at < len(data):
            kind, key_size, size = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            end = at + key_size + (0 if size == _GONE else size)
            if end > len(data):
                raise ValueError
            key, value = data[at : at + key_size], data[at + key_size : end]
            found.append(Entry(EntryKind(kind), key, None if size == _GONE else value))
            at = end
    except (struct.error, ValueError):
        raise EntryError(f"a record of {len(data)} bytes isn't whole, or another version's") from None
    return found


def pages(entries: Iterable[Entry], most: int = PAGE) -> Iterator[list[Entry]]:
    """The entries in groups of at most so many bytes, one at least each."""
    group: list[Entry] = []
    size = 0
    for one in entries:
        size += _HEAD.size + len(one.key) + len(one.value or b"")
        if group and size > most:
            yield group
            group, size = [], _HEAD.size + len(one.key) + len(one.value or b"")
        group.append(one)
    if group:
        yield group


def begin(beginning: Authorship) -> Entry:
    """The entry that says who writes from here on."""
    return Entry(EntryKind.BEGIN, bytes([FORMAT]), json.dumps(beginning._asdict()).encode())


def begun(entry: Entry) -> Authorship:
    """The inverse. EntryError if it is another version's."""
    try:
        if entry.key != bytes([FORMAT]):
            raise ValueError
        told = json.loads(entry.value or b"")
        return Authorship(str(told["node"]), str(told["layout"]), str(told["boot"]), int(told["clock"]),
                         float(told["time"]))  # fmt: skip
    except (ValueError, KeyError, TypeError):
        raise EntryError("the log is another version's: both nodes have to run the same") from None


def number(session: int) -> bytes:
    """The key of what belongs to a session."""
    return session.to_bytes(8, "little")


def port(row: int, slot: bytes) -> Entry:
    """A row of `ports` as it is now."""
    return Entry(EntryKind.PORT, row.to_bytes(8, "little"), slot)


def block(row: int, raw: bytes) -> Entry:
    """A row of `port_blocks` as it is now."""
    return Entry(EntryKind.ROW, BLOCKS.encode() + b"\0" + native(row, 4), raw)


def numbered(key: bytes) -> int:
    """The inverse, of whatever follows."""
    return int.from_bytes(key[:8], "little")
