"""Tables of a gateway with given sessions, for what is asked of all of them: they can come, go and move meanwhile."""

from __future__ import annotations

import struct
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import Any, cast

import pytest

from algate.alg.daemon.running import Running
from algate.alg.gateway.pools import Trend
from algate.alg.gateway.whereabouts import Whereabouts
from algate.bpf import abi, syscall, ticks

SESSIONS_FD = 7
S = 1_000_000_000
TCP = 6


class ManySessions:
    """`rows`: sessions by number, changed at will: see `add`. `running` is what the verbs are given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, names: dict[int, str] | None = None) -> None:
        self.rows: dict[bytes, abi.Session] = {}
        self.parents: dict[int, int] = {}
        self.hosts: dict[str, abi.Host] = {}
        self.slots: dict[int, abi.PortSlot] = {}
        self.cells: list[tuple[str, list[int]]] = []
        self.walks = 0
        self.config = abi.Config(public_count=1, port_first=1024, port_last=65535)
        self.config.public_ip[0] = abi.ip_to_be32(IPv4Address("203.0.113.1"))
        self.config.timeouts[:] = [ticks.lasting(1000.0)] * 6
        monkeypatch.setattr(syscall, "lookup", self._lookup)
        monkeypatch.setattr(syscall, "lookups", self._lookups)
        table = SimpleNamespace(
            chunks=self._sessions, fd=SESSIONS_FD, value=SimpleNamespace(size=len(bytes(abi.Session())))
        )
        self.gateway = SimpleNamespace(
            sessions=table, configs=[self.config], six=False, max_sessions=1000,
            hosts=SimpleNamespace(chunks=self._hosts, get=self._host),
            relations=SimpleNamespace(chunks=self._relations), ports=SimpleNamespace(chunks=self._ports), pools=self,
        )  # fmt: skip
        self.trend, self.whereabouts = Trend(), Whereabouts()
        sweeper = SimpleNamespace(trend=self.trend, whereabouts=self.whereabouts)
        self.running = cast(Running, SimpleNamespace(
            gateway=self.gateway, names=names or {1: "ftp"}, sweeper=sweeper,
            forwards=SimpleNamespace(cells=lambda: self.cells),
        ))  # fmt: skip

    def add(self, number: int, inside: str = "10.0.0.1", remote_port: int = 80, **fields: Any) -> abi.Session:
        """A session of `number`: its inside port, and the end of its id. `age`, `idle` in seconds."""
        key = bytes(abi.SessionKey(
            inside_ip=abi.ip_to_be32(IPv4Address(inside)), remote_ip=abi.ip_to_be32(IPv4Address("198.51.100.1")),
            inside_port=abi.be16(number), remote_port=abi.be16(remote_port), proto=fields.pop("proto", TCP),
        ))  # fmt: skip
        age, idle = fields.pop("age", 100.0), fields.pop("idle", 0.0)
        seen = (ticks.now() - (ticks.lasting(idle) if idle else 0)) % ticks.WRAP
        born = time.clock_gettime_ns(time.CLOCK_MONOTONIC) - round(age * S)
        given = {"state": 2 | 256, "id": born - born % 100_000 + number, "last_seen": seen} | fields
        made = self.rows[key] = abi.Session(**given)
        return made

    def id(self, number: int) -> int:
        """Of the session that `add` made."""
        return next(
            row.id for key, row in self.rows.items() if abi.SessionKey.unpack(key).inside_port == abi.be16(number)
        )

    def __getitem__(self, row: int) -> abi.Pool:
        """`pools`: sessions, and ports by block."""
        owned = Counter(at >> 16 for at, slot in self.slots.items() if slot.owner)
        return abi.Pool(used=len(self.rows) if row == abi.POOL_SESSIONS else owned[row])

    def _sessions(self, size: int = 4096) -> Iterator[tuple[bytes, bytes, int]]:
        self.walks += 1
        items = list(self.rows.items())
        for start in range(0, len(items), size):
            some = items[start : start + size]
            yield b"".join(key for key, _ in some), b"".join(bytes(value) for _, value in some), len(some)

    def _relations(self) -> Iterator[tuple[bytes, bytes, int]]:
        number = len(self.parents)
        if number:
            yield struct.pack(f"={number}Q", *self.parents), struct.pack(f"={number}Q", *self.parents.values()), number

    def _hosts(self) -> Iterator[tuple[bytes, bytes, int]]:
        keys = [bytes(abi.MappingKey(inside_ip=abi.ip_to_be32(IPv4Address(ip)))) for ip in self.hosts]
        yield b"".join(keys), b"".join(map(bytes, self.hosts.values())), len(keys)

    def _host(self, key: abi.MappingKey) -> abi.Host | None:
        return self.hosts.get(str(abi.be32_to_ip(key.inside_ip)))

    def _ports(self, size: int = 4096) -> Iterator[tuple[bytes, bytes, int]]:
        for start in range(0, 3 * 65536, size):
            rows = range(start, start + size)
            empty = bytes(abi.PortSlot())
            values = b"".join(bytes(self.slots[row]) if row in self.slots else empty for row in rows)
            yield struct.pack(f"={size}I", *rows), values, size

    def _lookup(self, fd: int, key: bytes, size: int) -> bytes | None:
        return next((value for _, value in self._lookups(fd, [key], size)), None)

    def _lookups(self, fd: int, keys: Iterable[bytes], _size: int) -> Iterator[tuple[bytes, bytes]]:
        assert fd == SESSIONS_FD
        return ((key, bytes(self.rows[key])) for key in keys if key in self.rows)
