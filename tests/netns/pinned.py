"""A gateway's pinned maps, read without the daemon.

The law of this file: it counts entries and changes nothing; it checks the daemon's own listings.
"""

from __future__ import annotations

import os
from pathlib import Path

from algate.bpf import abi, pins, syscall

LISTED = ("sessions", "mappings", "expectations", "decisions", "replacements", "held", "adjusts", "tracks")


def entries(run_dir: Path) -> dict[str, int]:
    """Map name -> number of entries, for the hash maps."""
    return {name: _count(run_dir, name) for name in LISTED}


def _count(run_dir: Path, name: str) -> int:
    fd = syscall.obj_get(pins.folder(run_dir) / abi.layout_hash() / name)
    try:
        size = syscall.map_info(fd).key_size
        key, number = syscall.next_key(fd, None, size), 0
        while key is not None:
            number += 1
            key = syscall.next_key(fd, key, size)
        return number
    finally:
        os.close(fd)
