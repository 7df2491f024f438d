"""The few calls of the kernel that the helper makes for every line: an entry of a map, a request, a frame.

The law of this file: descriptors and bytes in, bytes out, nothing decided or kept. calls.c says the same in C: where a
compiler made it (setup.py), Python imports that instead. The same tests run on both (tests/bpf/test_calls.py). Through
ctypes a call takes 1 to 8 µs more, and a session by PORT makes thirty.
"""

from __future__ import annotations

import ctypes
import os

from algate.bpf.libbpf import ENOENT, check, library
from algate.bpf.testrun import run


def lookup(fd: int, key: bytes, value_size: int) -> bytes | None:
    """The value, or None. `value_size` is that of all CPUs together for a per-CPU map."""
    value = ctypes.create_string_buffer(value_size)
    result = library().bpf_map_lookup_elem(fd, key, value)
    if result < 0:
        if ctypes.get_errno() == ENOENT:
            return None
        check(result, "bpf_map_lookup_elem")
    return value.raw


def update(fd: int, key: bytes, value: bytes, flags: int = 0) -> None:
    """Write an entry; `flags` as in syscall.Update. FileExistsError for CREATE if the key exists; OSError E2BIG if the
    map is full."""
    result = library().bpf_map_update_elem(fd, key, value, flags)
    if result < 0:
        check(result, "bpf_map_update_elem")


def delete(fd: int, key: bytes) -> bool:
    """Delete a key; whether it was there."""
    result = library().bpf_map_delete_elem(fd, key)
    if result < 0 and ctypes.get_errno() == ENOENT:
        return False
    check(result, "bpf_map_delete_elem")
    return True


def request(fd: int, data: bytes) -> bytes:
    """Run a program over `data` as its packet, once; what it made of it, as long as `data`."""
    return run(fd, data, room=len(data)).data


def send(fd: int, head: bytes, frame: bytes) -> bool:
    """Write head and frame as one to a device. False if it doesn't take them."""
    try:
        os.write(fd, head + frame)
    except OSError:
        return False
    return True
