"""Maps of the kernel as typed tables over a descriptor: one entry, all entries, or raw memory for millions.

The law of this file: it knows sizes and codecs, not what an entry means. A walk of a hash that others write to may miss
or repeat what moves meanwhile; who acts on it must check again (the sweep does, in the kernel).
"""

from __future__ import annotations

import errno
import functools
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from algate.bpf import syscall
from algate.bpf.abi import Layout
from algate.bpf.errors import AlgateError
from algate.bpf.syscall import Update

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")
S = TypeVar("S", bound=Layout)
CHUNK = 4096  # entries: a batch is still in the processor's cache when it is judged
NO_BATCH = (errno.EINVAL, 524)  # 524: ENOTSUPP, which is internal to the kernel but gets out


@dataclass(frozen=True)
class Codec(Generic[T]):
    """How a key or value becomes `size` bytes, and back."""

    size: int
    pack: Callable[[T], bytes]
    unpack: Callable[[bytes], T]


def integer(size: int) -> Codec[int]:
    """An unsigned integer of `size` bytes in host order."""
    order = sys.byteorder
    return Codec(size, lambda value: int(value).to_bytes(size, order), lambda raw: int.from_bytes(raw, order))


def layout(kind: type[S]) -> Codec[S]:
    """A struct of abi.h."""
    return Codec(struct.calcsize(kind.FORMAT), lambda value: bytes(value), kind.unpack)


U32, U64 = integer(4), integer(8)


class Table(Generic[K, V]):
    """A hash or array. It doesn't own `fd`. AlgateError if the map's sizes differ from those of the codecs."""

    def __init__(self, fd: int, key: Codec[K], value: Codec[V]) -> None:
        self.fd, self.key, self.value = fd, key, value
        self.info = syscall.map_info(fd)
        if (self.info.key_size, self.info.value_size) != (key.size, value.size):
            raise AlgateError(
                f"map {self.info.name or fd}: key and value have {self.info.key_size} and {self.info.value_size} bytes,"
                f" this version wants {key.size} and {value.size}; `algate down --purge` removes the old maps"
            )

    def get(self, key: K) -> V | None:
        raw = syscall.lookup(self.fd, self.key.pack(key), self.value.size)
        return None if raw is None else self.value.unpack(raw)

    def __getitem__(self, key: K) -> V:
        """KeyError if it isn't there; for arrays, where it always is."""
        found = self.get(key)
        if found is None:
            raise KeyError(key)
        return found

    def put(self, key: K, value: V, flags: Update = Update.ANY) -> None:
        """Write an entry. OSError E2BIG: full. FileExistsError with CREATE, FileNotFoundError with EXISTING."""
        syscall.update(self.fd, self.key.pack(key), self.value.pack(value), flags)

    def delete(self, key: K) -> bool:
        """Whether the key was there."""
        return syscall.delete(self.fd, self.key.pack(key))

    def put_many(self, entries: dict[K, V] | list[tuple[K, V]]) -> None:
        """Write all in one call; what was written before an error stays."""
        pairs = list(entries.items()) if isinstance(entries, dict) else entries
        if pairs:
            keys = b"".join(self.key.pack(key) for key, _ in pairs)
            values = b"".join(self.value.pack(value) for _, value in pairs)
            syscall.update_batch(self.fd, keys, values, len(pairs))

    def clear(self) -> None:
        """Delete all entries that a walk finds (hashes only)."""
        keys, _ = self.read_all_raw()
        for start in range(0, len(keys), self.key.size):
            syscall.delete(self.fd, keys[start : start + self.key.size])

    def items(self) -> Iterator[tuple[K, V]]:
        key_size, value_size = self.key.size, self.value.size
        for keys, values, count in self.chunks():
            for index in range(count):
                value = values[index * value_size : (index + 1) * value_size]
                yield self.key.unpack(keys[index * key_size : (index + 1) * key_size]), self.value.unpack(value)

    def __len__(self) -> int:
        return sum(count for _, _, count in self.chunks())

    def read_all_raw(self) -> tuple[bytes, bytes]:
        """All keys and all values, end to end in the same order: for `struct.iter_unpack(Session.FORMAT, values)`."""
        keys, values = [], []
        for some_keys, some_values, _ in self.chunks():
            keys.append(some_keys)
            values.append(some_values)
        return b"".join(keys), b"".join(values)

    def chunks(self, size: int = CHUNK) -> Iterator[tuple[bytes, bytes, int]]:
        """(keys, values, entries) of one walk, `size` at a time; key by key where the map type has no batches."""
        batch = self._batch(size)
        end = False
        while not end:
            try:
                count, end = syscall.lookup_batch(self.fd, batch)
            except OSError as error:
                if error.errno == errno.ENOSPC and batch.count < self.info.max_entries:
                    batch = self._wider(batch)
                    continue
                if error.errno in NO_BATCH and not batch.started:
                    yield from self._one_by_one()
                    return
                raise
            if count:
                yield batch.keys[: count * self.key.size], batch.values[: count * self.value.size], count

    def _batch(self, count: int) -> syscall.LookupBatch:
        return syscall.LookupBatch(self.key.size, self.value.size, max(1, min(count, self.info.max_entries)))

    def _wider(self, batch: syscall.LookupBatch) -> syscall.LookupBatch:
        """One bucket held more entries than the buffers: go on from there with twice the room."""
        wider = self._batch(batch.count * 2)
        wider.token, wider.started = batch.token, batch.started
        return wider

    def _one_by_one(self) -> Iterator[tuple[bytes, bytes, int]]:
        key = syscall.next_key(self.fd, None, self.key.size)
        steps = 0
        while key is not None and steps < 2 * self.info.max_entries:
            value = syscall.lookup(self.fd, key, self.value.size)
            if value is not None:
                yield key, value, 1
            key = syscall.next_key(self.fd, key, self.key.size)
            steps += 1


class PerCpuCounters:
    """A per-CPU array of 64-bit counters, read as sums over all possible CPUs."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.info = syscall.map_info(fd)
        if self.info.value_size != 8:
            raise AlgateError(f"map {self.info.name or fd}: {self.info.value_size} bytes a counter, 8 expected")

    def per_cpu(self, index: int) -> list[int]:
        """KeyError beyond the last row."""
        raw = syscall.lookup(self.fd, U32.pack(index), 8 * possible_cpus())
        if raw is None:
            raise KeyError(index)
        return list(struct.unpack(f"={possible_cpus()}Q", raw))

    def sum(self, index: int) -> int:
        return sum(self.per_cpu(index))

    def sums(self) -> list[int]:
        """All rows."""
        return [self.sum(index) for index in range(self.info.max_entries)]


@functools.cache
def possible_cpus(path: Path = Path("/sys/devices/system/cpu/possible")) -> int:
    """How many values a per-CPU entry has: one for each CPU that could ever exist, `0-3` or `0,2-7` in the file."""
    last = 0
    for part in path.read_text().strip().split(","):
        last = max(last, int(part.split("-")[-1]))
    return last + 1


def names(kind: type[Layout], values: tuple[Any, ...]) -> dict[str, Any]:
    """One tuple of `struct.iter_unpack(kind.FORMAT, ...)` as a dictionary by flattened field name."""
    return dict(zip(kind.NAMES, values, strict=True))
