"""What a standby holds of the other gateway's control sessions, as its log tells it.

The law of this file: it takes messages in their order and says what stands; it judges nothing. From BEGIN to END a log
tells everything anew, while what was known before stands until the END.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from . import many
from .entries import Authorship, Entry, EntryKind, begun, numbered

K = TypeVar("K")
V = TypeVar("V")


@dataclass
class KeptState:
    """By session id; `held` by session and direction, `expectations` by their id: control session, then raw; `ports` by
    row, `rows` by name of a map and key."""

    beginning: Authorship
    sessions: dict[int, bytes] = field(default_factory=dict)
    tracks: dict[int, bytes] = field(default_factory=dict)
    adjusts: dict[int, bytes] = field(default_factory=dict)
    held: dict[tuple[int, int], bytes] = field(default_factory=dict)
    expectations: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    parents: dict[int, int] = field(default_factory=dict)
    ports: dict[int, bytes] = field(default_factory=dict)
    rows: dict[tuple[str, bytes], bytes] = field(default_factory=dict)

    def take(self, entry: Entry) -> None:
        """One change."""
        kind, key, value = entry
        if kind is EntryKind.SESSIONS:
            self.sessions.update(zip(many.ids(value or b""), many.apart(value or b""), strict=True))
            return
        if kind is EntryKind.PORTS:
            self.ports.update(many.slots(value or b""))
            return
        one = numbered(key)
        if kind is EntryKind.SESSION:
            if value is None:
                self._forget(one)
            else:
                self.sessions[one] = value
        elif kind is EntryKind.HELD:
            _put(self.held, (one, key[8]), value)
        elif kind is EntryKind.EXPECTATION:
            _put(self.expectations, one, None if value is None else (numbered(value), value[8:]))
        elif kind is EntryKind.PARENT:
            _put(self.parents, one, None if value is None else numbered(value))
        elif kind is EntryKind.ROW:
            name, _, rest = key.partition(b"\0")
            _put(self.rows, (name.decode("ascii", "replace"), rest), value)
        else:
            tables = {EntryKind.TRACK: self.tracks, EntryKind.ADJUST: self.adjusts, EntryKind.PORT: self.ports}
            _put(tables[kind], one, value)

    def _forget(self, session: int) -> None:
        for table in (self.sessions, self.tracks, self.adjusts, self.parents):
            table.pop(session, None)
        for direction in (0, 1):
            self.held.pop((session, direction), None)
        for one in [number for number, (owner, _) in self.expectations.items() if owner == session]:
            del self.expectations[one]


def _put(table: dict[K, V], key: K, value: V | None) -> None:
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value


class Standby:
    """`kept`: None until a log was read to the end of its beginning. `parting`: the writer gives the address away, and
    hasn't yet said that all is told."""

    def __init__(self) -> None:
        self.kept: KeptState | None = None
        self.parting = False
        self._fresh: KeptState | None = None

    def take(self, entries: list[Entry]) -> None:
        """One message. EntryError if it begins in another version's words; what stands, stands."""
        for entry in entries:
            if entry.kind is EntryKind.BEGIN:
                self._fresh, self.parting = KeptState(begun(entry)), False
            elif entry.kind is EntryKind.END:
                self.kept, self._fresh = self._fresh or self.kept, None
            elif entry.kind is EntryKind.PARTING:
                self.parting = not entry.value
            else:
                for one in (self.kept, self._fresh):
                    if one is not None:
                        one.take(entry)
