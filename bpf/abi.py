"""What C and Python share, derived from `include/abi.h`: ctypes structures, enums, constants, and drop reasons.

The law of this file: it defines nothing of its own; every name comes from the header. Type checkers read
`abi.pyi`, which `python -m algate.bpf.stub` writes.

Names: `struct session_key` is `SessionKey`; `STATE_ESTABLISHED` of `enum session_state` is
`SessionState.ESTABLISHED` (its first word is dropped); `enum config_flag` and `enum state_bit` are IntFlags; a last
enumerator `X_COUNT` is a constant, not a member; a field named like a Python keyword gets a `_`
(`ExpectationKey.from_`). `__be32` and `__be16` fields hold memory order: fill them by `ip_to_be32` and `be16`, read
them by `be32_to_ip` and `be16`.
"""

from __future__ import annotations

import ctypes
import enum
import keyword
import sys
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from algate.bpf import layout

INCLUDE = Path(__file__).parent / "include"
HEADER = layout.parse((INCLUDE / "abi.h").read_text())
_REASONS = layout.parse_reasons((INCLUDE / "reasons.def").read_text())
_CTYPES = {
    (1, False): ctypes.c_uint8, (2, False): ctypes.c_uint16, (4, False): ctypes.c_uint32, (8, False): ctypes.c_uint64,
    (1, True): ctypes.c_int8, (2, True): ctypes.c_int16, (4, True): ctypes.c_int32, (8, True): ctypes.c_int64,
}  # fmt: skip
_CODES = {(1, False): "B", (2, False): "H", (4, False): "I", (8, False): "Q",
          (1, True): "b", (2, True): "h", (4, True): "i", (8, True): "q"}  # fmt: skip


class Layout(ctypes.Structure):
    """A struct of abi.h. Build it by keyword; `bytes(it)` is what the kernel sees."""

    FORMAT = ""  # for struct.iter_unpack: every scalar, arrays and nested structs flattened
    NAMES: tuple[str, ...] = ()  # the flattened names in FORMAT's order, as `key.inside_ip` or `packets.0`

    @classmethod
    def unpack(cls, raw: bytes | bytearray | memoryview, offset: int = 0) -> Any:
        """A copy of the struct found at `offset`. Raises ValueError if `raw` is too short."""
        return cls.from_buffer_copy(raw, offset)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and bytes(self) == bytes(other)  # type: ignore[call-overload]

    __hash__ = None  # type: ignore[assignment]  # mutable: use bytes(key) as a dictionary's key

    def __repr__(self) -> str:
        shown = (f"{name}={_plain(getattr(self, name))!r}" for name, *_ in self._fields_)
        return f"{type(self).__name__}({', '.join(shown)})"


def be16(port: int) -> int:
    """A port (or echo id) between host order and the integer that a `__be16` field holds; its own inverse."""
    return int.from_bytes(port.to_bytes(2, "big"), sys.byteorder)


def public_port(session: ctypes.Structure) -> int:
    """The public port (or echo id) of a translated `Session`, host order."""
    return int(session.port_index) & 0xFFFF


def ip_to_be32(address: IPv4Address | str) -> int:
    """The integer that a `__be32` field holds for this address. ValueError if it isn't an IPv4 address."""
    known = address if isinstance(address, IPv4Address) else IPv4Address(address)
    return int.from_bytes(known.packed, sys.byteorder)


def be32_to_ip(value: int) -> IPv4Address:
    """The address in a `__be32` field."""
    return IPv4Address(value.to_bytes(4, sys.byteorder))


def reasons() -> dict[int, tuple[str, str]]:
    """Drop reasons by number: (name as in metrics and the CLI, text for operators)."""
    return dict(_REASONS)


def layout_hash() -> str:
    """16 hex digits that change with declarations, not with comments: pins of another layout are refused."""
    return HEADER.hash


def camel(name: str) -> str:
    """`session_key` -> `SessionKey`."""
    return "".join(word.capitalize() for word in name.split("_"))


def attribute(name: str) -> str:
    """The Python name of a C field."""
    return name + "_" if keyword.iskeyword(name) else name


def members(description: layout.Enum) -> tuple[dict[str, int], dict[str, int]]:
    """(members without their first word, sentinels that become constants). Raises LayoutError on mixed words."""
    inside = {name: value for name, value in description.members.items() if not name.endswith("_COUNT")}
    outside = {name: value for name, value in description.members.items() if name.endswith("_COUNT")}
    if len({name.split("_")[0] for name in inside}) != 1:
        raise layout.LayoutError(f"enum {description.name}: enumerators must share their first word")
    return {name.partition("_")[2]: value for name, value in inside.items()}, outside


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, ctypes.Array) else value


def _structure(description: layout.Struct, known: dict[str, Any]) -> type[Layout]:
    fields: list[tuple[str, Any]] = []
    codes, names = "", []
    for field in description.fields:
        scalar = layout.SCALARS.get(field.kind)
        kind: Any = _CTYPES[scalar] if scalar else known[camel(field.kind)]
        name = attribute(field.name)
        fields.append((name, kind if field.count is None else kind * field.count))
        for index in range(1 if field.count is None else field.count):
            path = name if field.count is None else f"{name}.{index}"
            codes += _CODES[scalar] if scalar else kind.FORMAT[1:]
            names += [path] if scalar else [f"{path}.{inner}" for inner in kind.NAMES]
    body = {"_fields_": fields, "FORMAT": "=" + codes, "NAMES": tuple(names), "__module__": __name__}
    made = type(camel(description.name), (Layout,), body | {"__doc__": f"struct {description.name} of abi.h"})
    if ctypes.sizeof(made) != description.size:
        sizes = f"{ctypes.sizeof(made)} bytes in ctypes, {description.size} in C"
        raise layout.LayoutError(f"struct {description.name}: {sizes}")
    return made


def _define(space: dict[str, Any]) -> None:
    space.update(HEADER.constants)
    for description in HEADER.enums.values():
        inside, outside = members(description)
        base: Any = enum.IntFlag if description.flags else enum.IntEnum
        space[camel(description.name)] = base(camel(description.name), inside, module=__name__)
        space.update(outside)
    for struct in HEADER.structs.values():
        space[camel(struct.name)] = _structure(struct, space)


_define(globals())
