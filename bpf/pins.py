"""Where maps outlive the daemon: the bpffs, with one folder per gateway, and in that one folder per layout.

The law of this file: paths and bpffs only. A pin folder holds `<layout hash>/<map>`; another hash in it means maps of
another version, which a new program must not touch.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
from pathlib import Path

from algate.bpf import abi
from algate.bpf.errors import UNSUPPORTED, AlgateError

BPFFS = Path("/sys/fs/bpf")
DEFAULT_RUN_DIR = Path("/run/algate")
BPFFS_MAGIC = 0xCAFE4A11


def is_bpffs(path: Path) -> bool:
    """Whether a bpffs is mounted at exactly this path."""
    room = ctypes.create_string_buffer(256)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.statfs(os.fsencode(path), room) != 0:
        return False
    return int.from_bytes(room.raw[:8], "little") & 0xFFFFFFFF == BPFFS_MAGIC


def bpffs() -> Path:
    """The bpffs to pin in, mounted if necessary.

    `ip netns exec` gives a command a private /sys without it: then process 1's is used, through /proc, so that the
    pins outlive the command. AlgateError (exit code 3) says how to mount it.
    """
    for path in (BPFFS, Path("/proc/1/root/sys/fs/bpf")):
        if is_bpffs(path):
            return path
    libc = ctypes.CDLL(None, use_errno=True)
    if BPFFS.is_dir() and libc.mount(b"bpf", os.fsencode(BPFFS), b"bpf", 0, None) == 0:
        return BPFFS
    raise AlgateError(f"no bpffs: mount it with `mount -t bpf bpf {BPFFS}`", UNSUPPORTED)


def folder(run_dir: Path) -> Path:
    """The pin folder that belongs to a run directory."""
    where = run_dir.absolute()
    name = "algate" if where == DEFAULT_RUN_DIR else f"algate-{hashlib.sha256(os.fsencode(where)).hexdigest()[:12]}"
    return bpffs() / name


def version_folder(run_dir: Path) -> Path:
    """The folder of this version's maps, created if needed. AlgateError if there are another version's maps."""
    base = folder(run_dir)
    own = base / abi.layout_hash()[:16]
    others = [one.name for one in base.iterdir() if one.name != own.name] if base.is_dir() else []
    if others:
        raise AlgateError(
            f"{base} holds the maps of another version of algate ({', '.join(sorted(others))}): end its sessions with"
            f" `algate down --purge --run-dir {run_dir}`, then start again"
        )
    try:
        own.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise AlgateError(f"can't make {own}: {error.strerror}", UNSUPPORTED) from None
    return own


def remove(run_dir: Path) -> None:
    """Unpin everything of a gateway, of any version."""
    shutil.rmtree(folder(run_dir), ignore_errors=True)
