"""libbpf, loaded by ctypes, and the error that each of its calls stands for.

The law of this file: the library and its complaints; the calls are in syscall.py, calls.py, testrun.py.
"""

from __future__ import annotations

import ctypes
import functools
import os

ENOENT = 2


@functools.cache
def library() -> ctypes.CDLL:
    """libbpf, loaded at the first call. OSError names the package to install."""
    try:
        loaded = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise OSError(error.errno or ENOENT, "libbpf.so.1 is missing: apt-get install libbpf1") from error
    # From 1.0 on libbpf returns -errno and sets errno as well.
    text, number = ctypes.c_char_p, ctypes.c_int
    # declared, a call converts in half the time
    loaded.bpf_map_update_elem.argtypes = (number, text, text, ctypes.c_uint64)
    loaded.bpf_map_lookup_elem.argtypes = (number, text, text)
    loaded.bpf_map_delete_elem.argtypes = (number, text)
    return loaded


def check(result: int, call: str, about: str = "") -> int:
    """`result` of a libbpf call, or the OSError that it stands for."""
    if result < 0:
        number = ctypes.get_errno() or -result
        raise OSError(number, f"{call}{' of ' + about if about else ''}: {os.strerror(number)}")
    return result
