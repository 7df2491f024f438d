"""One daemon per run directory: a lock that dies with its process says who holds it.

The law of this file: the directory and its lock, nothing else. The service claims it before it touches the
kernel, so that a second instance leaves nothing half attached. What is in it decides what root does: so it must be the
daemon's own, and nobody else may write to it or put a link in its place. The group `algate`, where there is one, may
pass through it to the socket, and neither list nor write.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import os
import stat
from pathlib import Path

from algate.alg.errors import FAILED, MISSING, AlgateError

LOCK = "lock"
GROUP = "algate"  # may read; ALGATE_GROUP names another, "" none
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def group_name() -> str:
    """Of the group that may read without being root, whether there is one or not; "": none may."""
    return os.environ.get("ALGATE_GROUP", GROUP)


def readers() -> int | None:
    """Its number; None if there is none of that name."""
    try:
        return grp.getgrnam(group_name()).gr_gid
    except KeyError:
        return None


class Claim:
    """A run directory held by this process until it closes it or dies, however it dies."""

    def __init__(self, run_dir: Path) -> None:
        """Create the directory (mode 0700) if needed. AlgateError if another process holds it, if others could change
        what is in it, or if that fails."""
        self.run_dir = run_dir
        self._folder, self._file = _open(run_dir)

    def lost(self) -> bool:
        """Whether somebody removed the directory or the lock in it, or put another in its place."""
        try:
            folder = os.stat(self.run_dir, follow_symlinks=False)
            lock = os.stat(self.run_dir / LOCK, follow_symlinks=False)
        except OSError:
            return True
        return not (os.path.samestat(folder, os.fstat(self._folder)) and os.path.samestat(lock, os.fstat(self._file)))

    def renew(self) -> None:
        """Claim it anew. AlgateError as for a first claim; the former one stays then."""
        former = self._folder, self._file
        self._folder, self._file = _open(self.run_dir)
        for fd in former:
            os.close(fd)

    def close(self) -> None:
        """Let go of the directory. The lock file stays: unlinking it would let two processes hold two locks."""
        if self._file >= 0:
            os.ftruncate(self._file, 0)
            os.close(self._file)
            os.close(self._folder)
            self._file = self._folder = -1

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open(run_dir: Path) -> tuple[int, int]:
    """Descriptors of the directory and of its lock, held."""
    try:
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = os.open(run_dir, FOLDER)
    except OSError as error:
        raise _refused(run_dir, error) from None
    try:
        _refuse_strangers(run_dir, os.fstat(folder))
        lock = _lock(run_dir, folder)
        _let_pass(folder)
        return folder, lock
    except OSError as error:
        os.close(folder)
        raise _refused(run_dir, error) from None
    except BaseException:
        os.close(folder)
        raise


def refuse_unsafe(run_dir: Path) -> None:
    """AlgateError if the directory is there and others could change what is in it. Creates nothing."""
    try:
        folder = os.open(run_dir, FOLDER)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _refused(run_dir, error) from None
    try:
        _refuse_strangers(run_dir, os.fstat(folder))
    finally:
        os.close(folder)


def _refused(run_dir: Path, error: OSError) -> AlgateError:
    if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EEXIST) and run_dir.is_symlink():
        return AlgateError(f"run directory {run_dir} is a symbolic link: name the directory itself")
    code = MISSING if isinstance(error, PermissionError) else FAILED
    return AlgateError(f"can't use run directory {run_dir}: {error.strerror}", code)


def _refuse_strangers(run_dir: Path, found: os.stat_result) -> None:
    """Whoever may write into it could have root remove filters, or answer in the daemon's name."""
    if found.st_uid != os.geteuid():
        raise AlgateError(
            f"run directory {run_dir} belongs to uid {found.st_uid}, not to uid {os.geteuid()}: give another --run-dir"
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = stat.S_IMODE(found.st_mode)
        raise AlgateError(f"others may write to run directory {run_dir} (mode {mode:04o}): chmod go-w {run_dir}")


def _let_pass(folder: int) -> None:
    """Let the group through to the socket. Without CAP_CHOWN the folder must have that group already (systemd unit)."""
    gid, found = readers(), os.fstat(folder)
    if gid is None or found.st_mode & stat.S_IXOTH:
        return
    with contextlib.suppress(OSError):
        if found.st_gid != gid:
            os.fchown(folder, -1, gid)
        os.fchmod(folder, stat.S_IMODE(found.st_mode) & ~stat.S_IRWXG | stat.S_IXGRP)


def _lock(run_dir: Path, folder: int) -> int:
    file = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=folder)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.read(file, 32).decode("ascii", "replace").strip()
        os.close(file)
        pid = f" (pid {owner})" if owner.isdigit() else ""
        raise AlgateError(f"already running on {run_dir}{pid}: stop it, or give another --run-dir") from None
    try:
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
    except OSError:
        pass  # a full disk: the lock itself needs no room
    return file
