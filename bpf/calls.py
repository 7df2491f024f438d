"""The few calls of the kernel that the helper makes for every line: an entry of a map, a request, a frame, an answer.

The law of this file: descriptors and bytes in, bytes out, nothing decided or kept. calls.c says the same in C: where a
compiler made it (setup.py), Python imports that instead. The same tests run on both (tests/bpf/test_calls.py). Through
ctypes a call takes 1 to 8 µs more, and a session by PORT makes thirty.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket

from algate.bpf.libbpf import ENOENT, check, library
from algate.bpf.testrun import run

HEARD = 16384  # bytes that are read at once


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


def hear(fd: int, seconds: float, others: list[int]) -> tuple[bytes | None, bool]:
    """What comes from a socket within this time, b"" at its end, None if nothing does, and whether one of the `others`,
    descriptors, has something to be read, which ends the wait too. OSError of the socket's. In C it doesn't sleep for
    the first 60 µs, and lets whoever else wants the CPU go first: to be woken takes as long as the answer does."""
    try:
        ready = select.select([fd, *others], (), (), seconds)[0]
    except ValueError:  # select() knows no such high descriptor
        return None, False
    if fd not in ready:
        return None, bool(ready)
    with socket.socket(fileno=os.dup(fd)) as near:
        try:
            return near.recv(HEARD, socket.MSG_DONTWAIT), len(ready) > 1
        except (BlockingIOError, InterruptedError):
            return None, len(ready) > 1
