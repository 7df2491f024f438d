"""The kernel's table of services that the outside may open on inside IPv6 hosts: `allow_in`, a row for each port.

The law of this file: entries into rows and back; it decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address, IPv6Network

from algate.alg.config.load import AllowIn
from algate.alg.gateway.settings import PROTO
from algate.alg.plugin.values import PortRange
from algate.bpf import abi
from algate.bpf.loader import Gateway

NAMES = {number: name for name, number in PROTO.items()}
_ID = 32  # bits of the entry's number, in front of a source's prefix


class AllowInTable:
    """Of one gateway with IPv6."""

    def __init__(self, gateway: Gateway) -> None:
        self._rows, self._sources = gateway.allow_in, gateway.allow_in_sources

    def found(self) -> Iterator[tuple[int, AllowIn, bool]]:
        """What is in it: number, entry, and whether it was added live."""
        known: dict[int, tuple[IPv6Address, int, bool, list[int]]] = {}
        for key, value in self._rows.items():
            if value.flags & abi.AdmissionFlag.HOST:
                continue
            live = bool(value.flags & abi.AdmissionFlag.LIVE)
            one = known.setdefault(value.id, (IPv6Address(bytes(key.to)), key.proto, live, []))
            one[3].append(abi.be16(key.port))
        sources: dict[int, list[IPv6Network]] = {}
        for where, _ in self._sources.items():
            sources.setdefault(where.id, []).append(IPv6Network((bytes(where.address), where.prefix_len - _ID)))
        for number, (to, proto, live, ports) in known.items():
            spread = PortRange(min(ports), max(ports))
            yield number, AllowIn(NAMES[proto], spread, to, tuple(sorted(sources.get(number, ())))), live

    def put(self, number: int, one: AllowIn, live: bool) -> None:
        """Let it in, or tell anew whether it is live. Its sources first: without them nobody would be kept out."""
        for network in one.from_:
            self._sources.put(self._source(number, network), 1)
        flag = abi.AdmissionFlag
        flags = (flag.SOURCES if one.from_ else 0) | (flag.LIVE if live else 0)
        for key in self._keys(one):
            former = self._rows.get(key)
            self._rows.put(key, abi.Admission(id=number, flags=flags, hits=former.hits if former else 0))
        self._rows.put(self._host(one), abi.Admission(flags=flag.HOST))

    def drop(self, number: int, one: AllowIn) -> None:
        """Let it in no more."""
        for key in self._keys(one):
            self._rows.delete(key)
        if not any((other.to, other.proto) == (one.to, one.proto) for _, other, _ in self.found()):
            self._rows.delete(self._host(one))
        for network in one.from_:
            self._sources.delete(self._source(number, network))

    def hits(self, number: int, one: AllowIn) -> int:
        """How many sessions it has let in."""
        return sum(found.hits for key in self._keys(one) if (found := self._rows.get(key)) and found.id == number)

    @staticmethod
    def _keys(one: AllowIn) -> Iterator[abi.AdmissionKey]:
        for port in range(one.port.first, one.port.last + 1):
            yield abi.AdmissionKey(to=tuple(one.to.packed), port=abi.be16(port), proto=PROTO[one.proto])

    @staticmethod
    def _host(one: AllowIn) -> abi.AdmissionKey:
        return abi.AdmissionKey(to=tuple(one.to.packed), proto=PROTO[one.proto])

    @staticmethod
    def _source(number: int, network: IPv6Network) -> abi.AdmissionSourceKey:
        address = tuple(network.network_address.packed)
        return abi.AdmissionSourceKey(prefix_len=_ID + network.prefixlen, id=number, address=address)
