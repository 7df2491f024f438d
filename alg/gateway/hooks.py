"""Our programs on the hooks of devices: how they are put there, and whether they still are.

The law of this file: it asks the kernel each time, and remembers nothing. At WAN egress a program takes the device's
own hook where the kernel has it (tcx, Linux 6.6): `tc qdisc del` takes filters of clsact away, but not that, so that
even then no inside source leaves, and nothing that the host's stack says of sessions that it doesn't know. At ingress
one stands there in front of the filter, which is dearer, and behind all programs of others, as the filter does. Whose
filters come before ours must see every packet, too: on such a device nothing stands in front.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass

from algate.alg.errors import FAILED, MISSING, AlgateError
from algate.alg.gateway import netlink, rtnetlink
from algate.alg.gateway.netlink import EGRESS, INGRESS
from algate.bpf import abi, syscall, tcx

FORCE = "ALGATE_HOOKS"  # "clsact": as on a kernel without tcx, for tests
WORDS = {INGRESS: "ingress", EGRESS: "egress"}
FRONT = {"tc_lan": "tcx_lan", "tc_wan_in": "tcx_wan_in"}  # filter -> what stands in front of it
OWN_HOOKS = ("tcx", "front")  # the ways of Placed that are on the device's own hooks
_OWN = {INGRESS: tcx.INGRESS, EGRESS: tcx.EGRESS}


@dataclass(frozen=True, slots=True)
class Placed:
    """A program as it is to stay on a device. `way`: "filter", "tcx" (at egress), "front" (tcx, in front of the ingress
    filter) or "xdp"; `id`: the program's."""

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
            return self.id in programs(self.index, self.hook)
        if self.way == "front":
            return programs(self.index, self.hook)[-1:] == [self.id]
        if self.way == "xdp":
            return rtnetlink.xdp(self.device)[0] == self.id
        found = rtnetlink.filters(self.index, self.hook)
        return (netlink.PRIORITY, self.id) in {(priority, number) for priority, _, number in found}


def has_tcx(index: int) -> bool:
    """Whether the kernel offers the device's own hook, and nobody forbade it."""
    if os.environ.get(FORCE) == "clsact":
        return False
    with contextlib.suppress(OSError):
        return tcx.attached(index, tcx.EGRESS) is not None
    return False


def may_front(index: int) -> bool:
    """Whether a program may stand in front of the device's ingress filter."""
    return has_tcx(index) and all(one >= netlink.PRIORITY for one in rtnetlink.priorities(index, INGRESS))


def programs(index: int, hook: int) -> list[int]:
    """Ids of the programs on one of the device's own hooks; none if there is no such hook or device."""
    with contextlib.suppress(OSError):
        return tcx.attached(index, _OWN[hook]) or []
    return []


def put_filter(index: int, hook: int, fd: int, name: str, behind: bool = False) -> int:
    """Attach as a filter of clsact, in the place of our earlier one; the program's id. `behind`: something is in front
    of it."""
    netlink.set_filter(index, hook, fd, name, abi.CLASS_BEHIND if behind else abi.CLASS_ALONE)
    return syscall.prog_info(fd).id


def put(index: int, hook: int, fd: int, name: str, former: int | None) -> int:
    """Attach to one of the device's own hooks, in the place of the program `former`; the program's id."""
    try:
        tcx.attach(index, _OWN[hook], fd, former if former in programs(index, hook) else None)
    except OSError as error:
        code = MISSING if error.errno in (errno.EPERM, errno.EACCES) else FAILED
        raise AlgateError(f"can't attach {name} to device {index}: {error.strerror}", code) from None
    return syscall.prog_info(fd).id


def remove(index: int, hook: int, program: int) -> None:
    """Take off what `put` attached, if it is still there."""
    with contextlib.suppress(OSError):
        tcx.detach(index, _OWN[hook], program)
