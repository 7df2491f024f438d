"""Writes `abi.pyi`, so that type checkers know the names that `abi.py` derives from the header.

The law of this file: it only prints what `abi` says; `python -m algate.bpf.stub` runs it.
"""

from __future__ import annotations

from pathlib import Path

from algate.bpf import abi, layout

PATH = Path(__file__).with_name("abi.pyi")
OPENING = '''"""Written by `python -m algate.bpf.stub` from include/abi.h: don't edit."""

import ctypes
import enum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Self

from algate.bpf import layout

INCLUDE: Path
HEADER: layout.AbiHeader

class Layout(ctypes.Structure):
    FORMAT: str
    NAMES: tuple[str, ...]
    @classmethod
    def unpack(cls, raw: bytes | bytearray | memoryview, offset: int = 0) -> Self: ...

def be16(port: int) -> int: ...
def public_port(session: ctypes.Structure) -> int: ...
def ip_to_be32(address: IPv4Address | str) -> int: ...
def be32_to_ip(value: int) -> IPv4Address: ...
def reasons() -> dict[int, tuple[str, str]]: ...
def layout_hash() -> str: ...
def camel(name: str) -> str: ...
def attribute(name: str) -> str: ...
def members(description: layout.Enum) -> tuple[dict[str, int], dict[str, int]]: ...
'''


def text() -> str:
    """The whole stub."""
    lines = [OPENING]
    lines += [f"{name}: int" for name in abi.HEADER.constants]
    for description in abi.HEADER.enums.values():
        lines += _enum(description)
    for struct in abi.HEADER.structs.values():
        lines += _struct(struct)
    return "\n".join(lines) + "\n"


def _enum(description: layout.Enum) -> list[str]:
    inside, outside = abi.members(description)
    base = "IntFlag" if description.flags else "IntEnum"
    lines = ["", f"class {abi.camel(description.name)}(enum.{base}):"]
    lines += [f"    {name} = {value}" for name, value in inside.items()]
    return lines + [f"\n{name}: int" for name in outside]


def _struct(struct: layout.Struct) -> list[str]:
    types = [(abi.attribute(field.name), *_types(field)) for field in struct.fields]
    lines = ["", f"class {abi.camel(struct.name)}(Layout):"]
    lines += [f"    {name}: {kind}" for name, kind, _ in types]
    lines += ["    def __init__(", "        self,", "        *,"]
    lines += [f"        {name}: {given} = ...," for name, _, given in types]
    return [*lines, "    ) -> None: ..."]


def _types(field: layout.Field) -> tuple[str, str]:
    """The type of the attribute, and of the argument that sets it."""
    if field.kind not in layout.SCALARS:
        one = abi.camel(field.kind)
        return (one, one) if field.count is None else (f"ctypes.Array[{one}]",) * 2
    if field.count is None:
        return "int", "int"
    size, signed = layout.SCALARS[field.kind]
    array = f"ctypes.Array[ctypes.c_{'' if signed else 'u'}int{size * 8}]"
    return array, f"{array} | tuple[int, ...]"


if __name__ == "__main__":
    PATH.write_text(text())
    print(PATH)
