"""Where maps outlive the daemon: the bpffs, with one folder per gateway, and in that one folder per layout.

The law of this file: paths and bpffs only. A pin folder holds `<layout hash>/<map>`; another hash in it means maps of
another version, which a new program must not use.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import shutil
from pathlib import Path

from algate.bpf import abi
from algate.bpf.errors import UNSUPPORTED, AlgateError

BPFFS = Path("/sys/fs/bpf")
DEFAULT_RUN_DIR = Path("/run/algate")
PLACES = (BPFFS, Path("/proc/1/root/sys/fs/bpf"))
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
    for path in PLACES:
        if is_bpffs(path):
            return path
    libc = ctypes.CDLL(None, use_errno=True)
    if BPFFS.is_dir() and libc.mount(b"bpf", os.fsencode(BPFFS), b"bpf", 0, None) == 0:
        return BPFFS
    raise AlgateError(f"no bpffs: mount it with `mount -t bpf bpf {BPFFS}`", UNSUPPORTED)


def folder(run_dir: Path) -> Path:
    """The pin folder that belongs to a run directory."""
    return bpffs() / folder_name(run_dir)


def folder_name(run_dir: Path) -> str:
    """Its name within the bpffs."""
    where = run_dir.absolute()
    return "algate" if where == DEFAULT_RUN_DIR else f"algate-{hashlib.sha256(os.fsencode(where)).hexdigest()[:12]}"


def version_folder(run_dir: Path) -> Path:
    """The folder of this version's maps, created if needed. Who starts over another version's carries them over, or
    refuses (alg/daemon/carrying.py)."""
    own = folder(run_dir) / abi.layout_hash()
    try:
        own.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise AlgateError(f"can't make {own}: {error.strerror}", UNSUPPORTED) from None
    return own


def remove(run_dir: Path) -> None:
    """Unpin everything of a gateway, of any version. AlgateError if something stays."""
    place = folder(run_dir)
    shutil.rmtree(place, ignore_errors=True)
    if place.exists():
        raise AlgateError(f"can't remove the pins in {place}")


def exists(run_dir: Path) -> bool:
    """Whether a run directory has pins. Mounts nothing."""
    return any((path / folder_name(run_dir)).is_dir() for path in PLACES if is_bpffs(path))


def hold(run_dir: Path) -> int:
    """Lock the pin folder, which must exist, for this process, until the descriptor is closed: its run directory may
    get lost, and with it the lock there. AlgateError if another process has it."""
    fd = os.open(folder(run_dir), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise AlgateError(f"already running on {run_dir}: stop it, or give another --run-dir") from None
    return fd


def held(run_dir: Path) -> bool:
    """Whether a living process holds the pin folder."""
    if not exists(run_dir):
        return False
    try:
        os.close(hold(run_dir))
    except AlgateError:
        return True
    return False
