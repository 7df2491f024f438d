"""libbcc, loaded by its Python package: a map made, a program loaded, and why the kernel refused it.

The law of this file: descriptors and raw bytes; it knows no program of algate's. bcc is imported inside functions only.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
from collections.abc import Iterator

from algate.bpf.compiler import MapSpec
from algate.bpf.errors import FAILED, UNSUPPORTED, AlgateError

SCHED_CLS, XDP = 3, 6  # enum bpf_prog_type
LICENCE = b"GPL"
LOG_SIZE = 1 << 20


@functools.cache
def library() -> ctypes.CDLL:
    """At the first call. Its calls return a descriptor or set errno."""
    try:
        import bcc.libbcc
    except ImportError:
        raise AlgateError("Python package bcc is missing: apt-get install python3-bpfcc", UNSUPPORTED) from None
    loaded = ctypes.CDLL(bcc.libbcc.lib._name, use_errno=True)
    text, number, size = ctypes.c_char_p, ctypes.c_int, ctypes.c_uint
    loaded.bcc_create_map.argtypes = [number, text, number, number, number, number]
    loaded.bcc_prog_load.argtypes = [number, text, ctypes.c_void_p, size, text, size, number, ctypes.c_void_p, size]
    return loaded


def create_map(spec: MapSpec, size: int) -> int:
    """A descriptor of a new map. AlgateError."""
    fd = library().bcc_create_map(spec.kind, spec.name[:15].encode(), spec.key_size, spec.value_size, size, spec.flags)
    if fd < 0:
        code = ctypes.get_errno()
        raise AlgateError(f"can't create map {spec.name}: {os.strerror(code)}", _exit_code(code))
    return int(fd)


def load(kind: int, name: str, code: bytes) -> int:
    """A descriptor of a program; AlgateError with the verifier's last line if it is refused."""
    fd = library().bcc_prog_load(kind, name[:15].encode(), code, len(code), LICENCE, 0, 0, None, 0)
    if fd >= 0:
        return int(fd)
    error = ctypes.get_errno()
    room = ctypes.create_string_buffer(LOG_SIZE)
    again = library().bcc_prog_load(kind, name[:15].encode(), code, len(code), LICENCE, 0, 1, room, LOG_SIZE)
    if again >= 0:
        return int(again)
    said = _last_line(room.value.decode(errors="replace")) or os.strerror(error)
    raise AlgateError(f"the kernel refused program {name}: {said}", UNSUPPORTED)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence descriptor 2: libbcc prints the verifier's whole log there; its last line is in the error."""
    saved, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)


def _exit_code(code: int) -> int:
    return UNSUPPORTED if code in (errno.EPERM, errno.EACCES, errno.EINVAL) else FAILED


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("processed ")]
    return lines[-1].strip() if lines else ""
