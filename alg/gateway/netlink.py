"""Devices as the kernel has them: lookup, addresses, filters, XDP, forwarding switches.

The law of this file: netlink, libbpf and /proc/sys only; nothing is remembered here. What algate makes carries its
own filter name and priority, and nothing else is ever changed or removed.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Interface
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from algate.alg.errors import FAILED, MISSING, AlgateError
from algate.alg.gateway import rtnetlink
from algate.bpf.libbpf import check, library
from algate.bpf.syscall import prog_info

INGRESS, EGRESS = 0xFFFFFFF2, 0xFFFFFFF3  # the two hooks of a clsact qdisc
PRIORITY = 0xA17E  # our filters have it, nobody else's do
HANDLE = 1
ETH_P_ALL = 3
XDP_FLAGS_SKB, XDP_FLAGS_DRIVER, XDP_FLAGS_UPDATE_IF_NOEXIST = 2, 4, 1
FILTER_PREFIX = "algate:"
IFLA_ADDRESS, IFLA_MTU, IFLA_LINKINFO, IFLA_INFO_KIND, IFA_ADDRESS, IFA_LOCAL = 1, 4, 18, 1, 1, 2
LOWER_UP = 0x10000  # IFF_LOWER_UP
ETHERNET, LOOPBACK = 1, 772  # ARPHRD_*: links whose frames begin with an Ethernet header
BARE = {512: "PPP", 519: "raw IP", 768: "IPIP tunnel", 776: "SIT tunnel", 778: "GRE tunnel", 65534: "no link layer"}


@dataclass(frozen=True, slots=True)
class Device:
    """A network device. `mac` is empty if it has none. `addresses`: IPv4 with prefix, in the kernel's order.

    `bare`: its packets have no link-layer header in front of IP (ppp, tun, tunnels), so it has no neighbours either.
    """

    name: str
    index: int
    mac: bytes
    mtu: int
    up: bool
    kind: str
    addresses: tuple[IPv4Interface, ...]
    bare: bool = False
    carrier: bool = True


@contextlib.contextmanager
def _netlink(what: str) -> Iterator[IPRoute]:
    try:
        with IPRoute() as ipr:
            yield ipr
    except NetlinkError as error:
        code = MISSING if error.code in (errno.EPERM, errno.EACCES) else FAILED
        raise AlgateError(f"{what}: {error.args[1] if len(error.args) > 1 else error}", code) from None


def find_device(name: str) -> Device | None:
    """The device of that name in this network namespace, None if there is none."""
    found = rtnetlink.link(name)
    if found is None:
        return None
    index, link_type, flags, attributes = found
    if link_type not in (ETHERNET, LOOPBACK, *BARE):
        raise AlgateError(f"{name} is a link of type {link_type}, whose header algate doesn't know: use another device")
    bare = link_type in BARE
    mac = b"" if bare else attributes.get(IFLA_ADDRESS, b"")
    kind = rtnetlink.attributes(attributes.get(IFLA_LINKINFO, b"")).get(IFLA_INFO_KIND, b"")
    mtu = int.from_bytes(attributes.get(IFLA_MTU, b""), sys.byteorder)
    addresses = tuple(_interface(length, words) for length, words in rtnetlink.addresses(index))
    return Device(name, index, mac, mtu, bool(flags & 1), kind.rstrip(b"\0").decode(), addresses, bare,
                  bool(flags & LOWER_UP))  # fmt: skip


def _interface(length: int, words: dict[int, bytes]) -> IPv4Interface:
    # On a point-to-point link IFA_ADDRESS is the peer's; the own one is IFA_LOCAL.
    return IPv4Interface((words.get(IFA_LOCAL) or words[IFA_ADDRESS], length))


def device_names() -> list[str]:
    """All devices of this namespace, for an error that names the nearest."""
    return [name for _, name in socket.if_nameindex()]


def device_indices() -> dict[int, str]:
    """All devices of this namespace: ifindex -> name."""
    return dict(socket.if_nameindex())


def add_clsact(index: int) -> bool:
    """Make sure that the device has a clsact qdisc; True if it was created, False if it was there and is shared."""
    with _netlink(f"can't add clsact to device {index}") as ipr:
        try:
            ipr.tc("add", "clsact", index)
        except NetlinkError as error:
            if error.code == errno.EEXIST:
                return False
            raise
        return True


def set_filter(index: int, hook: int, fd: int, name: str, minor: int = 1) -> None:
    """Attach a program, or atomically replace our earlier one. `minor`: the number of its class."""
    with _netlink(f"can't attach {name} to device {index}") as ipr:
        ipr.tc(
            "replace-filter", "bpf", index, handle=HANDLE, fd=fd, name=FILTER_PREFIX + name, parent=hook,
            prio=PRIORITY, protocol=ETH_P_ALL, direct_action=True, classid=minor,
        )  # fmt: skip


def filter_names(index: int, hook: int) -> list[str]:
    """Names of our filters on a hook; empty if the device or its clsact is gone."""
    try:
        found = rtnetlink.filters(index, hook)
    except AlgateError:
        return []
    return [name.removeprefix(FILTER_PREFIX) for _, name, _ in found if name.startswith(FILTER_PREFIX)]


def remove_filter(index: int, hook: int) -> None:
    """Remove our filter, if it is there."""
    if not filter_names(index, hook):
        return
    with contextlib.suppress(AlgateError), _netlink("") as ipr:
        ipr.tc("del-filter", "bpf", index, handle=HANDLE, parent=hook, prio=PRIORITY, protocol=ETH_P_ALL)


def remove_clsact(index: int) -> None:
    """Remove the clsact qdisc that we made, unless somebody else now has filters on it."""
    with contextlib.suppress(AlgateError), _netlink("") as ipr:
        if not list(ipr.get_filters(index=index, parent=INGRESS)) and not list(
            ipr.get_filters(index=index, parent=EGRESS)
        ):
            ipr.tc("del", "clsact", index)


def set_xdp(index: int, fd: int, generic: bool, replace: bool) -> int:
    """Attach an XDP program; its id. `replace`: ours is attached and is replaced; else the hook must be free."""
    _xdp(index, fd, generic, 0 if replace else XDP_FLAGS_UPDATE_IF_NOEXIST)
    return prog_info(fd).id


def remove_xdp(index: int, generic: bool) -> None:
    """Remove our XDP program."""
    with contextlib.suppress(AlgateError):
        _xdp(index, -1, generic, 0)


def _xdp(index: int, fd: int, generic: bool, flags: int) -> None:
    """Uses libbpf: pyroute2 0.7 writes the flags in two bytes, which the kernel refuses (ERANGE)."""
    mode = XDP_FLAGS_SKB if generic else XDP_FLAGS_DRIVER
    try:
        check(library().bpf_xdp_attach(index, fd, mode | flags, None), "bpf_xdp_attach")
    except OSError as error:
        code = MISSING if error.errno in (errno.EPERM, errno.EACCES) else FAILED
        raise AlgateError(f"can't attach XDP to device {index}: {error.strerror}", code) from None


def set_up(name: str, mtu: int) -> int:
    """Bring our own device up with that MTU; its index."""
    with _netlink(f"can't set up {name}") as ipr:
        index: int = ipr.link_lookup(ifname=name)[0]
        ipr.link("set", index=index, mtu=mtu, state="up")
        return index


def sysctl(device: str, key: str) -> Path:
    """The switch of one device. /proc/sys/net follows the network namespace of the process that opens it."""
    return Path("/proc/sys/net/ipv4/conf") / device / key


def read_sysctl(device: str, key: str) -> str | None:
    """None if the device is gone."""
    try:
        return sysctl(device, key).read_text().strip()
    except OSError:
        return None


def write_sysctl(device: str, key: str, value: str) -> None:
    """AlgateError (exit code 3) where /proc/sys can't be written."""
    try:
        sysctl(device, key).write_text(value)
    except FileNotFoundError:
        return
    except OSError as error:
        raise AlgateError(f"can't write {sysctl(device, key)}: {error.strerror}", MISSING) from None
