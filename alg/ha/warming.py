"""A standby's tables, filled as the other gateway tells: whoever gets the address translates with its first packet.

The law of this file: sessions that no ALG watches and the ports they stand on, which is what the kernel needs for a
packet of theirs. Control sessions, and all that is only counted, come with the estate at a take-over; until then
nothing may be opened here. It writes maps that no packet meets yet, except for what comes in a take-over itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple

from algate.alg.gateway import estate, records
from algate.bpf import abi, syscall, ticks
from algate.bpf.packing import native
from algate.bpf.tables import Table

from . import many
from .entries import Authorship, Entry, EntryKind, numbered
from .inheriting import KEY, Shift, between, shifting
from .standby import KeptState

STEP = 512  # sessions: a few ms
REFRESH = 10.0  # s; no time-out is as short
_SESSION = abi.HEADER.structs["session"]
_SEEN = next(one.offset for one in _SESSION.fields if one.name == "last_seen")
_WORD = 4  # bytes of a tick, and of a row's number
_FREE = bytes(abi.PortSlot())


class WarmTables:
    """The kernel's, of the gateway that stands by."""

    def __init__(self, sessions: Table[abi.SessionKey, abi.Session], map_fd: Callable[[str], int]) -> None:
        self._sessions = sessions
        self._fd = map_fd

    def put(self, name: str, rows: estate.Raw) -> None:
        """Write entries of a map."""
        estate.put(self._fd(name), rows)

    def drop(self, key: bytes, number: int) -> None:
        """Delete a session, unless its key is another's by now."""
        raw = syscall.lookup(self._sessions.fd, key, _SESSION.size)
        if raw is not None and records.unpack_session(raw).id == number:
            syscall.delete(self._sessions.fd, key)

    def refresh(self) -> Iterator[None]:
        """Let no session grow old here: who has it, the other node, ends it and says so. A chunk per step."""
        for keys, values, count in self._sessions.chunks():
            made = bytearray(values)
            seen = memoryview(array("I", [ticks.now()]) * count)
            memoryview(made).cast("I")[_SEEN // _WORD :: _SESSION.size // _WORD] = seen
            syscall.update_batch(self._sessions.fd, keys, bytes(made), count)
            yield


class WarmSession(NamedTuple):
    """As it is in the tables. `number`: its id there."""

    key: bytes
    number: int
    flags: int


class Warming:
    """Of one gateway that stands by. `who`: this node and its clock."""

    def __init__(self, tables: WarmTables, who: Authorship) -> None:
        self._tables = tables
        self._who = who
        self._entered: dict[int, WarmSession] = {}  # by the id that the other node knows
        self._rows: set[int] = set()
        self._shift: Shift = shifting(0)
        self._kept: KeptState | None = None
        self._changed: dict[int, None] = {}  # whose sessions are to be looked at, in the order of the news
        self._news = asyncio.Event()

    def take(self, kept: KeptState | None, entries: Iterable[Entry] = ()) -> None:
        """Note what was just told, or, without entries, all that is known: `steps` writes it."""
        if kept is None or kept.beginning.layout != self._who.layout:
            return
        for one in entries:
            if one.kind is EntryKind.SESSION:
                self._changed[numbered(one.key)] = None
            elif one.kind is EntryKind.SESSIONS:
                self._changed.update(dict.fromkeys(many.ids(one.value or b"")))
        if kept is not self._kept:  # the first time, and whenever a log has begun anew
            self._kept, self._shift = kept, shifting(between(kept.beginning, self._who))
            self._changed.update(dict.fromkeys((*self._entered, *kept.sessions)))
        self._news.set()

    async def run(self) -> None:
        """Write as it comes, for ever, and let nothing grow old."""
        fresh = time.monotonic()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REFRESH):
                    await self._news.wait()
            await self.catch_up()
            if time.monotonic() - fresh > REFRESH:
                for _ in self._tables.refresh():
                    await asyncio.sleep(0)
                fresh = time.monotonic()

    async def catch_up(self) -> None:
        """Write all that was noted."""
        for _ in self.steps():
            await asyncio.sleep(0)

    def steps(self) -> Iterator[None]:
        """Write what was noted, a part of it per step."""
        self._news.clear()
        while self._changed and self._kept is not None:
            known, part = self._kept.sessions, list(itertools.islice(self._changed, STEP))
            for one in part:
                del self._changed[one]
            for one in part:
                if one in self._entered and one not in known:
                    gone = self._entered.pop(one)
                    self._tables.drop(gone.key, gone.number)
            self._enter(self._kept, [one for one in part if one in known and one not in self._entered])
            yield

    def _enter(self, kept: KeptState, wanted: Iterable[int]) -> None:
        sessions, ports, now = {}, {}, native(ticks.now(), _WORD)
        for one in sorted(wanted):  # the later one of two with one key stays
            raw = kept.sessions[one]
            key, value = raw[:KEY], self._shift("session", raw[KEY:])
            told = records.unpack_session(value)
            if told.alg:  # its numbers are shifted, which takes more than the session
                continue
            slot = kept.ports.get(told.port_index)
            if slot is not None:
                ports[native(told.port_index, _WORD)] = self._shift("port_slot", slot)
                self._rows.add(told.port_index)
            elif told.port_index != abi.EXEMPT_ROW:
                continue
            made = estate.renewed(key, value, told, True)
            sessions[key] = made[:_SEEN] + now + made[_SEEN + _WORD :]
            self._entered[one] = WarmSession(key, told.id, told.flags)
        if sessions:  # ports first: a session without its port leads back to nobody
            self._tables.put("ports", ports)
            self._tables.put("sessions", sessions)

    def settle(self, found: estate.Estate) -> Collection[bytes]:
        """Take out of the tables what the estate doesn't have, and say which of its sessions may stay as they are:
        those that nothing refers to by their id, which isn't quite the same by each reading of two clocks."""
        there = set()
        for key, number, flags in self._entered.values():
            raw = found.maps["sessions"].get(key)
            if raw is None:
                self._tables.drop(key, number)
                continue
            value = records.unpack_session(raw)
            if value.flags == flags and (value.id == number or not flags & abi.SessionFlag.EXPECTED):
                there.add(key)
        rows = (native(row, _WORD) for row in self._rows)
        self._tables.put("ports", {row: _FREE for row in rows if row not in found.maps["ports"]})
        return there
