"""Public ports for the engine, held by the kernel's control program.

The law of this file: which public address, which ports; only the kernel says whether they are free.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address

from algate.alg.helper.blocks import Block, Blocks
from algate.alg.plugin.contract import end_point
from algate.alg.plugin.model import Address, EndPoint, address
from algate.alg.plugin.spelled import packed
from algate.alg.plugin.values import PortRange
from algate.bpf import abi
from algate.bpf.requests import ControlProgram, owner, port_row

TRIES = 32  # tries for a block of adjacent ports or an even one
LOOK_EVERY = 0.05  # s: each look costs time, and the one that ends first has been over longest


class KernelPorts:
    """The engine's PortBroker. `addresses` are those of struct config, in its order."""

    def __init__(self, control: ControlProgram, addresses: Sequence[IPv4Address], first: int, last: int) -> None:
        self._control = control
        self.addresses = list(addresses)
        self.first, self.last = first, last
        self.blocks = Blocks(control)
        self.look: Callable[[], None] = lambda: None
        """Called sometimes before an ended data session is deleted for its port, so that its bytes get counted."""
        self.raw: Callable[[bytes], bytes] = lambda packed: packed
        """What the kernel's tables have for an inside address: of IPv6 its handle."""
        self._looked = -LOOK_EVERY
        self._asked: tuple[Address | None, list[IPv4Address], int | None] = None, self.addresses, None

    def _before_ending(self) -> None:
        now = time.monotonic()
        if now - self._looked >= LOOK_EVERY:
            self._looked = now
            self.look()

    def place(self, public: Address) -> int | None:
        """The position of a public address in struct config."""
        asked, of, place = self._asked
        addresses = self.addresses
        if public is not asked or addresses is not of:  # as values they cost 1.5 µs, several times for a connection
            place = addresses.index(public) if public in addresses else None  # type: ignore[arg-type]
            self._asked = public, addresses, place
        return place

    def reserve(self, proto: int, public_ip: Address, inside: EndPoint, count: int, even: bool) -> EndPoint | None:
        """The inside port's own number if it is free, else another; None if none (or no such block) was found."""
        place = self.place(public_ip)
        if place is None:
            return None
        wanted = inside.port
        for _ in range(TRIES if count > 1 or even else 1):
            port = self._block(place, proto, wanted, inside, count, even)
            if port is not None:
                return end_point(public_ip, port)
            wanted = random.randrange(self.first, self.last + 1)
        return None

    def _block(self, place: int, proto: int, wanted: int, inside: EndPoint, count: int, even: bool) -> int | None:
        """`count` adjacent ports, starting where the kernel finds one free."""
        ip = self._owner(inside.ip)
        first = self._control.reserve(place, proto, wanted, ip, inside.port, self._before_ending)
        if first is None:
            return None
        held = [(first, inside.port)]
        for step in range(1, count):
            got = self._control.reserve(place, proto, first + step, ip, inside.port + step)
            if got is not None:
                held.append((got, inside.port + step))
            if got != first + step:
                break
        if (even and first % 2) or [port for port, _ in held] != list(range(first, first + count)):
            for port, inside_port in held:
                self.release(proto, EndPoint(self.addresses[place], port), EndPoint(ip, inside_port), 1)
            return None
        return first

    def release(self, proto: int, public: EndPoint, inside: EndPoint, count: int) -> None:
        """Give ports back; a data session that uses one keeps it until it ends."""
        place = self.place(public.ip)
        if place is None:
            return
        for step in range(count):
            who = owner(self._owner(inside.ip), inside.port + step, abi.PortKind.RESERVED)
            self._control.release(port_row(place, proto, public.port + step), who)

    def configure(self, ranges: Iterable[tuple[int, Address, PortRange]]) -> None:
        """Hold the blocks that the configuration names (protocol number, server, ports), on every public address."""
        wanted = [
            Block(place, proto, self._owner(ip), ports.first, len(ports))
            for proto, ip, ports in ranges
            for place in range(len(self.addresses))
        ]
        self.blocks.configure(wanted)

    def share(self, proto: int, public_ip: Address, inside: EndPoint, count: int) -> EndPoint | None:
        """A share of the block with the numbers of `inside`; None if others hold all of its ports."""
        block = self._shared(proto, public_ip, inside, count)
        return EndPoint(public_ip, inside.port) if block is not None and self.blocks.take(block) else None

    def unshare(self, proto: int, public: EndPoint, inside: EndPoint, count: int) -> None:
        """Give a share back."""
        block = self._shared(proto, public.ip, inside, count)
        if block is not None:
            self.blocks.give_back(block)

    def _shared(self, proto: int, public_ip: Address, inside: EndPoint, count: int) -> Block | None:
        place = self.place(public_ip)
        return None if place is None else Block(place, proto, self._owner(inside.ip), inside.port, count)

    def _owner(self, inside: Address) -> IPv4Address:
        """The inside host as the owner of a port."""
        if isinstance(inside, IPv4Address):
            return inside
        found = address(self.raw(packed(inside)))  # each made once: a port is held, and given back
        assert isinstance(found, IPv4Address)
        return found
