"""The kernel's words about devices: questions and answers of rtnetlink(7) as bytes, and word that something changed.

The law of this file: sockets and bytes; what a device means to the gateway is netlink.py's. One question takes a tenth
of a millisecond here, where a pyroute2 object takes 2 to 50: the helper's loop shares the processor with whoever asks.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator

from algate.alg.errors import FAILED, MISSING, AlgateError

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # rtattr: length, type
_LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, link type, index, flags, change
_ADDRESS = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, index
_TRAFFIC = struct.Struct("=BxHiIII")  # tcmsg: family, index, handle, parent, info: priority and protocol
_ROUTE = struct.Struct("=BBBBBBBBI")  # rtmsg: family, two lengths, tos, table, protocol, scope, type, flags
DONE, ERROR = 3, 2
NEW_LINK, GET_LINK, NEW_ADDRESS, GET_ADDRESS = 16, 18, 20, 22
NEW_ROUTE, GET_ROUTE = 24, 26
RTA_DST, RTA_OIF, UNICAST, LOCAL = 1, 4, 1, 2
NOWHERE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL)
NEW_FILTER, GET_FILTER = 44, 46
TCA_OPTIONS, TCA_BPF_NAME, TCA_BPF_ID = 2, 7, 11
IFLA_XDP, IFLA_XDP_ATTACHED, IFLA_XDP_PROG_ID, XDP_GENERIC = 43, 2, 4, 2
REQUEST, DUMP = 1, 0x300
GROUP_LINK, GROUP_TC, GROUP_ADDRESS, GROUP_ROUTE, GROUP_SWITCHES = 0x1, 0x8, 0x10, 0x40, 0x800000
GROUP_SIX = 0x100 | 0x400  # IPv6 addresses and routes
SOL_NETLINK, STRICT_CHECK = 270, 12
NAME_LONGEST = 15  # IFNAMSIZ without the final NUL
TYPE_MASK = 0x3FFF  # an attribute's type without the flags "nested" and "network order"
SKIP_STATISTICS = 8  # RTEXT_FILTER_SKIP_STATS
ROOM = 1 << 16


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, body) of each message of a datagram."""
    at = 0
    while at + _HEADER.size <= len(data):
        size, kind, *_ = _HEADER.unpack_from(data, at)
        if size < _HEADER.size:
            return
        yield kind, data[at + _HEADER.size : at + size]
        at += (size + 3) & ~3


def attributes(data: bytes, at: int = 0) -> dict[int, bytes]:
    """Type -> value, the last of a kind."""
    found = {}
    while at + _ATTRIBUTE.size <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if size < _ATTRIBUTE.size:
            break
        found[kind & TYPE_MASK] = data[at + _ATTRIBUTE.size : at + size]
        at += (size + 3) & ~3
    return found


