"""A kernel's tables without a kernel: `algate.bpf.syscall` on dictionaries."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from algate.bpf import abi, syscall
from algate.bpf.syscall import MapInfo, Update
from algate.bpf.tables import U64, Table, layout


class Tables:
    """The tables of a gateway that the helper reads and writes, by the names that `Gateway` gives them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._entries: list[dict[bytes, bytes]] = []
        self._info: list[MapInfo] = []
        for name in ("map_info", "lookup", "update", "delete", "delete_all", "next_key", "lookup_batch"):
            fake: Callable[..., Any] = getattr(self, f"_{name}")
            monkeypatch.setattr(syscall, name, fake)
        self.sessions = self._table(abi.SessionKey, abi.Session)
        self.expectations = self._table(abi.ExpectationKey, abi.Expectation)
        self.decisions = self._table(abi.DecisionKey, abi.Decision)
        self.replacements = self._table(abi.DecisionKey, abi.Replacement)
        self.held = self._table(abi.DecisionKey, abi.Replacement)
        self.tracks = self._table(abi.SessionKey, abi.Track)
        self.adjusts = self._table(abi.SessionKey, abi.Adjust)
        self.relations = self._table(U64, U64)
        self.beginnings = self._table(U64, abi.Beginning)

    def _table(self, *types: Any) -> Table[Any, Any]:
        codecs = [one if one is U64 else layout(one) for one in types]
        self._entries.append({})
        self._info.append(MapInfo(1, 0, codecs[0].size, codecs[1].size, 1000, 0, "table"))
        return Table(len(self._entries) - 1, *codecs)

    def _map_info(self, fd: int) -> MapInfo:
        return self._info[fd]

    def _lookup(self, fd: int, key: bytes, _size: int) -> bytes | None:
        return self._entries[fd].get(key)

    def _update(self, fd: int, key: bytes, value: bytes, flags: Update = Update.ANY) -> None:
        assert (len(key), len(value)) == (self._info[fd].key_size, self._info[fd].value_size)
        if flags is Update.EXISTING and key not in self._entries[fd]:
            raise FileNotFoundError
        self._entries[fd][key] = value

    def _delete(self, fd: int, key: bytes) -> bool:
        return self._entries[fd].pop(key, None) is not None

    def _delete_all(self, fd: int, keys: list[bytes]) -> None:
        for key in keys:
            self._delete(fd, key)

    def _next_key(self, fd: int, key: bytes | None, _size: int) -> bytes | None:
        keys = list(self._entries[fd])
        place = 0 if key is None else keys.index(key) + 1
        return keys[place] if place < len(keys) else None

    def _lookup_batch(self, _fd: int, _batch: object) -> tuple[int, bool]:
        raise OSError(errno.EINVAL, "no batches here")
