"""The bpf() calls that BCC lacks, through ctypes and libbpf: pins, map information, lookups and batches.

The law of this file: file descriptors and raw bytes; it knows no struct of algate. Every failure is an OSError whose
text names the call and what it was about, so ENOENT (no such pin) is a FileNotFoundError, EEXIST a FileExistsError.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from algate.bpf.calls import delete as delete
from algate.bpf.calls import lookup as lookup
from algate.bpf.calls import update as update
from algate.bpf.libbpf import ENOENT, check, library

UINT64 = ctypes.c_uint64
UINT32 = ctypes.c_uint32
MAPS_MOST = 64  # of one program, the kernel's own limit
FEW = 4  # keys that are deleted one by one sooner than by one call through ctypes


class Update(IntEnum):
    """Flags of a map update."""

    ANY = 0
    CREATE = 1
    EXISTING = 2


@dataclass(frozen=True, slots=True)
class MapInfo:
    """What the kernel says about a map. `type`: enum bpf_map_type."""

    type: int
    id: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    name: str


@dataclass(frozen=True, slots=True)
class ProgInfo:
    """What the kernel says about a program. Bytes of machine code (`jited`) and of verified bytecode (`xlated`);
    `verified`: instructions that the verifier followed, 0 before Linux 5.16."""

    type: int
    id: int
    tag: str
    name: str
    jited: int = 0
    xlated: int = 0
    verified: int = 0


class _MapInfo(ctypes.Structure):
    _fields_ = [
        ("type", UINT32), ("id", UINT32), ("key_size", UINT32), ("value_size", UINT32), ("max_entries", UINT32),
        ("map_flags", UINT32), ("name", ctypes.c_char * 16), ("rest", ctypes.c_uint8 * 64),
    ]  # fmt: skip


class _ProgInfo(ctypes.Structure):
    _fields_ = [
        ("type", UINT32), ("id", UINT32), ("tag", ctypes.c_uint8 * 8), ("jited_prog_len", UINT32), ("xlated", UINT32),
        ("jited_prog_insns", UINT64), ("xlated_prog_insns", UINT64), ("load_time", UINT64), ("uid", UINT32),
        ("nr_map_ids", UINT32), ("map_ids", UINT64), ("name", ctypes.c_char * 16), ("others", ctypes.c_uint8 * 136),
        ("verified_insns", UINT32), ("rest", ctypes.c_uint8 * 8),
    ]  # fmt: skip


class _BatchOptions(ctypes.Structure):
    _fields_ = [("sz", ctypes.c_size_t), ("elem_flags", UINT64), ("flags", UINT64)]


class _CreateOptions(ctypes.Structure):
    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("btf", UINT32 * 5),
        ("map_flags", UINT32),
        ("extra", UINT64),
        ("rest", UINT32 * 4),
    ]


def create(kind: int, name: str, key_size: int, value_size: int, entries: int, flags: int = 0) -> int:
    """A new map; its descriptor. `kind`: enum bpf_map_type."""
    options = _CreateOptions(ctypes.sizeof(_CreateOptions))
    options.map_flags = flags
    made = library().bpf_map_create(kind, name[:15].encode(), key_size, value_size, entries, ctypes.byref(options))
    return check(made, "bpf_map_create", name)


def obj_get(path: Path) -> int:
    """A new descriptor for what is pinned at `path`; the caller closes it."""
    return check(library().bpf_obj_get(os.fsencode(path)), "bpf_obj_get", str(path))


def obj_pin(fd: int, path: Path) -> None:
    """Pin a map or program in a bpffs. FileExistsError if the name is taken."""
    check(library().bpf_obj_pin(fd, os.fsencode(path)), "bpf_obj_pin", str(path))


def map_info(fd: int) -> MapInfo:
    info = _info(fd, _MapInfo())
    name = info.name.decode(errors="replace")
    return MapInfo(info.type, info.id, info.key_size, info.value_size, info.max_entries, info.map_flags, name)


def prog_info(fd: int) -> ProgInfo:
    info = _info(fd, _ProgInfo())
    name = info.name.decode(errors="replace")
    sizes = info.jited_prog_len, info.xlated, info.verified_insns
    return ProgInfo(info.type, info.id, bytes(info.tag).hex(), name, *sizes)


def prog_maps(fd: int) -> list[int]:
    """Ids of the maps that a program uses."""
    ids = (UINT32 * MAPS_MOST)()
    asked = _ProgInfo(nr_map_ids=MAPS_MOST, map_ids=ctypes.addressof(ids))
    return list(ids[: _info(fd, asked).nr_map_ids])


def _info(fd: int, info: Any) -> Any:
    size = UINT32(ctypes.sizeof(info))
    check(library().bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(size)), "bpf_obj_get_info_by_fd")
    return info


def lookups(fd: int, keys: Iterable[bytes], value_size: int) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of those that are there, one call each: with a buffer for all, half of what `lookup` takes."""
    value, call = ctypes.create_string_buffer(value_size), library().bpf_map_lookup_elem
    for key in keys:
        result = call(fd, key, value)
        if not result:
            yield key, value.raw
        elif ctypes.get_errno() != ENOENT:
            check(result, "bpf_map_lookup_elem")


