"""Many sessions, or rows of `ports`, as one entry: a million one by one are seconds of Python at each end.

The law of this file: how they are laid out, end to end, each as it is in an entry of its own. What a walk reads as two
columns is woven together, and told apart, by strides and not by a step for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from algate.bpf import abi
from algate.bpf.packing import from_native, native

from .entries import PAGE, Entry, EntryKind

KEY, VALUE = abi.HEADER.structs["session_key"].size, abi.HEADER.structs["session"].size
SESSION = KEY + VALUE
SLOT = abi.HEADER.structs["port_slot"].size
_WORD = 8
_ROW = 4
HEAD = 64  # bytes of a page that its entries' own heads take


def woven(keys: bytes, values: bytes) -> bytes:
    """Keys and values of a walk, each key with its value."""
    made = bytearray(len(keys) + len(values))
    words, step = memoryview(made).cast("Q"), SESSION // _WORD
    for column, width, start in ((keys, KEY // _WORD, 0), (values, VALUE // _WORD, KEY // _WORD)):
        view = memoryview(column).cast("Q")
        for at in range(width):
            words[start + at :: step] = view[at::width]
    return bytes(made)


def sessions(raw: bytes) -> Iterator[Entry]:
    """Woven sessions, as entries that fit into a page each."""
    room = (PAGE - HEAD) // SESSION * SESSION
    for at in range(0, len(raw), room):
        yield Entry(EntryKind.SESSIONS, b"", raw[at : at + room])


def ports(slots: Iterable[tuple[int, bytes]]) -> Iterator[Entry]:
    """Rows of `ports`, the same."""
    raw = b"".join(native(row, _ROW) + slot for row, slot in slots)
    room = (PAGE - HEAD) // (_ROW + SLOT) * (_ROW + SLOT)
    for at in range(0, len(raw), room):
        yield Entry(EntryKind.PORTS, b"", raw[at : at + room])


def ids(raw: bytes) -> list[int]:
    """Of woven sessions."""
    return memoryview(raw).cast("Q")[KEY // _WORD :: SESSION // _WORD].tolist()


def apart(raw: bytes) -> list[bytes]:
    """Woven sessions, each by itself."""
    return [raw[at : at + SESSION] for at in range(0, len(raw), SESSION)]


def slots(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """The inverse of `ports`."""
    for at in range(0, len(raw), _ROW + SLOT):
        yield from_native(raw[at : at + _ROW]), raw[at + _ROW : at + _ROW + SLOT]
