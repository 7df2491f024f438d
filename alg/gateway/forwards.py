"""The forwards as the kernel has them: the table `forwards`, their sources, and the rows of `ports` that they hold.

The law of this file: it brings the kernel's tables to what is wanted and reads them back; it reads no file.
The index in `forwards` is a forward's identity while it exists; live ones survive a restart in the pins.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network

from algate.alg.config.load import Forward
from algate.alg.errors import AlgateError
from algate.alg.gateway.addresses import Addresses
from algate.alg.gateway.settings import PROTO
from algate.alg.plugin.model import EndPoint, ProtocolPlugin
from algate.alg.plugin.values import PortRange
from algate.alg.rows import ForwardRow
from algate.bpf import abi
from algate.bpf.loader import Gateway
from algate.bpf.requests import ControlProgram, owner, port_row

NAMES = {number: name for name, number in PROTO.items()}
ORIGIN = {False: "config", True: "live"}


class Forwards:
    """The forwards of one gateway. `sync` for the configured ones, `add` and `delete` for live ones. An IPv6 host has a
    handle for its address there, which stays as long as the forward does (handles.py)."""

    def __init__(self, gateway: Gateway, control: ControlProgram, plugins: dict[str, ProtocolPlugin]) -> None:
        self._gateway = gateway
        self._control = control
        self._plugins = plugins
        self._hosts = Addresses(gateway, control.intern)
        self._addresses = 1
        self._known: dict[int, tuple[Forward, bool]] = {}
        self._sources: dict[int, list[IPv4Network]] = {}
        for key, _ in gateway.forward_sources.items():
            network = IPv4Network((abi.be32_to_ip(key.address), key.prefix_len - 32))
            self._sources.setdefault(key.forward_id, []).append(network)
        for index, value in gateway.forwards.items():
            if value.flags & abi.ForwardFlag.USED:
                self._known[index] = (self._read(index, value), bool(value.flags & abi.ForwardFlag.LIVE))

    def _read(self, index: int, value: abi.Forward) -> Forward:
        alg = next((plugin.name for plugin in self._plugins.values() if plugin.number == value.alg), "")
        to = EndPoint(self._hosts.address(abi.be32_to_ip(value.to_ip).packed), value.to_port)
        sources = tuple(self._sources.get(index, ()))
        return Forward(NAMES[value.proto], PortRange(value.wan_first, value.wan_last), to, sources, alg)

    def sync(self, wanted: Sequence[Forward], addresses: int) -> None:
        """Make `wanted` the configured forwards; live ones stay. AlgateError names a port that is held."""
        self._addresses = addresses
        for index, (known, live) in list(self._known.items()):
            if not live and known not in wanted:
                self._remove(index)
        for one in wanted:
            at = next((i for i, (known, live) in self._known.items() if not live and known == one), None)
            self._write(self._free() if at is None else at, one, live=False)
        for index, (known, live) in list(self._known.items()):
            if live:
                self._write(index, known, live=True)

    def add(self, one: Forward, live: bool = True) -> None:
        """Add a forward, `live` or configured. AlgateError if an inside host's mapping holds one of its ports."""
        self._write(self._free(), one, live=live)

    def settle(self, one: Forward) -> bool:
        """Make a live forward a configured one. False if there is no such live forward."""
        index = next((i for i, (known, live) in self._known.items() if live and known == one), None)
        if index is not None:
            self._write(index, one, live=False)
        return index is not None

    def delete(self, proto: str, ports: PortRange) -> bool:
        """End a live or configured forward; established sessions go on. False if there is none."""
        for index, (known, _) in self._known.items():
            if (known.proto, known.wan_port) == (proto, ports):
                self._remove(index)
                return True
        return False

    def rows(self) -> list[ForwardRow]:
        """What `forward list` shows."""
        return [
            ForwardRow(
                known.proto,
                str(known.wan_port),
                str(known.to),
                tuple(str(one) for one in known.from_),
                known.alg or None,
                ORIGIN[live],
                self._gateway.forwards[index].hits,
            )
            for index, (known, live) in sorted(self._known.items())
        ]

    def all(self) -> list[Forward]:
        """Every forward in force."""
        return [known for known, _ in self._known.values()]

    def live(self) -> list[Forward]:
        """Those that were added live."""
        return [known for known, live in self._known.values() if live]

    def _free(self) -> int:
        for index in range(abi.MAX_FORWARDS):
            if index not in self._known:
                return index
        raise AlgateError(f"there are already {abi.MAX_FORWARDS} forwards: delete one")

    def cells(self) -> list[tuple[str, list[int]]]:
        """Each forward's name, "tcp/8080", with the rows of `ports` that it holds."""
        return [
            (f"{known.proto}/{known.wan_port}", [row for row, _ in self._cells(known)])
            for known, _ in self._known.values()
        ]

    def _cells(self, one: Forward) -> list[tuple[int, int]]:
        """(row of `ports`, owner word) of each port on each public address."""
        kind = abi.PortKind.FORWARD
        ip = self._host(one)
        return [
            (port_row(address, PROTO[one.proto], port), owner(ip, one.to.port + port - one.wan_port.first, kind))
            for address in range(self._addresses)
            for port in range(one.wan_port.first, one.wan_port.last + 1)
        ]

    def _host(self, one: Forward) -> IPv4Address:
        """What the tables have for its host: of an IPv6 one the handle. AlgateError if there is no room for one."""
        try:
            return IPv4Address(self._hosts.raw(one.to.ip.packed))
        except OSError as error:
            raise AlgateError(f"forward to {one.to}: {error.strerror}") from None

    def _write(self, index: int, one: Forward, live: bool) -> None:
        flag = abi.ForwardFlag
        flags = flag.USED | (flag.SOURCES if one.from_ else 0) | (flag.LIVE if live else 0)
        number = self._plugins[one.alg].number if one.alg in self._plugins else 0
        old = self._gateway.forwards[index]
        value = abi.Forward(
            to_ip=abi.ip_to_be32(self._host(one)), to_port=one.to.port, wan_first=one.wan_port.first,
            wan_last=one.wan_port.last, proto=PROTO[one.proto], alg=number, flags=int(flags), hits=old.hits,
        )  # fmt: skip
        for network in one.from_:
            key = abi.ForwardSourceKey(
                prefix_len=32 + network.prefixlen, forward_id=index, address=abi.ip_to_be32(network.network_address)
            )
            self._gateway.forward_sources.put(key, 1)
        self._gateway.forwards.put(index, value)
        taken: list[tuple[int, int]] = []
        for row, who in self._cells(one):
            if not self._control.serve(row, who, index):
                for earlier in taken:
                    self._control.release(*earlier)
                self._gateway.forwards.put(index, abi.Forward())
                raise AlgateError(f"{one.proto} port {row & 0xFFFF} is held by an inside host's mapping: end it first")
            taken.append((row, who))
        self._known[index] = (one, live)

    def _remove(self, index: int) -> None:
        one, _ = self._known.pop(index)
        for row, who in self._cells(one):
            self._control.release(row, who)
        self._gateway.forwards.put(index, abi.Forward())
        for key, _ in list(self._gateway.forward_sources.items()):
            if key.forward_id == index:
                self._gateway.forward_sources.delete(key)
