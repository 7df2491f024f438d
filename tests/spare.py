"""Gateways of tests start with what an earlier one loaded: its maps, emptied, and its programs. The verifier takes
three seconds of a processor for those, seven with NAT64: most of what the rungs with many gateways took.

The law of this file: pins and raw maps. A gateway finds the pins as if it had been stopped and started, and takes the
programs only if they are what it would load (bpf/keep.py). Each map is then as a new one, or it isn't lent.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from algate.bpf import abi, description, pins, syscall
from algate.bpf.keep import FOLDER
from algate.bpf.libbpf import library
from algate.bpf.programs import FROM6, PORT_ROWS_LEAST
from algate.bpf.tables import CHUNK, possible_cpus
from algate.cli.lab.gateways import AlgateGateway

ARRAY, PROG_ARRAY, PERF_EVENT_ARRAY, PERCPU_ARRAY, QUEUE = 2, 3, 4, 6, 22  # enum bpf_map_type
BY_START = (PROG_ARRAY, PERF_EVENT_ARRAY)  # each row is written, or emptied, by whoever starts
MOST = 20_000  # entries of a hash: emptying more of them takes longer than loading
KEPT = 2  # of each kind, by one process


@dataclass(frozen=True)
class Kind:
    """What was loaded. `sessions`, `rows`: sizes of the tables of sessions and ports."""

    six: bool
    nat64: bool
    sessions: int
    rows: int

    @staticmethod
    def wanted(config: str) -> Kind:
        """What a gateway with this file loads."""
        file = tomllib.loads(config)
        nat, nat64 = file.get("nat", {}), bool(file.get("nat64", {}).get("prefix"))
        addresses = max(len(nat.get("addresses", ())), PORT_ROWS_LEAST)
        size = nat.get("max_sessions", 1 << 20)
        return Kind(nat64 or file.get("ipv6", {}).get("filter", False), nat64, size, addresses * abi.PORTS_PER_ADDRESS)

    @staticmethod
    def pinned(folder: Path) -> Kind:
        names = set(os.listdir(folder))
        nat64 = (folder / FOLDER / FROM6).exists()
        return Kind("handles" in names, nat64, size(folder, "sessions"), size(folder, "ports"))


def size(folder: Path, name: str) -> int:
    with opened(folder / name) as fd:
        return syscall.map_info(fd).max_entries


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = syscall.obj_get(path)
    try:
        yield fd
    finally:
        os.close(fd)


class FullError(Exception):
    """Too much to empty."""


def wash(fd: int) -> None:
    """Leave a map as a new one is. FullError: that would take long."""
    info = syscall.map_info(fd)
    if info.type in (ARRAY, PERCPU_ARRAY):
        width = info.value_size if info.type == ARRAY else -(-info.value_size // 8) * 8 * possible_cpus()
        for first in range(0, info.max_entries, CHUNK):
            count = min(CHUNK, info.max_entries - first)
            keys = b"".join(row.to_bytes(4, "little") for row in range(first, first + count))
            syscall.update_batch(fd, keys, bytes(width * count), count)
    elif info.type == QUEUE:
        room = ctypes.create_string_buffer(info.value_size)
        while library().bpf_map_lookup_and_delete_elem(fd, None, room) == 0:
            pass
    elif info.type not in BY_START:
        key, found = None, []
        while (key := syscall.next_key(fd, key, info.key_size)) is not None:
            found.append(key)
            if len(found) > MOST:
                raise FullError(info.name)
        for one in found:
            syscall.delete(fd, one)


def wash_all(folder: Path) -> None:
    """Empty a gateway's maps. FullError: they aren't all empty."""
    for pin in (*folder.iterdir(), *(folder / FOLDER).iterdir()):
        if not pin.is_dir() and pin.name != description.PIN:
            with opened(pin) as fd:
                if "bpf-map" in os.readlink(f"/proc/self/fd/{fd}"):
                    wash(fd)


def copy(source: Path, target: Path) -> None:
    """Pin everything of one folder a second time."""
    target.mkdir(parents=True, mode=0o700, exist_ok=True)
    for pin in source.iterdir():
        if pin.is_dir():
            copy(pin, target / pin.name)
        else:
            with opened(pin) as fd:
                syscall.obj_pin(fd, target / pin.name)


class Spares:
    """Of one process of tests."""

    def __init__(self) -> None:
        self._folder = pins.bpffs() / f"ag-spare-{secrets.token_hex(4)}"
        self._free: dict[Kind, list[Path]] = {}

    def lend(self, run_dir: Path, config: str) -> None:
        """Put what there is of that kind where the gateway of `run_dir` finds it."""
        free = self._free.get(Kind.wanted(config), [])
        while free and not pins.exists(run_dir):
            spare = free.pop()
            with contextlib.suppress(FullError):
                wash_all(spare)
                copy(spare, pins.version_folder(run_dir))
            shutil.rmtree(spare)

    @contextlib.contextmanager
    def keeping(self, run_dir: Path) -> Iterator[None]:
        """Keep what is pinned for `run_dir` while it is purged."""
        source, spare = pins.folder(run_dir) / abi.layout_hash(), self._folder / secrets.token_hex(4)
        free = self._free.setdefault(Kind.pinned(source), []) if (source / FOLDER).is_dir() else []
        if len(free) >= KEPT or not (source / FOLDER).is_dir():
            yield
            return
        copy(source, spare)
        free.append(spare)
        yield

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


@contextlib.contextmanager
def lending() -> Iterator[Spares]:
    """Every AlgateGateway of this process starts with what an earlier one loaded."""
    before, made = AlgateGateway.spares, Spares()
    AlgateGateway.spares = made
    try:
        yield made
    finally:
        AlgateGateway.spares = before
        made.close()


def programs(folder: Path) -> dict[str, int]:
    """Ids of the programs that are pinned among a gateway's maps."""
    found = {}
    for pin in (folder / FOLDER).iterdir():
        with opened(pin) as fd:
            if "bpf-prog" in os.readlink(f"/proc/self/fd/{fd}"):
                found[pin.name] = syscall.prog_info(fd).id
    return found
