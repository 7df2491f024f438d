"""IPv6 addresses by the handles that the kernel has for them (handles.h), and back.

The law of this file: the only one that knows what a handle looks like: an address out of 0.0.0.0/8, where no IPv4 host
is. It reads two tables and remembers what it read for as long as whoever made it wants; a handle keeps its address
while anything in the kernel holds it. Addresses are packed bytes in network order, numbers those of a table's columns.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from algate.alg.engine import effects as fx
from algate.alg.gateway.records import Punt, has_handle
from algate.alg.plugin.model import Address, EndPoint, address
from algate.alg.plugin.spelled import packed
from algate.bpf import abi, syscall
from algate.bpf.loader import Gateway
from algate.bpf.packing import native

NOBODY = bytes(4)
_SIX = 16  # bytes; where the address is in a row of `addresses6`, which begins with it


def is_handle(packed: bytes) -> bool:
    """Whether 4 bytes of a table stand for an IPv6 address."""
    return len(packed) == 4 and packed[0] == 0 and packed != NOBODY


def number_is_handle(number: int) -> bool:
    """The same of a column's number."""
    return is_handle(number.to_bytes(4, sys.byteorder))


class Addresses:
    """Of one gateway. `intern` makes a handle for an address that has none, None: there is no room. Without IPv6 there
    are no tables, and every address is IPv4's."""

    def __init__(self, gateway: Gateway, intern: Callable[[bytes], bytes | None] = lambda _: None) -> None:
        self._rows = getattr(gateway, "addresses6", None)
        self._handles = getattr(gateway, "handles", None)
        self._intern = intern
        self._known: dict[bytes, bytes] = {}
        self._texts: dict[int, str] = {}

    # -- from handles to addresses -------------------------------------------------------------------------------------

    def packed(self, raw: bytes) -> bytes:
        """The address that 4 bytes of a table stand for, of 4 or 16 bytes. A handle that is gone stays as it is."""
        if len(raw) != 4 or raw[0] or self._rows is None or raw == NOBODY:
            return raw
        known = self._known.get(raw)
        if known is None:
            row = syscall.lookup(self._rows.fd, raw, self._rows.value.size)
            if row is None:
                return raw
            known = self._known[raw] = row[:_SIX]
        return known

    def address(self, raw: bytes) -> Address:
        """The same as a value."""
        return ip_address(self.packed(raw))

    def text(self, number: int) -> str:
        """The text of an address by its number in a column."""
        found = self._texts.get(number)
        if found is None:
            found = self._texts[number] = str(self.address(number.to_bytes(4, sys.byteorder)))
        return found

    def host(self, raw: bytes) -> str:
        """As it stands in front of a port: IPv6 in brackets."""
        packed = self.packed(raw)
        return str(IPv4Address(packed)) if len(packed) == 4 else f"[{IPv6Address(packed)}]"

    def forget(self) -> None:
        """What was read may have changed: handles were freed."""
        self._known.clear()
        self._texts.clear()

    def entries(self) -> Iterator[tuple[bytes, IPv6Address]]:
        """Every handle with its address."""
        if self._rows is None:
            return
        size, width = self._rows.key.size, self._rows.value.size
        for keys, values, count in self._rows.chunks():
            for at in range(count):
                yield keys[at * size : (at + 1) * size], IPv6Address(values[at * width : at * width + _SIX])

    def within(self, network: IPv6Network) -> frozenset[int]:
        """The numbers, as in a column, of the handles whose addresses are in a network."""
        return frozenset(int.from_bytes(raw, sys.byteorder) for raw, address in self.entries() if address in network)

    def shown(self, numbers: Iterable[int]) -> dict[int, str]:
        """Those of a column's numbers that are handles, as they stand in front of a port."""
        if self._rows is None:
            return {}
        some = {one for one in numbers if one and number_is_handle(one)}
        return {one: self.host(one.to_bytes(4, sys.byteorder)) for one in some}

    # -- from addresses to handles -------------------------------------------------------------------------------------

    def known(self, address: Address) -> bytes | None:
        """The 4 bytes that stand for an address, None: it has no handle, so nothing in the kernel is about it."""
        return address.packed if address.version == 4 else self._handle(address.packed)

    def _handle(self, address: bytes) -> bytes | None:
        return None if self._handles is None else syscall.lookup(self._handles.fd, address, 4)

    def counted(self, source: bytes) -> bytes | None:
        """The 4 bytes under which the host with this address, or handle, is counted (handles.h). None: under none."""
        raw = source if len(source) == 4 else self._handle(source) if len(source) == _SIX else None
        if raw is None or not is_handle(raw) or self._rows is None:
            return raw
        row = syscall.lookup(self._rows.fd, raw, self._rows.value.size)
        return raw if row is None else native(abi.Interned.unpack(row).host, 4)

    def raw(self, address: bytes) -> bytes:
        """The 4 bytes for an address that goes into a table. OSError (ENOSPC) if there is no room for a handle."""
        if len(address) != _SIX:
            return address
        found = self._handle(address) or self._intern(address)
        if found is None:
            raise OSError(28, "no handle is left for an IPv6 address")
        return found

    # -- values of the engine ------------------------------------------------------------------------------------------

    def told(self, info: fx.SessionInfo, prefix: IPv6Network | None) -> fx.SessionInfo:
        """A session with its addresses beside the handles. `prefix`: of NAT64."""
        key = info.key
        if not has_handle(key):
            return info
        inside, remote = self.packed(key.inside_ip), self.packed(key.remote_ip)
        return info.beside(inside if len(inside) == _SIX else b"", remote if len(remote) == _SIX else b"", prefix)

    def of_punt(self, punt: Punt, prefix: IPv6Network | None) -> Punt:
        """A punt with its session's addresses beside the handles."""
        info = self.told(punt.info, prefix)
        return punt if info is punt.info else punt.of(info)

    def expected(self, one: fx.Expectation) -> fx.Expectation:
        """An expectation as read from the kernel, with addresses for handles."""
        return _changed(one, self.packed)

    def packable(self, one: fx.Expectation) -> fx.Expectation:
        """An expectation for the kernel, with handles for addresses. OSError as `raw`. That of its control session's
        inside end, whom it nearly always is about, the session's key holds."""
        if self._handles is None:
            return one
        handle = one.control_key.inside_ip
        own = self._known.get(handle)
        return _changed(one, lambda address: handle if address == own else self.raw(address))


def _changed(one: fx.Expectation, other: Callable[[bytes], bytes]) -> fx.Expectation:
    from_ip, to = other(one.from_ip) if one.from_ip else b"", _moved(one.to, other)
    inside = None if one.inside is None else _moved(one.inside, other)
    reserved = None if one.reserved is None else _moved(one.reserved, other)
    if from_ip == one.from_ip and to is one.to and inside is one.inside:
        return one
    return one.between(from_ip, to, inside, reserved)


def _moved(end: EndPoint, other: Callable[[bytes], bytes]) -> EndPoint:
    known = packed(end.ip)
    found = other(known)
    return end if found == known else EndPoint(address(found), end.port)
