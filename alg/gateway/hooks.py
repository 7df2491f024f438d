"""Our programs on the hooks of devices: how they are put there, and whether they still are.

The law of this file: it asks the kernel each time, and remembers nothing. At WAN egress a program takes the device's
own hook where the kernel has it (tcx, Linux 6.6): `tc qdisc del` takes filters of clsact away, but not that, so that
even then no inside source leaves, and nothing that the host's stack says of sessions that it doesn't know.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass

from algate.alg.errors import FAILED, MISSING, AlgateError
from algate.alg.gateway import netlink, rtnetlink
from algate.alg.gateway.netlink import EGRESS, INGRESS
from algate.bpf import syscall, tcx

FORCE = "ALGATE_HOOKS"  # "clsact": as on a kernel without tcx, for tests
WORDS = {INGRESS: "ingress", EGRESS: "egress"}


@dataclass(frozen=True, slots=True)
class Placed:
    """A program as it is to stay on a device. `way`: "filter", "tcx" or "xdp"; `id`: the program's."""

    device: str
    index: int
    program: str
    way: str
    id: int
    hook: int = INGRESS

    def __str__(self) -> str:
        return f"{self.program} on {self.device}"

    def there(self) -> bool:
        """Whether it is there, and no other in its place. A device that is gone has nothing."""
        if self.way == "tcx":
            return self.id in egress_programs(self.index)
        if self.way == "xdp":
            return rtnetlink.xdp(self.device)[0] == self.id
        found = rtnetlink.filters(self.index, self.hook)
        return (netlink.PRIORITY, self.id) in {(priority, number) for priority, _, number in found}


def has_tcx(index: int) -> bool:
    """Whether the kernel offers the device's own hook, and nobody forbade it."""
    if os.environ.get(FORCE) == "clsact":
        return False
    with contextlib.suppress(OSError):
        return tcx.attached(index) is not None
    return False


def egress_programs(index: int) -> list[int]:
    """Ids of the programs on the device's own egress hook; none if there is no such hook or device."""
    with contextlib.suppress(OSError):
        return tcx.attached(index) or []
    return []


def put_filter(index: int, hook: int, fd: int, name: str) -> int:
    """Attach as a filter of clsact, in the place of our earlier one; the program's id."""
    netlink.set_filter(index, hook, fd, name)
    return syscall.prog_info(fd).id


def put_egress(index: int, fd: int, name: str, former: int | None) -> int:
    """Attach to the device's own egress hook, in the place of the program `former`; the program's id."""
    try:
        tcx.attach(index, fd, former if former in egress_programs(index) else None)
    except OSError as error:
        code = MISSING if error.errno in (errno.EPERM, errno.EACCES) else FAILED
        raise AlgateError(f"can't attach {name} to device {index}: {error.strerror}", code) from None
    return syscall.prog_info(fd).id


def remove_egress(index: int, program: int) -> None:
    """Take off what `put_egress` attached, if it is still there."""
    with contextlib.suppress(OSError):
        tcx.detach(index, program)
