"""The perf ring's reading end: one buffer per CPU, read in turns and merged by time.

The law of this file: it passes samples, as bytes, to a callback, the oldest of all CPUs first and a bounded number per
turn. The caller tells it when a sample was made; whatever else is in it, or happens between turns, is the caller's.

Order. Samples of one CPU come in their order. Those of several CPUs are merged by the time that is in them, so that a
reply doesn't overtake its command because another CPU saw it. A sample that is still being written when a turn
begins comes with the next one, so the caller must tolerate a few microseconds of disorder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heapreplace
from mmap import MAP_SHARED, PAGESIZE, mmap
from typing import Protocol

from algate.bpf import perf, syscall
from algate.bpf.buffer import Buffer, fence
from algate.bpf.errors import UNSUPPORTED, AlgateError
from algate.bpf.tables import U32

SampleCallback = Callable[[int, bytes], None]  # CPU, sample
When = Callable[[bytes], int]  # when a sample was made, on a clock that all CPUs share
MOST = 32  # samples per turn: 2 ms of the helper; compared with that, reading all heads costs little
ONLINE = "/sys/devices/system/cpu/online"


class Reader(Protocol):
    """What `Merge` needs of a Buffer."""

    def look(self) -> None: ...
    def take(self) -> bytes | None: ...
    def give_back(self) -> None: ...


class Merge:
    """The samples of several readers, each reader's in order, all merged by `when`. `left`: there were more."""

    def __init__(self, readers: Sequence[Reader], when: When) -> None:
        self._readers = readers
        self._when = when
        self._ahead: list[tuple[int, int, bytes]] = []  # a heap: the next one of each reader that had one

    @property
    def left(self) -> bool:
        """Whether the last `oldest` stopped at its bound: nothing wakes a reader for samples already there."""
        return bool(self._ahead)

    def oldest(self, most: int) -> list[tuple[int, bytes]]:
        """Up to `most` samples, each with its reader's number; their room is given back."""
        for reader in self._readers:
            reader.look()
        fence()
        known = {number for _, number, _ in self._ahead}
        for number, reader in enumerate(self._readers):
            if number not in known and (sample := reader.take()) is not None:
                self._ahead.append((self._when(sample), number, sample))
        if not self._ahead:
            return []
        found = self._alone(most) if len(self._ahead) == 1 else self._merged(most)
        fence()
        for reader in self._readers:
            reader.give_back()
        return found

    def _alone(self, most: int) -> list[tuple[int, bytes]]:
        """For when only one reader has samples: its order counts."""
        ((_, number, following),) = self._ahead
        take = self._readers[number].take
        found: list[tuple[int, bytes]] = []
        sample: bytes | None = following
        while sample is not None and len(found) < most:
            found.append((number, sample))
            sample = take()
        self._ahead = [] if sample is None else [(self._when(sample), number, sample)]
        return found

    def _merged(self, most: int) -> list[tuple[int, bytes]]:
        readers, when, ahead = self._readers, self._when, self._ahead
        heapify(ahead)
        found: list[tuple[int, bytes]] = []
        while ahead and len(found) < most:
            _, number, sample = ahead[0]
            found.append((number, sample))
            following = readers[number].take()
            if following is None:
                heappop(ahead)
            else:
                heapreplace(ahead, (when(following), number, following))
        return found


class Ring:
    """One buffer per online CPU. `fds` become readable when samples come; see `turn`."""

    def __init__(
        self, map_fd: int, callback: SampleCallback, lost: Callable[[int], None], pages: int, when: When,
        watermark: int = 0, quiet_fd: int | None = None,
    ) -> None:  # fmt: skip
        """`callback` gets a sample as the kernel wrote it, padded; `lost` how many had no room. `watermark`: bytes that
        make a descriptor readable; 0: each sample does. `quiet_fd`: a second map, whose samples come with the others
        in their order, but make none readable."""
        perf.need()
        self._map_fd, self._watermark = map_fd, watermark
        self._callback, self._lost = callback, lost
        self._quiet_fd = quiet_fd
        self._quiet: list[int] = []  # descriptors by CPU, if there is such a map
        self._cpus: list[int] = []
        self.fds: list[int] = []
        self._buffers: list[Buffer] = []
        try:
            for cpu in online(_read(ONLINE)):
                self._open(cpu, pages)
        except BaseException:
            self.close()
            raise
        self._merge = Merge(self._buffers, when)

    def _open(self, cpu: int, pages: int) -> None:
        try:
            fd = perf.open_output(cpu, self._watermark)
            self.fds.append(fd)
            self._buffers.append(Buffer(mmap(fd, (1 + pages) * PAGESIZE, MAP_SHARED), self._missed))
            if self._quiet_fd is not None:
                self._quiet.append(perf.open_quiet(cpu, fd))
        except OSError as error:
            raise AlgateError(
                f"can't open the perf ring of CPU {cpu} ({error.strerror}): CAP_PERFMON is needed, and CAP_IPC_LOCK "
                "or a larger kernel.perf_event_mlock_kb", UNSUPPORTED,
            ) from None  # fmt: skip
        self._cpus.append(cpu)
        self._enlist(len(self._cpus) - 1)

    def _missed(self, number: int) -> None:
        self._lost(number)

    def listen(self, callback: SampleCallback, lost: Callable[[int], None]) -> None:
        """From now on tell these instead."""
        self._callback, self._lost = callback, lost

    def enlist(self) -> None:
        """Have the kernel write here, if another ring of the same map was opened since."""
        for place in range(len(self._cpus)):
            self._enlist(place)

    def _enlist(self, place: int) -> None:
        cpu = U32.pack(self._cpus[place])
        if self._quiet_fd is not None:
            syscall.update(self._quiet_fd, cpu, U32.pack(self._quiet[place]))
        syscall.update(self._map_fd, cpu, U32.pack(self.fds[place]))

    def turn(self, most: int = MOST) -> bool:
        """Call back for the oldest samples. True: there are more, and no descriptor will say so."""
        for number, sample in self._merge.oldest(most):
            self._callback(self._cpus[number], sample)
        return self._merge.left

    @property
    def unread(self) -> int:
        """Bytes of all CPUs that wait to be read."""
        return sum([buffer.unread for buffer in self._buffers])

    def close(self) -> None:
        """Stop reading: the kernel's submits fail from now on."""
        for cpu in self._cpus:
            syscall.delete(self._map_fd, U32.pack(cpu))
            if self._quiet_fd is not None:
                syscall.delete(self._quiet_fd, U32.pack(cpu))
        for buffer in self._buffers:
            buffer.close()
        for fd in (*self._quiet, *self.fds):
            os.close(fd)
        self._cpus, self._buffers, self.fds, self._quiet = [], [], [], []


def online(text: str) -> list[int]:
    """The CPUs in a list of the kernel's, as in "0-3,5"."""
    parts = [one.partition("-") for one in text.strip().split(",") if one]
    return [cpu for first, _, last in parts for cpu in range(int(first), int(last or first) + 1)]


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()
