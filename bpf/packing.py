"""Structs of abi.h as raw bytes, fast: a whole one by `struct.Struct`, or one field of many entries by a stride.

The law of this file: offsets come only from the header, by field names. `abi.py` has the same structs as ctypes, which
are easier to use and several times slower.
"""

from __future__ import annotations

import functools
import struct
import sys
from collections.abc import Callable

from algate.bpf import abi, layout


def packing(name: str, fields: str) -> struct.Struct:
    """The struct without padding. Fields in network order, nested structs and arrays of bytes come as bytes.

    `fields`: all names in order, as the caller packs and unpacks them. LayoutError if the header has others.
    """
    described = abi.HEADER.structs[name]
    found = " ".join(one.name for one in described.fields if not one.name.startswith("pad"))
    if found != fields:
        raise layout.LayoutError(f"struct {name} has the fields {found!r}, not {fields!r}")
    return struct.Struct("=" + "".join(_code(one) for one in described.fields))


def _code(field: layout.Field) -> str:
    size, signed = layout.SCALARS.get(field.kind) or (abi.HEADER.structs[field.kind].size, False)
    if field.name.startswith("pad"):
        return f"{size * (field.count or 1)}x"
    if not field.kind.startswith(("__u", "__s")) or (size == 1 and field.count):
        return f"{size * (field.count or 1)}s"
    return _number(size, signed) * (field.count or 1)


def _number(size: int, signed: bool) -> str:
    code = {1: "b", 2: "h", 4: "i", 8: "q"}[size]
    return code if signed else code.upper()


@functools.cache
def _place(name: str, field: str) -> tuple[int, int, int]:
    """A field's offset and size, and the size of its struct."""
    described = abi.HEADER.structs[name]
    one = next(one for one in described.fields if one.name == field)
    return one.offset, layout.SCALARS[one.kind][0], described.size


def spot(name: str, field: str, place: int = 0) -> tuple[int, str]:
    """Where a field is in its struct, of an array what is at `place`, and its code as `struct` has it; ">H" for 16 bits
    in network order. An address keeps the order that it has in memory."""
    offset, size, _ = _place(name, field)
    kind = next(one.kind for one in abi.HEADER.structs[name].fields if one.name == field)
    return offset + place * size, ">H" if kind == "__be16" else _number(size, False)


def entry(name: str, raw: bytes, number: int) -> bytes:
    """One of many structs laid end to end."""
    size = abi.HEADER.structs[name].size
    return raw[number * size : (number + 1) * size]


def native(number: int, size: int) -> bytes:
    """A number in so many bytes, as the kernel has it in memory."""
    return int(number).to_bytes(size, sys.byteorder)


def from_native(raw: bytes) -> int:
    """The inverse."""
    return int.from_bytes(raw, sys.byteorder)


def picker(name: str, field: str) -> Callable[[bytes], int]:
    """A function that reads one number of the struct at the start of bytes; 0 if they are too short for it."""
    described = abi.HEADER.structs[name]
    one = next(one for one in described.fields if one.name == field)
    whole = struct.Struct(f"={one.offset}x{_number(*layout.SCALARS[one.kind])}")
    unpack, size = whole.unpack_from, whole.size
    return lambda raw: unpack(raw)[0] if len(raw) >= size else 0


def octets(name: str, field: str, raw: bytes, byte: int = 0) -> bytes:
    """One byte of a field of each struct in `raw`: by default the lowest one."""
    offset, size, stride = _place(name, field)
    return raw[offset + (byte if sys.byteorder == "little" else size - 1 - byte) :: stride]


def numbers(name: str, field: str, raw: bytes, signed: bool = False, place: int = 0) -> list[int]:
    """A field of each struct in `raw`; of an array, what is at `place`."""
    offset, size, stride = _place(name, field)
    offset += place * size
    whole = memoryview(raw).cast(_number(size, signed))  # type: ignore[call-overload]
    found: list[int] = whole[offset // size :: stride // size].tolist()
    return found
