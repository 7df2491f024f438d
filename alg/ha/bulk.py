"""Sessions that no ALG watches, as they come to be and go: those that have lived a while are told, in pages.

The law of this file: a walk says what there is now, and the difference to the last one is what is told. A walk of a
table in use may miss an entry, so one that is missing is looked up before it is said to be gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from algate.alg.gateway import records
from algate.bpf import abi

from .entries import Entry, EntryKind, number, port
from .written import over

YOUNG = 2_000_000_000  # ns: younger sessions aren't told, most don't live longer
KEY = abi.HEADER.structs["session_key"].size


class BulkWalk:
    """`chunks` walks the table: keys, values, entries. `slot`: the raw row of `ports`; `there`: the id of a key."""

    def __init__(
        self, chunks: Callable[[], Iterable[tuple[bytes, bytes, int]]], slot: Callable[[int], bytes | None],
        there: Callable[[bytes], int],
    ) -> None:  # fmt: skip
        self.young = YOUNG
        self.known: dict[int, bytes] = {}  # id -> key, of what was told
        self._chunks = chunks
        self._slot = slot
        self._there = there

    def forget(self) -> None:
        """Tell everything anew with the next walk."""
        self.known.clear()

    def walk(self, now: int, tell: Callable[[Entry], None]) -> Iterator[None]:
        """One walk, a chunk per step. `now`: ns of CLOCK_MONOTONIC."""
        seen: set[int] = set()
        rows: set[int] = set()
        for keys, values, count in self._chunks():
            size = len(values) // count
            ids = memoryview(values).cast("Q")[:: size // 8].tolist()
            seen.update(ids)
            for place in [at for at, one in enumerate(ids) if one not in self.known and one < now - self.young]:
                key = keys[place * KEY : (place + 1) * KEY]
                self._session(key, values[place * size : (place + 1) * size], rows, tell)
            yield
        for one in [one for one in self.known if one not in seen]:
            if self._there(self.known[one]) != one:
                del self.known[one]
                tell(over(one))

    def _session(self, key: bytes, raw: bytes, rows: set[int], tell: Callable[[Entry], None]) -> None:
        value = records.unpack_session(raw)
        if value.alg:  # the other log has it
            return
        self.known[value.id] = key
        if value.port_index not in rows and (slot := self._slot(value.port_index)) is not None:
            rows.add(value.port_index)
            tell(port(value.port_index, slot))
        tell(Entry(EntryKind.SESSION, number(value.id), key + raw))
