"""Port blocks while a gateway runs: where they may be given out, which were, and when an empty one is taken back.

The law of this file: it looks at the table of blocks once a second, and tells of what changed. Only this takes blocks
back, and a block is kept for longer than a second, so none comes and goes unseen: unlike of sessions nothing can be
lost. The kernel says when a block was given out. After a restart those that are still held are told again, with the
same time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address

from algate.alg.audit.fills import Fill
from algate.alg.audit.translations import PackedEnd, Translation
from algate.alg.audit.translations import TranslationKind as Kind
from algate.alg.config.sections import Nat
from algate.alg.gateway import portblocks
from algate.alg.gateway.addresses import Addresses
from algate.alg.gateway.portblocks import PortBlock
from algate.alg.plugin.values import PortRange
from algate.bpf import abi, ticks
from algate.bpf.loader import Gateway
from algate.bpf.requests import ControlProgram

SCARCE = 16  # blocks of which less than one is free: who has an empty one keeps it no longer than hold-down
Tell = Callable[[Sequence[Translation]], None]


class BlockKeeping:
    """`held`: as of the last look."""

    def __init__(self, gateway: Gateway, control: ControlProgram) -> None:
        self.tell: Tell = lambda _: None
        self.held: dict[int, PortBlock] = {}
        self.leased: Callable[[int, int], bool] = lambda *_: True  # whether a block is in what this gateway leases
        self._gateway = gateway
        self._control = control
        self._nat = Nat()
        self._addresses: list[IPv4Address] = []
        self._room = 0
        self._ranges: list[PortRange] = []

    @property
    def fill(self) -> Fill | None:
        """How many blocks are held, as of the last look, of how many there are; None where there are none."""
        most = portblocks.capacity(self._nat, len(self._addresses))
        return Fill(len(self.held), most) if most else None

    def pause(self, nat: Nat) -> None:
        """Before this is written: if the size of blocks changes, have none given out until `settle`."""
        if self._gateway.configs[0].port_block == nat.port_block:
            return
        portblocks.write_usable(self._gateway, [0] * abi.BLOCK_USABLE)
        portblocks.write_networks(self._gateway, ())

    def settle(self, nat: Nat, addresses: Sequence[IPv4Address], held: Iterable[PortRange]) -> None:
        """Have blocks given out as configured, but none in which a forward or a plug-in has one of the ports `held`, or
        that overlaps a block of another size, from an earlier configuration."""
        self._move(list(addresses))
        self._nat = nat
        self._ranges = list(held)
        if not nat.port_block:
            return
        other = [one for one in portblocks.held(self._gateway) if one.size != nat.port_block]
        ranges = [*self._ranges, *(PortRange(one.first, one.last) for one in other)]
        portblocks.write_networks(self._gateway, () if other else nat.port_block_hosts)
        words = portblocks.usable(nat, len(addresses), ranges, self.leased)
        self._room = sum(word.bit_count() for word in words)
        portblocks.write_usable(self._gateway, words)

    def rewrite(self) -> None:
        """As `settle`, with what that was told: `leased` says something else now."""
        self.settle(self._nat, self._addresses, self._ranges)

    def _move(self, addresses: list[IPv4Address]) -> None:
        """Another public address in the place of a former one: its blocks are given out anew, under the new one."""
        former, self._addresses = self._addresses, addresses
        moved = [
            one
            for one in self.held.values()
            if former[one.place : one.place + 1] != addresses[one.place : one.place + 1]
        ]
        told = [record for one in moved for record in self._record(Kind.BLOCK_RELEASED, one, former)]
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        told += [
            record
            for one in moved
            for record in self._record(Kind.BLOCK_ASSIGNED, one._replace(assigned=now), addresses)
        ]
        if told:
            self.tell(told)

    def look(self) -> None:
        """Take back what has been empty for long enough, and tell what became of the blocks."""
        if not self._nat.port_block and not self.held:
            return
        told: list[Translation] = []
        found = {one.row: one for one in portblocks.held(self._gateway) if one.assigned}
        for row, one in found.items():
            former = self.held.get(row)
            if former is not None and former.assigned == one.assigned:
                continue
            if former is not None:
                told += self._record(Kind.BLOCK_RELEASED, former, self._addresses)
            told += self._record(Kind.BLOCK_ASSIGNED, one, self._addresses)
        for row in self.held.keys() - found.keys():
            told += self._record(Kind.BLOCK_RELEASED, self.held[row], self._addresses)
        scarce = (self._room - len(found)) * SCARCE <= self._room
        now, idle = ticks.now(), ticks.lasting(portblocks.idle_time(self._nat, scarce))
        for row, one in list(found.items()):
            if not one.used and ticks.distance(now, one.stamp) >= idle and self._control.withdraw(row):
                told += self._record(Kind.BLOCK_RELEASED, found.pop(row), self._addresses)
        self.held = found
        if told:
            self.tell(told)

    def _record(self, kind: Kind, one: PortBlock, addresses: Sequence[IPv4Address]) -> list[Translation]:
        """None of a block that the configuration gives its host: whoever has that needs no log (RFC 7422)."""
        if one.place >= len(addresses):
            return []
        if portblocks.computed(self._nat, len(addresses), one.inside) == (one.place, one.first):
            return []
        began = time.time() - (time.clock_gettime_ns(time.CLOCK_MONOTONIC) - one.assigned) / 1e9
        ended = kind is Kind.BLOCK_RELEASED
        host = Addresses(self._gateway).packed(one.inside.packed)  # of NAT64 its handle, which lasts with the block
        return [
            Translation(
                kind, time.time() if ended else began, 0, PackedEnd(host, 0),
                PackedEnd(addresses[one.place].packed, 0), since=began if ended else 0.0, ports=(one.first, one.last),
            )
        ]  # fmt: skip
