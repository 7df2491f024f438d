"""Where what another gateway is told stands in the kernel's structs: read without unpacking them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from algate.alg.gateway import records
from algate.alg.helper import raw_tables
from algate.alg.helper.executor import Executor
from algate.bpf import abi

pytestmark = pytest.mark.unit


def test_numbers_are_read_where_they_are() -> None:
    session = bytes(abi.Session(id=0x1122334455667788, port_index=0x00020400, state=3))
    assert raw_tables._of(session, raw_tables.ID, raw_tables.END_ID) == records.unpack_session(session).id
    assert raw_tables._of(session, raw_tables.ROW, raw_tables.END_ROW) == 0x00020400
    track = bytes(abi.Track(id=77))
    assert raw_tables._of(track, raw_tables.OWNER, raw_tables.END_OWNER) == records.unpack_track(track)[0] == 77
    expected = bytes(abi.Expectation(id=9, port_index=0x10500))
    assert raw_tables._of(expected, raw_tables.EXPECTED, raw_tables.END_EXPECTED) == 0x10500


def test_the_port_of_a_session_is_read_once_for_each_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command waits for each reading; a start counts a port's references anew, and its owner stays."""
    asked = list[bytes]()

    def lookup(_: int, key: bytes, size: int) -> bytes:
        asked.append(key)
        return bytes(size)

    monkeypatch.setattr("algate.bpf.syscall.lookup", lookup)
    monkeypatch.setattr("algate.alg.helper.takeover.read", lambda *_: SimpleNamespace(data=[], controls=[], held={}))
    monkeypatch.setattr(raw_tables, "Addresses", lambda _: None)
    monkeypatch.setattr("algate.bpf.syscall.map_info", lambda _: SimpleNamespace(key_size=4, value_size=4))
    monkeypatch.setattr("algate.bpf.syscall.next_key", lambda *_: None)
    table: Any = SimpleNamespace(fd=0, key=SimpleNamespace(size=4), value=SimpleNamespace(size=16), items=lambda: (),
                                 chunks=lambda: ())  # fmt: skip
    gateway: Any = SimpleNamespace(sessions=table, tracks=table, ports=table, expectations=table, adjusts=table,
                                   map_fd=lambda _: 0)  # fmt: skip
    parts: Any = gateway, None, None, lambda _: True, lambda _: None
    tables = raw_tables.RawTables(gateway, Executor(*parts), lambda: False)
    session = bytes(raw_tables.KEY) + bytes(abi.Session(id=5, port_index=1029))
    first, again = tables.port(session), tables.port(session)
    assert first is not None and again is None and len(asked) == 1
    assert tables.everything() == []
    assert tables.port(session) == first