def _ask(kind: int, flags: int, body: bytes) -> Iterator[tuple[int, bytes]]:
    """The answers to one question, to the last. OSError: the kernel's."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as ask:
        ask.setsockopt(SOL_NETLINK, STRICT_CHECK, 1)
        ask.send(_HEADER.pack(_HEADER.size + len(body), kind, REQUEST | flags, 1, 0) + body)
        while True:
            for answer, content in messages(ask.recv(ROOM)):
                if answer == ERROR:
                    code = -struct.unpack_from("=i", content)[0]
                    raise OSError(code, os.strerror(code))
                if answer == DONE:
                    return
                yield answer, content
                if not flags:
                    return


def link(name: str) -> tuple[int, int, int, dict[int, bytes]] | None:
    """(index, link type, flags, attributes) of the device of that name; None if there is none."""
    raw = name.encode()
    if not 0 < len(raw) <= NAME_LONGEST or b"\0" in raw:
        return None
    body = _LINK.pack(0, 0, 0, 0, 0) + _pack(29, struct.pack("=I", SKIP_STATISTICS)) + _pack(3, raw + b"\0")
    with _told(f"can't look up device {name}"):
        try:
            for kind, content in _ask(GET_LINK, 0, body):
                if kind == NEW_LINK:
                    _, link_type, index, flags, _ = _LINK.unpack_from(content)
                    return index, link_type, flags, attributes(content, _LINK.size)
        except OSError as error:
            if error.errno not in (errno.ENODEV, errno.EINVAL):
                raise
    return None


def addresses(index: int) -> list[tuple[int, dict[int, bytes]]]:
    """(prefix length, attributes) of the device's IPv4 addresses, in the kernel's order; none if it is gone."""
    found = []
    with _told(f"can't look up the addresses of device {index}"):
        try:
            for kind, content in _ask(GET_ADDRESS, DUMP, _ADDRESS.pack(socket.AF_INET, 0, 0, 0, index)):
                family, length, _, _, of = _ADDRESS.unpack_from(content)
                if kind == NEW_ADDRESS and family == socket.AF_INET and of == index:
                    found.append((length, attributes(content, _ADDRESS.size)))
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
    return found


def filters(index: int, hook: int) -> list[tuple[int, str, int]]:
    """(priority, name, program id) of the BPF filters on one hook; none if the device or its clsact is gone."""
    found = []
    for priority, content in _classifiers(index, hook):
        words = attributes(attributes(content, _TRAFFIC.size).get(TCA_OPTIONS, b""))
        if TCA_BPF_ID in words:
            name = words.get(TCA_BPF_NAME, b"").rstrip(b"\0").decode(errors="replace")
            found.append((priority, name, int.from_bytes(words[TCA_BPF_ID], sys.byteorder)))
    return found


def priorities(index: int, hook: int) -> set[int]:
    """Those of all filters on one hook, of whatever kind; none if the device or its clsact is gone."""
    return {priority for priority, _ in _classifiers(index, hook)}


def _classifiers(index: int, hook: int) -> list[tuple[int, bytes]]:
    """(priority, message) of each filter."""
    found = []
    with _told(f"can't list the filters of device {index}"):
        try:
            for kind, content in _ask(GET_FILTER, DUMP, _TRAFFIC.pack(0, 0, index, 0, hook, 0)):
                if kind == NEW_FILTER:
                    found.append((_TRAFFIC.unpack_from(content)[5] >> 16, content))
        except OSError as error:
            if error.errno not in (errno.ENODEV, errno.EINVAL, errno.ENOENT):
                raise
    return found


def xdp(name: str) -> tuple[int, bool]:
    """Id of the XDP program on a device, 0 if there is none, and whether it runs in generic mode."""
    found = link(name)
    words = attributes(found[3].get(IFLA_XDP, b"")) if found else {}
    generic = words.get(IFLA_XDP_ATTACHED, b"\0")[0] == XDP_GENERIC
    return int.from_bytes(words.get(IFLA_XDP_PROG_ID, b""), sys.byteorder), generic


def route(destination: bytes) -> tuple[int, int] | None:
    """(UNICAST, LOCAL or another type, ifindex) of the route that the gateway itself would take, None without one."""
    family = socket.AF_INET if len(destination) == 4 else socket.AF_INET6
    body = _ROUTE.pack(family, len(destination) * 8, 0, 0, 0, 0, 0, 0, 0) + _pack(RTA_DST, destination)
    with _told(f"can't look up the route to {socket.inet_ntop(family, destination)}"):
        try:
            for kind, content in _ask(GET_ROUTE, 0, body):
                if kind == NEW_ROUTE:
                    words = attributes(content, _ROUTE.size)
                    return content[7], int.from_bytes(words.get(RTA_OIF, b""), sys.byteorder)
        except OSError as error:
            if error.errno not in NOWHERE:
                raise
    return None


def _pack(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        code = MISSING if error.errno in (errno.EPERM, errno.EACCES) else FAILED
        raise AlgateError(f"{what}: {error.strerror}", code) from None


class Changes:
    """Word of the kernel that a device, an address or route, a qdisc or filter, or a switch of a device came, went
    or changed. Readable when there is any."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        self._socket.bind((0, GROUP_LINK | GROUP_TC | GROUP_ADDRESS | GROUP_ROUTE | GROUP_SWITCHES | GROUP_SIX))

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> bool:
        """Whether there was any. What it says isn't read: whoever hears of a change looks afresh, so that nothing
        depends on having heard of every one (ENOBUFS)."""
        any_at_all = False
        while True:
            try:
                self._socket.recv(ROOM)
            except BlockingIOError:
                return any_at_all
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
            any_at_all = True

    def close(self) -> None:
        self._socket.close()
