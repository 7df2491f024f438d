"""Reads the subset of C that `abi.h` is written in, and lays it out as the compiler would.

The law of this file: text in, immutable descriptions out; no ctypes, no BPF. The subset: `#define NAME integer`,
`enum`, `struct` of fixed-width scalars, one-dimensional arrays and named structs. Anything else is an error, implicit
padding too: BCC and ctypes silently get such layouts wrong.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

SCALARS = {
    "__u8": (1, False), "__u16": (2, False), "__u32": (4, False), "__u64": (8, False),
    "__s8": (1, True), "__s16": (2, True), "__s32": (4, True), "__s64": (8, True),
    "__be16": (2, False), "__be32": (4, False), "__be64": (8, False),
}  # fmt: skip
_DIRECTIVE = re.compile(r"^[ \t]*#[ \t]*(\w+)(.*)$", re.MULTILINE)
_BLOCK = re.compile(r"\s*(enum|struct)\s+(\w+)\s*\{([^{}]*)\}\s*;")
_FIELD = re.compile(r"(struct\s+)?(\w+)\s+(\w+)\s*(?:\[\s*(\w+)\s*\])?")
_REASON = re.compile(r'^X\((\w+),\s*(\d+),\s*"([^"]*)"\)\s*$', re.MULTILINE)


class LayoutError(ValueError):
    """The header says something that this subset doesn't have; the text names the struct and the field."""


@dataclass(frozen=True, slots=True)
class Field:
    """`kind` is a scalar's C name or a struct's name; `count` is None unless it is an array. `offset` in bytes."""

    name: str
    kind: str
    count: int | None
    offset: int


@dataclass(frozen=True, slots=True)
class Struct:
    name: str
    fields: tuple[Field, ...]
    size: int
    alignment: int


@dataclass(frozen=True, slots=True)
class Enum:
    """Enumerators with their full C names. `flags`: they are powers of two to be combined (`_flag`, `_bit`)."""

    name: str
    members: dict[str, int]
    flags: bool


@dataclass(frozen=True, slots=True)
class AbiHeader:
    constants: dict[str, int]
    enums: dict[str, Enum]
    structs: dict[str, Struct]
    hash: str


def parse(text: str) -> AbiHeader:
    """All that the header declares. Raises LayoutError for text outside the subset and for implicit padding."""
    bare = re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.DOTALL)
    constants = _constants(bare)
    body = _DIRECTIVE.sub("", bare)
    enums: dict[str, Enum] = {}
    structs: dict[str, Struct] = {}
    end = 0
    for block in _BLOCK.finditer(body):
        _nothing(body[end : block.start()])
        kind, name, inner = block.groups()
        if kind == "enum":
            enums[name] = _enum(name, inner, constants)
        else:
            structs[name] = _struct(name, inner, constants, structs)
        end = block.end()
    _nothing(body[end:])
    return AbiHeader(constants, enums, structs, hashlib.sha256(" ".join(bare.split()).encode()).hexdigest()[:16])


def parse_reasons(text: str) -> dict[int, tuple[str, str]]:
    """Drop reasons by number: the name that metrics and the CLI use, and the text for operators."""
    bare = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    found: dict[int, tuple[str, str]] = {}
    for name, number, words in _REASON.findall(bare):
        if int(number) in found:
            raise LayoutError(f"reason {number} is given twice: {found[int(number)][0]}, {name}")
        found[int(number)] = (name.lower().replace("_", "-"), words)
    _nothing(_REASON.sub("", bare))
    return found


def _nothing(text: str) -> None:
    if text.strip():
        raise LayoutError(f"not understood: {' '.join(text.split())[:80]!r}")


def _number(text: str, constants: dict[str, int], where: str) -> int:
    text = text.strip()
    if text in constants:
        return constants[text]
    try:
        return int(text.rstrip("uUlL"), 0)
    except ValueError:
        raise LayoutError(f"{where}: {text!r} is not an integer") from None


def _constants(text: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for directive, rest in _DIRECTIVE.findall(text):
        name, _, value = rest.strip().partition(" ")
        if directive == "define" and value.strip():
            found[name] = _number(value, found, f"#define {name}")
        elif directive not in ("define", "ifndef", "endif", "include"):
            raise LayoutError(f"#{directive} is not part of this subset")
    return found


def _enum(name: str, body: str, constants: dict[str, int]) -> Enum:
    members: dict[str, int] = {}
    value = -1
    for item in filter(None, (part.strip() for part in body.split(","))):
        word, given, number = item.partition("=")
        value = _number(number, constants, f"enum {name}") if given else value + 1
        members[word.strip()] = value
    return Enum(name, members, name.endswith(("_flag", "_bit")))


def _struct(name: str, body: str, constants: dict[str, int], structs: dict[str, Struct]) -> Struct:
    fields: list[Field] = []
    offset, alignment = 0, 1
    for item in filter(None, (part.strip() for part in body.split(";"))):
        match = _FIELD.fullmatch(item)
        if not match:
            raise LayoutError(f"struct {name}: {item!r} is not a plain field")
        nested, kind, field, length = match.groups()
        size, align = _measure(name, kind, bool(nested), structs)
        if offset % align:
            raise LayoutError(f"struct {name}: {align - offset % align} bytes of implicit padding before {field!r}")
        count = None if length is None else _number(length, constants, f"struct {name}, {field}")
        fields.append(Field(field, kind, count, offset))
        offset += size * (1 if count is None else count)
        alignment = max(alignment, align)
    if not fields or offset % alignment:
        raise LayoutError(f"struct {name}: {-offset % alignment} bytes of implicit padding at the end")
    return Struct(name, tuple(fields), offset, alignment)


def _measure(struct: str, kind: str, nested: bool, structs: dict[str, Struct]) -> tuple[int, int]:
    if nested and kind in structs:
        return structs[kind].size, structs[kind].alignment
    if not nested and kind in SCALARS:
        return SCALARS[kind][0], SCALARS[kind][0]
    raise LayoutError(f"struct {struct}: {'struct ' if nested else ''}{kind} is not a fixed-width type known here")
