"""What each pinned map holds, and pinned maps as they are, without a program.

The law of this file: names of maps and of the structs in them come from maps.h, sizes from abi.h. It makes no map and
pins none.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

from algate.bpf import abi, layout, syscall
from algate.bpf.errors import AlgateError
from algate.bpf.tables import Codec, PerCpuCounters, Table

_LINE = re.compile(r'^PINNED(?:_LAZY)?\("(\w+)", (?:struct )?(\w+), (?:struct )?(\w+), (\w+),', re.MULTILINE)
_NUMBERS = {"u32": 4, "u64": 8}


class Contents(NamedTuple):
    """`kind` as BCC names it; `key` and `value`: a struct of abi.h, "u32" or "u64"."""

    kind: str
    key: str
    value: str


@functools.cache
def contents() -> dict[str, Contents]:
    """Map -> what is in it, of every pinned map but the queue."""
    text = (abi.INCLUDE / "maps.h").read_text()
    return {name: Contents(kind, key, value) for kind, key, value, name in _LINE.findall(text)}


def size(name: str, header: layout.AbiHeader = abi.HEADER) -> int:
    """Bytes of a struct or number."""
    return _NUMBERS.get(name) or header.structs[name].size


class Pinned:
    """The maps in a pin folder of this version's layout. A context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fds: dict[str, int] = {}

    def fd(self, name: str) -> int:
        """AlgateError if it isn't there."""
        if name not in self._fds:
            try:
                self._fds[name] = syscall.obj_get(self._folder / name)
            except OSError as error:
                raise AlgateError(f"can't open the pinned map {self._folder / name}: {error.strerror}") from None
        return self._fds[name]

    def chunks(self, name: str) -> Iterator[tuple[bytes, bytes, int]]:
        """(keys, values, entries) of one walk, a batch at a time."""
        held = contents()[name]
        return Table(self.fd(name), _raw(size(held.key)), _raw(size(held.value))).chunks()

    def items(self, name: str) -> Iterator[tuple[bytes, bytes]]:
        """Raw key and value of each entry."""
        held = contents()[name]
        k, v = size(held.key), size(held.value)
        for keys, values, count in self.chunks(name):
            for at in range(count):
                yield keys[at * k : at * k + k], values[at * v : at * v + v]

    def counters(self, name: str) -> list[int]:
        """The rows of an array with a counter for each CPU, summed."""
        return PerCpuCounters(self.fd(name)).sums()

    def close(self) -> None:
        """Give up descriptors; the pins stay."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _raw(width: int) -> Codec[bytes]:
    return Codec(width, bytes, bytes)
