"""Where a gateway runs: privilege, network namespace, prefixes that must not overlap, sessions of a lost address.

The law of this file: the checks and moves that starting and stopping need; nothing here waits for long.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address
from pathlib import Path

from algate.alg.errors import MISSING, AlgateError
from algate.alg.gateway import records
from algate.alg.gateway.claim import Claim
from algate.alg.gateway.netlink import Device
from algate.bpf.loader import Gateway

CAP_NET_ADMIN = 12
CLONE_NEWNET = 0x40000000
NAMED = Path("/run/netns")
CLAIM_SECONDS = 10.0


def require_root(what: str) -> None:
    """AlgateError (exit code 3) without CAP_NET_ADMIN."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:") and int(line.split()[1], 16) >> CAP_NET_ADMIN & 1:
            return
    raise AlgateError(f"{what} needs root (CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON): run it with sudo", MISSING)


def refuse_overlap(lans: Sequence[Device], wan: Device) -> None:
    """AlgateError if an inside and an outside prefix overlap: addresses wouldn't tell which side they are on."""
    for lan in lans:
        for inside in lan.addresses:
            for outside in wan.addresses:
                if inside.network.overlaps(outside.network):
                    raise AlgateError(
                        f"{lan.name} has {inside}, {wan.name} has {outside}: the prefixes overlap; renumber one side"
                    )


def current() -> int:
    """Inode of this process's network namespace."""
    return os.stat("/proc/self/ns/net").st_ino


@contextlib.contextmanager
def entered(inode: int) -> Iterator[None]:
    """Work inside the network namespace with that inode (0: the present one), if it still exists and has a name."""
    if inode in (0, current()):
        yield
        return
    there = _opened(inode)
    if there is None:
        yield  # a namespace without a name is gone, with its devices
        return
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _setns(there)
        yield
    finally:
        _setns(own)
        os.close(there)
        os.close(own)


def named() -> Iterator[tuple[int, Path]]:
    """Inode and path of each network namespace that has a name. Others' come and go meanwhile."""
    for one in NAMED.glob("*") if NAMED.is_dir() else ():
        with contextlib.suppress(OSError):
            yield one.stat().st_ino, one


def _opened(inode: int) -> int | None:
    """A descriptor of the namespace with that inode; None if none that has a name is that one."""
    for number, path in named():
        with contextlib.suppress(OSError):
            if number == inode:
                return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    return None


@contextlib.contextmanager
def joined(pid: int, inode: int) -> Iterator[None]:
    """Work inside the network namespace of a process. AlgateError if that isn't the one with that inode: then the
    process is another one, as seen from here."""
    if inode == current():
        yield
        return
    try:
        there = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise AlgateError(f"can't reach the gateway's network namespace: {error.strerror}", MISSING) from None
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.fstat(there).st_ino != inode:
            raise AlgateError("the gateway runs in a network namespace that can't be found from here: start this there")
        _setns(there)
        try:
            yield
        finally:
            _setns(own)
    finally:
        os.close(there)
        os.close(own)


def _setns(fd: int) -> None:
    import ctypes

    if ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET):
        raise AlgateError(f"can't enter the gateway's network namespace: {os.strerror(ctypes.get_errno())}", MISSING)


@contextlib.contextmanager
def claimed(run_dir: Path) -> Iterator[None]:
    """Claim the run directory, waiting for a daemon that is ending to let go of it."""
    until = time.monotonic() + CLAIM_SECONDS
    while True:
        try:
            claim = Claim(run_dir)
            break
        except AlgateError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
    with claim:
        yield


def sessions_of_others(gateway: Gateway, addresses: Sequence[IPv4Address]) -> Iterator[list[bytes]]:
    """Packed keys of every session whose public address is none of these, while the table is walked."""
    mine = {one.packed for one in addresses} | {bytes(4)}
    for keys, values, _ in gateway.sessions.chunks():
        yield [key for key, value in records.sessions(keys, values) if value.public_ip not in mine]
