"""Sessions as they come to be and go: those that have lived a while are told, in pages, and at once those of an ALG.

The law of this file: a walk says what there is now, and the difference to the last one is what is told. A walk of a
table in use may miss an entry, so one that is missing is looked up before it is said to be gone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Iterator

from algate.bpf import abi

from . import many
from .entries import Entry, EntryKind, number, port
from .written import over

YOUNG = 2_000_000_000  # ns: younger sessions aren't told, most don't live longer
KEY = many.KEY
READ = 16384  # entries that are read at once
JUDGED = 4096  # and that are judged at once: the helper's turns come in between
Chunk = tuple[bytes, bytes, int]
"""Keys, values, and how many of them."""
_FIELDS = {one.name: one.offset for one in abi.HEADER.structs["session"].fields}
_ALG, _ROW = _FIELDS["alg"], _FIELDS["port_index"]


class BulkWalk:
    """`chunks` walks the table: keys, values, entries. `slot`: the raw row of `ports`; `there`: the id of a key."""

    def __init__(
        self, chunks: Callable[[], Iterable[Chunk]], slot: Callable[[int], bytes | None],
        there: Callable[[bytes], int], blocks: Callable[[Iterable[bytes]], Iterable[Entry]] = lambda _: (),
        track: Callable[[bytes], bytes | None] = lambda _: None,
    ) -> None:  # fmt: skip
        """`blocks`: of the port blocks that count some rows of `ports`."""
        self.young = YOUNG
        self.known: dict[int, bytes] = {}  # id -> key, of what was told
        self._chunks = chunks
        self._slot = slot
        self._there = there
        self._blocks = blocks
        self._track = track

    def forget(self) -> None:
        """Tell everything anew with the next walk."""
        self.known.clear()

    def read(self) -> Iterator[Chunk]:
        """The table, to be read by whoever has the time: the kernel takes 1.6 ms to find a million places empty, and
        no step touches anything here."""
        return iter(self._chunks())

    def walk(self, now: int, tell: Callable[[Entry], None]) -> Generator[None, Chunk | None, None]:
        """One walk: it is sent chunk by chunk, and None behind the last. `now`: ns of CLOCK_MONOTONIC."""
        seen: set[int] = set()
        rows: set[int] = set()
        while (chunk := (yield)) is not None:
            keys, values, count = chunk
            width = len(values) // count
            ids = memoryview(values).cast("Q")[:: width // 8].tolist()
            seen.update(ids)
            algs = values[_ALG::width]
            limit = now - self.young
            for at in [at for at, one in enumerate(ids) if algs[at] and one not in self.known]:
                self._watched(ids[at], keys[at * KEY : at * KEY + KEY], values[at * width : at * width + width], tell)
            new = [at for at, one in enumerate(ids) if one < limit and one not in self.known and not algs[at]]
            if new:
                if len(new) < count:
                    keys = b"".join([keys[at * KEY : at * KEY + KEY] for at in new])
                    values = b"".join([values[at * width : at * width + width] for at in new])
                self._sessions(keys, values, [ids[at] for at in new], rows, tell)
        for one in [one for one in self.known if one not in seen]:
            if self._there(self.known[one]) != one:
                del self.known[one]
                tell(over(one))

    def _watched(self, one: int, key: bytes, value: bytes, tell: Callable[[Entry], None]) -> None:
        """One of an ALG, of any age: the other log has it once something of it was decided, with its first line;
        a server may be slow to greet."""
        self.known[one] = key
        row, track = int.from_bytes(value[_ROW : _ROW + 4], sys.byteorder), self._track(key)
        if (slot := self._slot(row)) is not None:
            for entry in (*self._blocks([slot]), port(row, slot)):
                tell(entry)
        tell(Entry(EntryKind.SESSION, number(one), key + value))
        if track is not None:
            tell(Entry(EntryKind.TRACK, number(one), track))

    def _sessions(
        self, keys: bytes, values: bytes, ids: list[int], rows: set[int], tell: Callable[[Entry], None]
    ) -> None:
        self.known.update(zip(ids, [keys[at : at + KEY] for at in range(0, len(keys), KEY)], strict=True))
        width = len(values) // len(ids)
        fresh = set(memoryview(values).cast("I")[_ROW // 4 :: width // 4].tolist()) - rows
        rows |= fresh
        slots = [(row, slot) for row in fresh if (slot := self._slot(row)) is not None]
        for entry in (*self._blocks(slot for _, slot in slots), *many.ports(slots)):
            tell(entry)
        for entry in many.sessions(many.woven(keys, values)):
            tell(entry)


def pieces(chunk: Chunk, most: int = JUDGED) -> Iterator[Chunk]:
    """It in parts of so many at most."""
    keys, values, count = chunk
    key, value = len(keys) // count, len(values) // count
    for at in range(0, count, most):
        end = min(at + most, count)
        yield keys[at * key : end * key], values[at * value : end * value], end - at
