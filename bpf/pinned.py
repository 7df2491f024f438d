"""Pinned maps as they are, without a program: of this version's layout, or of another that describes itself.

The law of this file: raw keys and values by the name of a map. It makes no map and pins none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from algate.bpf import syscall
from algate.bpf.description import Description, own
from algate.bpf.errors import AlgateError
from algate.bpf.tables import Codec, PerCpuCounters, Table

SIX = ("addresses6", "allow_in", "allow_in_sources", "askers", "configs6", "handles", "pieces")


class Pinned:
    """The maps in a pin folder. `described`: their layout. A context manager."""

    def __init__(self, folder: Path, described: Description | None = None) -> None:
        self.described = described or own()
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
        held = self.described.maps[name]
        key, value = self.described.size(held.key), self.described.size(held.value)
        return Table(self.fd(name), Codec(key, bytes, bytes), Codec(value, bytes, bytes)).chunks()

    def items(self, name: str) -> Iterator[tuple[bytes, bytes]]:
        """Raw key and value of each entry; none of a map that only a gateway with IPv6 has, where it has none."""
        if name in SIX and not (self._folder / name).exists():
            return
        held = self.described.maps[name]
        k, v = self.described.size(held.key), self.described.size(held.value)
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
