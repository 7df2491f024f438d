"""One CPU's perf ring in memory: the kernel writes records and moves `head`, the reader moves `tail`.

The law of this file: it reads memory that the kernel writes at the same time, and knows neither who opened it nor what
a sample says. Layout and order of access: struct perf_event_mmap_page in linux/perf_event.h.

The reader's side of the protocol: read `head`, fence, read the records, fence, write `tail`. The fence is the caller's
(`fence` below), once for all rings of a turn. A word is read or written in one 8-byte access.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from mmap import PAGESIZE, mmap

HEAD, TAIL = 1024 // 8, 1032 // 8  # words of the control page
LOST, SAMPLE = 2, 9  # enum perf_event_type
_HEADER = struct.Struct("=IHH")  # type, misc, size of the whole record
_LENGTH = struct.Struct("=I")  # after a sample's header: the size of its bytes, padding included
_BOTH = struct.Struct("=IHHI")
_LOST = struct.Struct("=QQ")  # id, how many

_lock = threading.Lock()
_lock.acquire()


def fence() -> None:
    """Keep accesses after this call from moving before those ahead of it.

    Python has no barrier of its own. A lock's release followed by its acquisition orders what comes before against
    what follows on every CPU that Linux knows: an acquiring access never passes an earlier releasing one.
    """
    _lock.release()
    _lock.acquire()


class Buffer:
    """`memory`: a control page, then a power of two of bytes. `lost` is told about samples that had no room."""

    def __init__(self, memory: mmap, lost: Callable[[int], None], page: int = PAGESIZE) -> None:
        self._memory = memory
        self._words = memoryview(memory)[:page].cast("Q")
        self._lost = lost
        self._start, self._end = page, len(memory)
        self._mask = self._end - page - 1
        self._at = self._head = self._words[TAIL]

    @property
    def unread(self) -> int:
        """How many bytes of records the kernel has written that weren't taken."""
        return self._words[HEAD] - self._at

    def look(self) -> None:
        """Read how far the kernel has written. A fence belongs between this and `take`."""
        self._head = self._words[HEAD]

    def take(self) -> bytes | None:
        """The next sample, padded as the kernel wrote it; None at the end of what `look` saw."""
        while (position := self._at) != self._head:
            # Records are aligned to 8 bytes, and so is the end of the memory: a header is never cut, the rest may be.
            place = self._start + (position & self._mask)
            length = 0
            if place + 12 <= self._end:  # what a record has there that isn't a sample is no length, and isn't used
                kind, _, size, length = _BOTH.unpack_from(self._memory, place)
            else:
                kind, _, size = _HEADER.unpack_from(self._memory, place)
            if not 8 <= size <= self._head - position:
                self._lost(1)  # no kernel writes this; how much of the rest was sound isn't known
                self._at = self._head
                return None
            self._at = position + size
            if kind == SAMPLE and size >= 12:
                if place + size <= self._end:
                    return self._memory[place + 12 : place + min(12 + length, size)]
                whole = self._bytes(position, size)
                return whole[12 : 12 + _LENGTH.unpack_from(whole, 8)[0]]
            if kind == LOST and size >= 8 + _LOST.size:
                self._lost(_LOST.unpack(self._bytes(position + 8, _LOST.size))[1])
        return None

    def _bytes(self, position: int, size: int) -> bytes:
        """`size` bytes, in two pieces if they wrap around the end."""
        first = self._start + (position & self._mask)
        over = first + size - self._end
        if over <= 0:
            return self._memory[first : first + size]
        return self._memory[first : self._end] + self._memory[self._start : self._start + over]

    def give_back(self) -> None:
        """Give the room of what was taken back to the kernel. A fence belongs between `take` and this."""
        self._words[TAIL] = self._at

    def close(self) -> None:
        """Give the memory up."""
        self._words.release()
        self._memory.close()
