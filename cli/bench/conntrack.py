"""Room for a million connections in the kernel's conntrack, and an empty table for each gateway.

The law of this file: what nft needs for a fair comparison. All namespaces share one size, which is restored.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from algate.cli.lab.host import LabError, call_in
from algate.cli.lab.lab import Lab

FOLDER = Path("/proc/sys/net/netfilter")
WANTED = {"nf_conntrack_buckets": 1 << 20, "nf_conntrack_max": 1 << 21}
NETLINK_NETFILTER = 12
DELETE = 1 << 8 | 2  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE: with no attributes, all of the namespace
REQUEST_ACK = 5  # NLM_F_REQUEST, NLM_F_ACK
_FLUSH = struct.pack("=IHHIIBBH", 20, DELETE, REQUEST_ACK, 1, 0, socket.AF_INET, 0, 0)


@contextlib.contextmanager
def room() -> Iterator[None]:
    """Enough buckets and entries for a million. Does nothing where the kernel hasn't loaded conntrack."""
    before = {}
    try:
        for name, wanted in WANTED.items():
            path = FOLDER / name
            with contextlib.suppress(OSError):
                value = int(path.read_text())
                if value < wanted:
                    path.write_text(str(wanted))
                    before[path] = value
        yield
    finally:
        for path, value in before.items():
            with contextlib.suppress(OSError):
                path.write_text(str(value))


def forget(lab: Lab) -> None:
    """Drop every connection tracked in the gateway's namespace. LabError if the kernel refuses."""
    call_in(lab.gw.netns, partial(_flush, lab.gw.netns))


def _flush(netns: str) -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as netlink:
        netlink.settimeout(30)
        netlink.send(_FLUSH)
        answer = netlink.recv(4096)
    (error,) = struct.unpack_from("=i", answer, 16)
    if error:
        raise LabError(f"connections of {netns} can't be forgotten: error {-error}")
