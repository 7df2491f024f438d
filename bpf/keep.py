"""Programs that outlive their loader, pinned next to the maps: who starts with the same text needs no verifier.

The law of this file: what is pinned is taken only if it is exactly what would be loaded: the kernel's tag, which is a
hash of the instructions, is that of our bytecode, and each program uses the very maps that it would be given. Else it
is loaded anew, and what was pinned is replaced.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path

from algate.bpf import syscall
from algate.bpf.compiler import LOAD_MAP, Artifact

FOLDER = "programs"  # the folder of programs among a gateway's maps
TAG = 8  # bytes
HASHES = ("sha1", "sha256")  # what the kernel makes a tag with, and what it does since Linux 6.18


def maps_of(artifact: Artifact, name: str) -> set[str]:
    """Names of the maps that a program uses."""
    code = artifact.programs[name]
    return {artifact.maps[value].name for _, value in _loads(code)}


def tags(code: bytes) -> set[str]:
    """What the kernel may call such bytecode: its map descriptors don't count."""
    plain = bytearray(code)
    for at, _ in _loads(code):
        plain[at + 4 : at + 8] = plain[at + 12 : at + 16] = bytes(4)
    return {hashlib.new(one, plain).digest()[:TAG].hex() for one in HASHES}


def _loads(code: bytes) -> list[tuple[int, int]]:
    """(offset, value) of each load of a map."""
    found = []
    for at in range(0, len(code), 8):
        opcode, registers, _, value = struct.unpack_from("=BBhi", code, at)
        if opcode == LOAD_MAP and registers >> 4 == 1:
            found.append((at, value))
    return found


class Keep:
    """The folder of a gateway's programs, and of the maps that are of one load (`own`)."""

    def __init__(self, folder: Path, artifact: Artifact, own: tuple[str, ...]) -> None:
        self._folder = folder
        self._artifact = artifact
        self._own = own

    def take(self, maps: Mapping[str, int]) -> dict[str, int] | None:
        """Descriptors of the programs and of their own maps, if what is pinned is what would be loaded. `maps`: the
        others' descriptors by name."""
        found: dict[str, int] = {}
        with contextlib.ExitStack() as undo:
            try:
                for name in (*self._own, *self._artifact.programs):
                    found[name] = syscall.obj_get(self._folder / name)
                    undo.callback(os.close, found[name])
                if not self._same(found, maps):
                    return None
            except OSError:  # none, or not all: whoever pinned them was killed meanwhile
                return None
            undo.pop_all()
        return found

    def _same(self, found: Mapping[str, int], maps: Mapping[str, int]) -> bool:
        ids = {}
        for spec in self._artifact.maps:
            info = syscall.map_info(found[spec.name] if spec.name in self._own else maps[spec.name])
            ids[spec.name] = info.id
            shape = info.type, info.key_size, info.value_size
            if shape != (spec.kind, spec.key_size, spec.value_size):
                return False
        for name, code in self._artifact.programs.items():
            used = {ids[one] for one in maps_of(self._artifact, name)}
            if syscall.prog_info(found[name]).tag not in tags(code) or set(syscall.prog_maps(found[name])) != used:
                return False
        return True

    def put(self, fds: Mapping[str, int]) -> None:
        """Pin these instead of what is there. `fds`: as `take` returns them. OSError if that can't be."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True, mode=0o700)
        for name in (*self._own, *self._artifact.programs):
            syscall.obj_pin(fds[name], self._folder / name)
