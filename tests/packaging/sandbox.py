"""algate.service's sandbox without systemd: `mounts UNIT WRITABLE... -- COMMAND` and `calls UNIT -- COMMAND` run the
command in the unit's file system and behind its system call filter; capabilities are setpriv's part.

The law of this file: the standard library, and what the unit says. Not applied are DevicePolicy and IPAddressDeny,
which systemd does by control group, and of the Restrict* settings all but RestrictAddressFamilies.
"""

from __future__ import annotations

import ctypes
import os
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

NUMBERS = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
CLONE_NEWNS = 0x20000
RDONLY, REMOUNT, BIND, REC, PRIVATE = 1, 32, 4096, 16384, 1 << 18
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
ALLOW, REFUSE, X86_64 = 0x7FFF0000, 0x00050001, 0xC000003E  # SECCOMP_RET_ERRNO | EPERM
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # classic BPF
SOCKET = 41
KEPT = ("/dev", "/proc", "/sys")  # ProtectSystem=strict leaves them as they are
LIBC = ctypes.CDLL(None, use_errno=True)


def settings(unit: Path, key: str) -> list[str]:
    """The words of each line with that key."""
    lines = unit.read_text().splitlines()
    return [line.split("=", 1)[1] for line in lines if line.startswith(f"{key}=")]


def check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    words = [None if one is None else one.encode() for one in (source, target, kind, data)]
    check(LIBC.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]))


def mounted() -> Iterator[tuple[str, int]]:
    """Each mount's place and the flags that a remount must keep."""
    known = {"nosuid": 2, "nodev": 4, "noexec": 8, "noatime": 1024, "nodiratime": 2048, "relatime": 1 << 21}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split()
        yield words[4], sum(known.get(one, 0) for one in words[5].split(","))


def mounts(unit: Path, writable: list[str]) -> None:
    """ProtectSystem, ReadWritePaths, PrivateMounts, PrivateTmp, ProtectHome and ProtectProc, in a mount namespace."""
    assert settings(unit, "ProtectSystem") == ["strict"] and settings(unit, "PrivateMounts") == ["yes"]
    check(LIBC.unshare(CLONE_NEWNS))
    mount(None, "/", None, REC | PRIVATE)
    writable = [*writable, *" ".join(settings(unit, "ReadWritePaths")).split()]
    for path in writable:
        mount(path, path, None, BIND | REC)
    for path, flags in list(mounted()):
        if not path.startswith(KEPT) and not any(path == one or path.startswith(f"{one}/") for one in writable):
            mount(None, path, None, REMOUNT | BIND | RDONLY | flags)
    assert settings(unit, "PrivateTmp") == ["yes"] and settings(unit, "ProtectHome") == ["yes"]
    mount("tmpfs", "/tmp", "tmpfs", 0)
    tree = str(Path(__file__).resolve().parents[2])
    kept = os.open(tree, os.O_PATH)
    for home in ("/home", "/root"):
        if os.path.isdir(home):
            mount("tmpfs", home, "tmpfs", 0)
            if tree.startswith(
                f"{home}/"
            ):  # a package is elsewhere; what is to be tried has to be seen (BindReadOnlyPaths=)
                os.makedirs(tree)
                mount(f"/proc/self/fd/{kept}", tree, None, BIND | REC)
            mount(None, home, None, REMOUNT | BIND | RDONLY)
    os.close(kept)
    mount("proc", "/proc", "proc", 0, f"hidepid={settings(unit, 'ProtectProc')[0]}")


def members(name: str) -> set[str]:
    """The system calls of a word of SystemCallFilter, as the installed systemd knows them."""
    if not name.startswith("@"):
        return {name}
    said = subprocess.run(
        ["systemd-analyze", "--no-pager", "syscall-filter", name], capture_output=True, text=True, check=True
    )
    found: set[str] = set()
    for line in said.stdout.splitlines()[1:]:
        word = line.strip()
        if word and not word.startswith("#") and word != name:
            found |= members(word)
    return found


def allowed(unit: Path) -> set[str]:
    found: set[str] = set()
    for line in settings(unit, "SystemCallFilter"):
        some = set().union(*(members(word) for word in line.removeprefix("~").split()))
        found = found - some if line.startswith("~") else found | some
    return found


def calls(unit: Path) -> None:
    """SystemCallFilter, SystemCallErrorNumber=EPERM and RestrictAddressFamilies, as one seccomp filter."""
    numbers = dict(re.findall(r"#define __NR_(\w+) (\d+)", NUMBERS.read_text()))
    families = [int(getattr(socket, name)) for name in settings(unit, "RestrictAddressFamilies")[0].split()]
    code = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, X86_64), (RETURN, 0, 0, REFUSE), (LOAD, 0, 0, 0)]
    code += [(EQUAL, 0, 2 + 2 * len(families), SOCKET), (LOAD, 0, 0, 16)]  # the low half of the first argument
    for family in families:
        code += [(EQUAL, 0, 1, family), (RETURN, 0, 0, ALLOW)]
    code += [(RETURN, 0, 0, REFUSE)]
    for number in sorted(int(numbers[name]) for name in allowed(unit) - {"socket"} if name in numbers):
        code += [(EQUAL, 0, 1, number), (RETURN, 0, 0, ALLOW)]
    code += [(RETURN, 0, 0, REFUSE)]
    packed = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in code))
    program = struct.pack("@HxxxxxxP", len(code), ctypes.addressof(packed))
    check(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    check(LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0))


def main() -> None:
    what, unit, *rest = sys.argv[1:]
    at = rest.index("--")
    if what == "mounts":
        mounts(Path(unit), rest[:at])
    else:
        calls(Path(unit))
    os.execvp(rest[at + 1], rest[at + 1 :])


if __name__ == "__main__":
    main()
