"""Programs on a device's own hooks beside the qdiscs (tcx, Linux 6.6): attach, replace, ask, detach.

The law of this file: raw bpf() calls, since Debian 12's libbpf doesn't know them; descriptors and ids, no policy. What
is attached here outlives its process and `tc qdisc del`, needs no pin, and runs before the filters of clsact.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
from collections.abc import Sequence

from algate.bpf import syscall

NUMBER = {"x86_64": 321, "aarch64": 280}  # of bpf(2)
PROG_ATTACH, PROG_DETACH, PROG_GET_FD_BY_ID, PROG_QUERY = 8, 9, 13, 16
INGRESS, EGRESS = 46, 47  # BPF_TCX_*
REPLACE, BEFORE, AFTER, BY_ID = 4, 8, 16, 32  # BPF_F_*
MOST = 64  # programs of a hook; the kernel's own limit
U32, U64 = ctypes.c_uint32, ctypes.c_uint64


class _Attach(ctypes.Structure):
    _fields_ = [
        ("ifindex", U32), ("fd", U32), ("hook", U32), ("flags", U32), ("replaced", U32), ("relative", U32),
        ("revision", U64),
    ]  # fmt: skip


class _Query(ctypes.Structure):
    _fields_ = [
        ("ifindex", U32), ("hook", U32), ("query_flags", U32), ("flags", U32), ("ids", U64), ("count", U32),
        ("pad", U32), ("prog_flags", U64), ("link_ids", U64), ("link_flags", U64), ("revision", U64),
    ]  # fmt: skip


class _ById(ctypes.Structure):
    _fields_ = [("id", U32), ("next", U32), ("flags", U32)]


def _bpf(command: int, about: ctypes.Structure, what: str) -> int:
    """The call's answer; OSError names the call. ENOSYS where its number isn't known."""
    number = NUMBER.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"{what}: no number of bpf(2) for {platform.machine()}")
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = libc.syscall(ctypes.c_long(number), command, ctypes.byref(about), ctypes.sizeof(about))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def attached(ifindex: int, hook: int) -> list[int] | None:
    """Ids of the programs on one hook of a device, in the order of running; None where the kernel has no such hook.
    OSError ENODEV: no such device."""
    room = (U32 * MOST)()
    asked = _Query(ifindex=ifindex, hook=hook, ids=ctypes.addressof(room), count=MOST)
    try:
        _bpf(PROG_QUERY, asked, "asking for programs")
    except OSError as error:
        if error.errno == errno.ENOENT:
            return []
        if error.errno in (errno.EINVAL, errno.ENOSYS):
            return None
        raise
    return list(room[: asked.count])


def attach(ifindex: int, hook: int, fd: int, former: int | None) -> None:
    """Attach, at egress before all others and at ingress behind them, or put it in the place of the program with the id
    `former`, with no gap between.

    OSError EINVAL: the kernel has no such hook."""
    fresh = _Attach(ifindex=ifindex, fd=fd, hook=hook, flags=BEFORE if hook == EGRESS else AFTER)
    if former is None:
        _bpf(PROG_ATTACH, fresh, "attaching a program")
        return
    if syscall.prog_info(fd).id == former:
        return
    with contextlib.closing(_Program(former)) as old:
        if old.fd >= 0:
            asked = _Attach(ifindex=ifindex, fd=fd, hook=hook, flags=REPLACE, replaced=old.fd)
            _bpf(PROG_ATTACH, asked, "replacing a program")
            return
    # Without CAP_SYS_ADMIN there is no descriptor for an id: the new one first, then the old one goes, by its id.
    _bpf(PROG_ATTACH, fresh, "attaching a program")
    detach(ifindex, hook, former)


def detach(ifindex: int, hook: int, program: int) -> None:
    """Take off the program with that id. OSError ENOENT: it isn't there."""
    with contextlib.closing(_Program(program)) as one:
        if one.fd >= 0:
            _bpf(PROG_DETACH, _Attach(ifindex=ifindex, fd=one.fd, hook=hook), "detaching a program")
            return
    ids = attached(ifindex, hook) or []
    if program not in ids:
        raise OSError(errno.ENOENT, "detaching a program: it isn't there")
    _bpf(PROG_DETACH, _detach_at(ifindex, hook, ids, program), "detaching a program")


def _detach_at(ifindex: int, hook: int, ids: Sequence[int], program: int) -> _Attach:
    """Without a descriptor it is named by its place: the first, or the one behind another."""
    place = ids.index(program)
    if place == 0:
        return _Attach(ifindex=ifindex, hook=hook, flags=BEFORE)
    return _Attach(ifindex=ifindex, hook=hook, flags=AFTER | BY_ID, relative=ids[place - 1])


class _Program:
    """A descriptor for a program's id, -1 if there may be none."""

    def __init__(self, program: int) -> None:
        try:
            self.fd = by_id(program)
        except OSError:
            self.fd = -1

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


def by_id(program: int) -> int:
    """A new descriptor for a loaded program; the caller closes it. OSError EPERM without CAP_SYS_ADMIN."""
    return _bpf(PROG_GET_FD_BY_ID, _ById(id=program), "looking up a program")
