"""What the kernel has of control sessions, raw, for another gateway: one at a time, or all.

The law of this file: it reads, and writes nothing; what becomes of the bytes is the room `ha`'s.
"""

from __future__ import annotations

from collections.abc import Iterable

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
from algate.bpf.packing import native

WHOLE = ("forwards", "forward_sources")  # maps that travel as they are


class RawTables:
    """Of one gateway; `written.Tables`. It knows data sessions by the key that comes with their announcement."""

    def __init__(self, gateway: Gateway, executor: Executor) -> None:
        self._gateway = gateway
        self._executor = executor
        self._keys: dict[int, bytes] = {}  # of data sessions, until they were looked up

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
        key, table = self._key(session), self._gateway.sessions
        raw = syscall.lookup(table.fd, key, table.value.size) if key else None
        return key + raw if key and raw is not None and records.unpack_session(raw).id == session else None

    def track(self, session: int) -> bytes | None:
        """As Tables says."""
        key, table = self._key(session), self._gateway.tracks
        raw = syscall.lookup(table.fd, key, table.value.size) if key else None
        return raw if raw is not None and records.unpack_track(raw)[0] == session else None

    def track_of(self, key: bytes) -> bytes | None:
        """The struct track of whatever session has a key now."""
        return syscall.lookup(self._gateway.tracks.fd, key, self._gateway.tracks.value.size)

    def adjust(self, record: fx.AdjustRecord) -> bytes:
        """As Tables says."""
        return records.pack_adjust(record)

    def expectation(self, one: fx.Expectation, state: int) -> bytes:
        """As Tables says."""
        return b"".join(self._executor.row(one, state))

    def slot(self, row: int) -> bytes | None:
        """A row of `ports`."""
        table = self._gateway.ports
        return syscall.lookup(table.fd, native(row, 4), table.value.size) if row != abi.EXEMPT_ROW else None

    def port(self, session: bytes) -> Entry | None:
        """As Tables says."""
        row = records.unpack_session(session[abi.HEADER.structs["session_key"].size :]).port_index
        slot = self.slot(row)
        return None if slot is None else port(row, slot)

    def counted(self, slot: Entry) -> list[Entry]:
        """As Tables says."""
        return self.blocks([slot.value or b""])

    def blocks(self, slots: Iterable[bytes]) -> list[Entry]:
        """The port blocks that count these rows of `ports`, each once."""
        if not self._gateway.configs[0].port_block:
            return []
        table, found = self._gateway.port_blocks, {}
        for row in dict.fromkeys(map(portblocks.counting, slots)):
            raw = syscall.lookup(table.fd, native(row, 4), table.value.size) if row is not None else None
            if row is not None and raw is not None:
                found[row] = block(row, raw)
        return [*found.values()]

    def reserved(self, expectation: bytes) -> Entry | None:
        """As Tables says."""
        value = abi.Expectation.unpack(expectation[self._gateway.expectations.key.size :])
        slot = self.slot(value.port_index)
        return None if slot is None else port(value.port_index, slot)

    def there(self, key: bytes) -> int:
        """The id of the session that has a key now, 0: none has."""
        table = self._gateway.sessions
        raw = syscall.lookup(table.fd, key, table.value.size)
        return 0 if raw is None else records.unpack_session(raw).id

    def everything(self) -> Iterable[Entry]:
        """All that belongs to control sessions, at this moment."""
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