def delete_all(fd: int, keys: Sequence[bytes]) -> None:
    """Delete keys, whichever are there: many in as few calls as that takes, one if all are."""
    while len(keys) > FEW:
        done, options = UINT32(len(keys)), _BatchOptions(ctypes.sizeof(_BatchOptions), 0, 0)
        result = library().bpf_map_delete_batch(fd, b"".join(keys), ctypes.byref(done), ctypes.byref(options))
        if result >= 0:
            return
        if ctypes.get_errno() != ENOENT:
            check(result, "bpf_map_delete_batch")
        keys = keys[done.value + 1 :]  # it stopped at one that wasn't there
    for key in keys:
        delete(fd, key)


def next_key(fd: int, key: bytes | None, key_size: int) -> bytes | None:
    """The key after `key` (None: the first), or None at the end."""
    found = ctypes.create_string_buffer(key_size)
    result = library().bpf_map_get_next_key(fd, key, found)
    if result < 0 and ctypes.get_errno() == ENOENT:
        return None
    check(result, "bpf_map_get_next_key")
    return found.raw


@dataclass(slots=True)
class LookupBatch:
    """Buffers of one batch lookup, used again for the next. `token` says how far the walk is; the kernel writes it."""

    key_size: int
    value_size: int
    count: int
    keys: Any = None
    values: Any = None
    token: Any = None
    started: bool = False

    def __post_init__(self) -> None:
        self.keys = ctypes.create_string_buffer(self.key_size * self.count)
        self.values = ctypes.create_string_buffer(self.value_size * self.count)
        self.token = ctypes.create_string_buffer(max(self.key_size, 8))


def lookup_batch(fd: int, batch: LookupBatch) -> tuple[int, bool]:
    """Fill the buffers; (entries read, whether that was the end). ENOSPC: one bucket holds more than `count`."""
    count, options = UINT32(batch.count), _BatchOptions(ctypes.sizeof(_BatchOptions), 0, 0)
    begin = batch.token if batch.started else None
    result = library().bpf_map_lookup_batch(
        fd, begin, batch.token, batch.keys, batch.values, ctypes.byref(count), ctypes.byref(options)
    )
    if result < 0 and ctypes.get_errno() == ENOENT:
        return count.value, True
    check(result, "bpf_map_lookup_batch")
    batch.started = True
    return count.value, False


def update_batch(fd: int, keys: bytes, values: bytes, count: int, flags: Update = Update.ANY) -> int:
    """Write `count` entries; how many were written. OSError's `.written` says so on failure."""
    done, options = UINT32(count), _BatchOptions(ctypes.sizeof(_BatchOptions), flags, 0)
    result = library().bpf_map_update_batch(fd, keys, values, ctypes.byref(done), ctypes.byref(options))
    check(result, "bpf_map_update_batch", f"{count} entries ({done.value} written)" if result < 0 else "")
    return done.value
