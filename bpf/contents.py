"""What each pinned map holds.

The law of this file: names of maps and of the structs in them come from maps.h.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from algate.bpf import abi

_LINE = re.compile(r'^PINNED(?:_LAZY)?\("(\w+)", (?:struct )?(\w+), (?:struct )?(\w+), (\w+),', re.MULTILINE)


class Contents(NamedTuple):
    """`kind` as BCC names it; `key` and `value`: a struct of abi.h, "u32" or "u64"."""

    kind: str
    key: str
    value: str


@functools.cache
def contents() -> dict[str, Contents]:
    """Map -> what is in it, of every pinned map but the queue."""
    text = (abi.INCLUDE / "maps.h").read_text()
    return {name: Contents(kind, key, value) for kind, key, value, name in _LINE.findall(text)}
