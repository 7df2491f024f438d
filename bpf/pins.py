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
PROC = Path("/proc")
DEEPEST = 100  # ancestors looked at
NSENTER = (
    "`ip netns exec` gives a command a /sys of its own that ends with it; to start in a network namespace use"
    " `nsenter --net=/run/netns/NAME algate run ...`"
)


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
    pins outlive the command. One that would end with the command is never mounted: with the last pin of `stages` the
    kernel empties that program array, whoever is attached, and all traffic stops. AlgateError (exit code 3) says what
    to do.
    """
    for path in PLACES:
        if is_bpffs(path):
            return path
    if apart():
        raise AlgateError(f"no bpffs here that outlives this command: {NSENTER}", UNSUPPORTED)
    libc = ctypes.CDLL(None, use_errno=True)
    if BPFFS.is_dir() and libc.mount(b"bpf", os.fsencode(BPFFS), b"bpf", 0, None) == 0:
        return BPFFS
    raise AlgateError(f"no bpffs: mount it with `mount -t bpf bpf {BPFFS}`", UNSUPPORTED)


def apart(proc: Path = PROC) -> bool:
    """Whether this process has a mount namespace of its own: not that of process 1 or, where that may not be looked
    at, of the oldest ancestor that may. Without any, `ip netns exec` is known by the name that it gives to /sys."""
    own = _namespace(proc, "self")
    seen = [one for pid in ("1", *reversed(_ancestors(proc))) if (one := _namespace(proc, pid)) is not None]
    if seen:
        return seen[0] != own
    names = [words[words.index("-") + 2] for words in _mounts(proc, Path("/sys"))]
    return bool(names) and (Path("/run/netns") / names[-1]).is_file()


def passing(proc: Path = PROC) -> bool:
    """Whether the bpffs in use ends with the processes of this mount namespace: it is one apart, and nobody handed the
    mount down to it."""
    if not is_bpffs(BPFFS) or not apart(proc):
        return False
    tags = [words[6 : words.index("-")] for words in _mounts(proc, BPFFS)]
    return bool(tags) and not tags[-1]


def _mounts(proc: Path, place: Path) -> list[list[str]]:
    """The words of each line of mountinfo (proc(5)) for what is mounted there, the topmost last."""
    lines = (line.split() for line in (proc / "self/mountinfo").read_text().splitlines())
    return [words for words in lines if words[4] == str(place)]


def _namespace(proc: Path, pid: str) -> int | None:
    try:
        return (proc / pid / "ns/mnt").stat().st_ino
    except OSError:
        return None


def _ancestors(proc: Path) -> list[str]:
    """Their process ids, the parent first, without process 1."""
    found: list[str] = []
    pid = "self"
    while len(found) < DEEPEST:
        try:
            pid = (proc / pid / "stat").read_text().rpartition(")")[2].split()[1]
        except (OSError, IndexError):
            break
        if pid in ("0", "1"):
            break
        found.append(pid)
    return found


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


def names(folder: Path) -> set[str]:
    """What is in a folder of pins; nothing if it isn't there. Whoever purges removes it at any moment, also between a
    look whether it is there and a look into it."""
    try:
        return set(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return set()


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
    except FileNotFoundError:  # purged since that look
        pass
    return False
