"""Every struct of abi.h as `struct.Struct` and by columns is what ctypes makes of the same header."""

from __future__ import annotations

import ctypes

import pytest

from algate.bpf import abi, layout
from algate.bpf.packing import entry, numbers, octets, packing


def fields(name: str) -> str:
    return " ".join(one.name for one in abi.HEADER.structs[name].fields if not one.name.startswith("pad"))


@pytest.mark.parametrize("name", sorted(abi.HEADER.structs))
def test_each_field_is_where_the_header_has_it(name: str) -> None:
    """With bytes that all differ: what `packing` reads in order is what is at ctypes' offsets."""
    kind = getattr(abi, abi.camel(name))
    size = ctypes.sizeof(kind)
    made = packing(name, fields(name))
    assert made.size == size
    raw = bytes(number * 7 % 251 for number in range(size))
    by_ctypes = kind.from_buffer_copy(raw)
    read = list(made.unpack(raw))
    for one in abi.HEADER.structs[name].fields:
        if one.name.startswith("pad"):
            continue
        at = getattr(kind, abi.attribute(one.name))
        value = getattr(by_ctypes, abi.attribute(one.name))
        if isinstance(read[0], bytes):
            assert read.pop(0) == raw[at.offset : at.offset + at.size]
        else:
            for expected in [value] if isinstance(value, int) else list(value):
                assert read.pop(0) == expected
    assert read == []


def test_other_fields_than_the_header_has_are_refused() -> None:
    with pytest.raises(layout.LayoutError, match="struct decision_key"):
        packing("decision_key", "seq id size dir")


def test_columns() -> None:
    made = [abi.Session(id=number << 40, state=number | 256, last_seen=-number & 0xFFFFFFFF) for number in (1, 2, 3)]
    raw = b"".join(bytes(one) for one in made)
    assert octets("session", "state", raw) == b"\1\2\3" and octets("session", "state", raw, 1) == b"\1\1\1"
    assert numbers("session", "id", raw) == [1 << 40, 2 << 40, 3 << 40]
    assert numbers("session", "last_seen", raw, signed=True) == [-1, -2, -3]
    assert entry("session", raw, 1) == bytes(made[1])
