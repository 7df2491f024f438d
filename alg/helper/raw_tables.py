"""What the kernel has of control sessions, raw, for another gateway: one at a time, or all.

The law of this file: it reads, and writes nothing; what becomes of the bytes is the room `ha`'s.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from struct import calcsize

from algate.alg.engine import effects as fx
from algate.alg.gateway import portblocks, records
from algate.alg.gateway.addresses import Addresses
from algate.alg.ha import written
from algate.alg.ha.entries import Entry, EntryKind, block, port
from algate.alg.helper import takeover
from algate.alg.helper.executor import Executor
from algate.alg.helper.helper import now
from algate.bpf import abi, syscall
from algate.bpf.loader import Gateway
from algate.bpf.packing import native, spot

WHOLE = ("forwards", "forward_sources")  # maps that travel as they are


def _number(struct: str, field: str) -> tuple[int, int]:
    """Where a field begins and ends: a whole struct isn't unpacked for it while a command waits."""
    offset, code = spot(struct, field)
    return offset, offset + calcsize(code)


KEY = abi.HEADER.structs["session_key"].size
ID, END_ID = _number("session", "id")
ROW, END_ROW = _number("session", "port_index")
OWNER, END_OWNER = _number("track", "id")
EXPECTED, END_EXPECTED = _number("expectation", "port_index")


class RawTables:
    """Of one gateway; `written.Tables`. It knows data sessions by the key that comes with their announcement.

    What it reads a rewritten command waits for, so it reads no more than it has to."""

    def __init__(self, gateway: Gateway, executor: Executor, counts: Callable[[], bool]) -> None:
        """`counts`: whether hosts have port blocks now."""
        self._gateway = gateway
        self._executor = executor
        self._counts = counts
        self._keys: dict[int, bytes] = {}  # of data sessions, until they were looked up
        self._told: set[int] = set()  # sessions whose row of `ports` the log has; a start counts its references anew
        sessions, tracks, ports = gateway.sessions, gateway.tracks, gateway.ports
        self._sessions = sessions.fd, sessions.value.size
        self._tracks = tracks.fd, tracks.value.size
        self._ports = ports.fd, ports.value.size
        self._expectation_key = gateway.expectations.key.size

    def expect(self, effects: Iterable[fx.Effect]) -> list[Entry]:
        """What of the effects is to be written down."""
        listed = list(effects)
        for one in listed:
            if isinstance(one, fx.Admitted):
                self._keys[one.data.session] = records.pack_key(one.data.key)
        made = written.entries(listed, self)
        self._keys.clear()
        return made

    def _key(self, session: int) -> bytes | None:
        return self._executor.keys.get(session) or self._keys.get(session)

    def session(self, session: int) -> bytes | None:
        """As Tables says."""
        key = self._key(session)
        raw = _value(self._sessions, key) if key else None
        return key + raw if key and raw is not None and _of(raw, ID, END_ID) == session else None

    def track(self, session: int) -> bytes | None:
        """As Tables says."""
        key = self._key(session)
        raw = _value(self._tracks, key) if key else None
        return raw if raw is not None and _of(raw, OWNER, END_OWNER) == session else None

    def track_of(self, key: bytes) -> bytes | None:
        """The struct track of whatever session has a key now."""
        return _value(self._tracks, key)

    def adjust(self, record: fx.AdjustRecord) -> bytes:
        """As Tables says."""
        return self._executor.packed(record)

    def expectation(self, one: fx.Expectation, state: int) -> bytes:
        """As Tables says."""
        return b"".join(self._executor.row(one, state))

    def slot(self, row: int) -> bytes | None:
        """A row of `ports`."""
        return _value(self._ports, native(row, 4)) if row != abi.EXEMPT_ROW else None

    def port(self, session: bytes) -> Entry | None:
        """As Tables says."""
        one, row = _of(session, KEY + ID, KEY + END_ID), _of(session, KEY + ROW, KEY + END_ROW)
        if one in self._told:
            return None
        self._told.add(one)
        slot = self.slot(row)
        return None if slot is None else port(row, slot)

    def counted(self, slot: Entry) -> list[Entry]:
        """As Tables says."""
        return self.blocks([slot.value or b""])

    def blocks(self, slots: Iterable[bytes]) -> list[Entry]:
        """The port blocks that count these rows of `ports`, each once."""
        if not self._counts():
            return []
        table, found = self._gateway.port_blocks, {}
        for row in dict.fromkeys(map(portblocks.counting, slots)):
            raw = syscall.lookup(table.fd, native(row, 4), table.value.size) if row is not None else None
            if row is not None and raw is not None:
                found[row] = block(row, raw)
        return [*found.values()]

    def reserved(self, expectation: bytes) -> Entry | None:
        """As Tables says."""
        start = self._expectation_key
        row = _of(expectation, start + EXPECTED, start + END_EXPECTED)
        slot = self.slot(row)
        return None if slot is None else port(row, slot)

    def there(self, key: bytes) -> int:
        """The id of the session that has a key now, 0: none has."""
        raw = _value(self._sessions, key)
        return 0 if raw is None else _of(raw, ID, END_ID)

    def everything(self) -> Iterable[Entry]:
        """All that belongs to control sessions, at this moment: a log begins."""
        self._told.clear()
        left = takeover.read(self._gateway, now(), Addresses(self._gateway))
        self._keys = {one.session: one.key for one in left.data}
        self._keys |= {info.session: records.pack_key(info.key) for info in left.controls}
        adjusts = {}
        for _, raw in self._gateway.adjusts.items():
            adjusts[raw.id] = bytes(raw)
        expected = []
        table = self._gateway.expectations
        for keys, values, count in table.chunks():
            for at in range(count):
                key = keys[at * table.key.size : (at + 1) * table.key.size]
                value = values[at * table.value.size : (at + 1) * table.value.size]
                one = abi.Expectation.unpack(value)
                expected.append((one.id, one.control_id, key + value))
        held = {(session, way): data for session, ways in left.held.items() for way, data in ways.items()}
        parents = {one.session: one.control for one in left.data}
        sessions = [info.session for info in left.controls] + list(parents)
        made = [*self._whole(), *written.everything(sessions, parents, adjusts, held, expected, self)]
        self._keys = {}
        return made

    def _whole(self) -> list[Entry]:
        made = []
        for name in WHOLE:
            fd = self._gateway.map_fd(name)
            info = syscall.map_info(fd)
            key = syscall.next_key(fd, None, info.key_size)
            while key is not None:
                value = syscall.lookup(fd, key, info.value_size)
                if value is not None and any(value):
                    made.append(Entry(EntryKind.ROW, name.encode() + b"\0" + key, value))
                key = syscall.next_key(fd, key, info.key_size)
        return made


def _value(table: tuple[int, int], key: bytes) -> bytes | None:
    """A value. `table`: its descriptor, and a value's size."""
    return syscall.lookup(table[0], key, table[1])


def _of(raw: bytes, start: int, end: int) -> int:
    return int.from_bytes(raw[start:end], sys.byteorder)
