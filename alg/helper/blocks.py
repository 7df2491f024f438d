"""Blocks of public ports that lead to the same ports of an inside host: held for the configuration, shared by sessions.

The law of this file: who has a share of which block, and which of its ports others have; only the kernel says whether
a port is free. A block named in the configuration is held all the time, so that no mapping takes its ports; a
plug-in's own is held while a session has a share. Ports that others hold are asked for again.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from ipaddress import IPv4Address
from typing import NamedTuple

from algate.alg.gateway.reserved import reserved
from algate.bpf import abi
from algate.bpf.loader import Gateway
from algate.bpf.requests import ControlProgram, owner, port_row

log = logging.getLogger(__name__)


class Block(NamedTuple):
    """`size` ports from `first` on, of the inside host and of the public address at `place` in struct config."""

    place: int
    proto: int
    inside: IPv4Address
    first: int
    size: int

    def cell(self, port: int) -> tuple[int, int]:
        """Row of `ports` and owner word of one port."""
        return port_row(self.place, self.proto, port), owner(self.inside, port, abi.PortKind.RESERVED)


class Blocks:
    """All blocks held."""

    def __init__(self, control: ControlProgram) -> None:
        self._control = control
        self._shares: dict[Block, int] = {}
        self._lacking: dict[Block, set[int]] = {}  # ports that somebody else has
        self._configured: set[Block] = set()

    def configure(self, wanted: Collection[Block]) -> None:
        """Hold these, and no longer those of an earlier configuration."""
        for block in self._configured - set(wanted):
            self._configured.discard(block)
            self.give_back(block)
        for block in wanted:
            if block not in self._configured:
                self._configured.add(block)
                self.take(block)

    def inherit(self, gateway: Gateway) -> None:
        """Give back what an earlier helper held and nobody wants any longer."""
        held = {block.cell(port) for block in self._shares for port in range(block.first, block.first + block.size)}
        for slot in list(reserved(gateway)):
            if slot.block and (slot.row, slot.owner) not in held:
                self._control.release(slot.row, slot.owner, slot.block)

    def take(self, block: Block) -> bool:
        """Take one more share. False: others hold all of its ports."""
        if block not in self._shares:
            self._lacking[block] = set(range(block.first, block.first + block.size))
            self._shares[block] = 0
            self._claim(block)
        if len(self._lacking[block]) == block.size and block not in self._configured:
            if not self._shares[block]:
                del self._shares[block], self._lacking[block]
            return False
        self._shares[block] += 1
        return True

    def give_back(self, block: Block) -> None:
        """Give one share back; after the last one each port is freed when its last data connection ends."""
        if block not in self._shares:
            return
        self._shares[block] -= 1
        if self._shares[block]:
            return
        for port in set(range(block.first, block.first + block.size)) - self._lacking[block]:
            row, who = block.cell(port)
            self._control.release(row, who, block.first)
        del self._shares[block], self._lacking[block]

    def retry(self) -> None:
        """Ask again for the ports that others had."""
        for block, lacking in self._lacking.items():
            if lacking:
                self._claim(block)

    def lacking(self, block: Block) -> set[int]:
        """The ports of a block that others hold."""
        return self._lacking.get(block, set())

    def _claim(self, block: Block) -> None:
        before = set(self._lacking[block])
        known = block in self._shares and len(before) < block.size
        for port in sorted(before):
            row, who = block.cell(port)
            if self._control.claim(row, who, block.first):
                self._lacking[block].discard(port)
        now = self._lacking[block]
        if now and (now != before or not known):
            told = ", ".join(str(port) for port in sorted(now)[:8]) + (", ..." if len(now) > 8 else "")
            log.warning("public ports for %s that others hold (%d): %s; asking again", block.inside, len(now), told)
        elif before and not now and known:
            log.info("public ports %d-%d for %s are all held", block.first, block.first + block.size - 1, block.inside)
