"""A layout that describes itself: what a pin folder's maps hold, pinned next to them, for another version to read.

The law of this file: text and structs, one map of bytes. It knows no entry and converts none. Enumerators keep their
numbers for ever (abi.h), so a field of the same name means the same in every version.
"""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

from algate.bpf import abi, layout, syscall
from algate.bpf.contents import Contents, contents
from algate.bpf.errors import AlgateError
from algate.bpf.pins import names

FORMAT = 1
PIN = "layout"
ARRAY = 2  # enum bpf_map_type
PART = "-part"  # of a folder that is being filled
ROOM = 1 << 16  # bytes; the text of abi.h takes 11,000, compressed
_NUMBERS = {"u32": ("__u32", 4), "u64": ("__u64", 8)}


@dataclass(frozen=True)
class Description:
    """`header`: the structs; `maps`: what is in which map."""

    hash: str
    header: layout.AbiHeader
    maps: dict[str, Contents]

    def fields(self, name: str) -> tuple[layout.Field, ...]:
        """The fields of a struct; of a plain number one without a name."""
        if name in _NUMBERS:
            return (layout.Field("", _NUMBERS[name][0], None, 0),)
        return tuple(one for one in self.header.structs[name].fields if not one.name.startswith("pad"))

    def size(self, name: str) -> int:
        """Bytes of a struct or number."""
        return _NUMBERS[name][1] if name in _NUMBERS else self.header.structs[name].size

    def width(self, kind: str) -> int:
        """Bytes of one field of that kind."""
        return layout.SCALARS[kind][0] if kind in layout.SCALARS else self.header.structs[kind].size


def own() -> Description:
    """This version's."""
    return Description(abi.layout_hash(), abi.HEADER, contents())


def keep(folder: Path) -> int:
    """Pin this version's description next to its maps, unless it is there; a descriptor of it."""
    if (folder / PIN).exists():
        return syscall.obj_get(folder / PIN)
    text = json.dumps({"format": FORMAT, "header": (abi.INCLUDE / "abi.h").read_text(), "maps": contents()})
    packed = zlib.compress(text.encode(), 9)
    fd = syscall.create(ARRAY, PIN, 4, ROOM, 1)
    try:
        syscall.update(fd, bytes(4), (len(packed).to_bytes(4, "little") + packed).ljust(ROOM, b"\0"))
        syscall.obj_pin(fd, folder / PIN)
    except OSError as error:
        os.close(fd)
        raise AlgateError(f"can't pin {folder / PIN}: {error.strerror}") from None
    return fd


def read(folder: Path) -> Description | None:
    """The description in a pin folder; None if there is none that this version understands."""
    if folder.name == abi.layout_hash():
        return own()
    try:
        fd = syscall.obj_get(folder / PIN)
    except OSError:
        return None
    try:
        raw = syscall.lookup(fd, bytes(4), syscall.map_info(fd).value_size) or b""
    finally:
        os.close(fd)
    return parse(raw[4 : 4 + int.from_bytes(raw[:4], "little")], folder.name)


def parse(packed: bytes, name: str) -> Description | None:
    """What `keep` stored; None if it can't be understood."""
    try:
        data = json.loads(zlib.decompress(packed))
        if data["format"] != FORMAT:
            return None
        maps = {one: Contents(*words) for one, words in data["maps"].items()}
        return Description(name, layout.parse(data["header"]), maps)
    except (zlib.error, ValueError, KeyError, TypeError):
        return None


def others(base: Path) -> list[Path]:
    """The folders of other layouts in a gateway's pin folder."""
    mine = abi.layout_hash()
    return sorted(base / one for one in names(base) if one != mine and not one.endswith(PART))


def readable(folder: Path, run_dir: Path) -> Description:
    """The description of another version's maps, or AlgateError that says what to do about the gateway of `run_dir`."""
    found = read(folder)
    if found is None:
        raise AlgateError(
            f"{folder} holds the maps of another version of algate, which doesn't describe them: export their sessions"
            " with that version (`algate export FILE`), or end them with"
            f" `algate down --purge --run-dir {run_dir}`, then start again"
        )
    return found
