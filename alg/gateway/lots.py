"""Lots: the ports that several gateways lease, each the same run of port blocks on every public address.

The law of this file: arithmetic. Who has a lot is alg/ha/leases.py's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from algate.alg.config.sections import Nat
from algate.alg.gateway import portblocks
from algate.alg.gateway.portblocks import BlockLayout
from algate.alg.plugin.values import PortRange
from algate.bpf import abi


class Lots(NamedTuple):
    """So many parts of the blocks of an address, as even as can be."""

    where: BlockLayout
    number: int

    @classmethod
    def of_blocks(cls, nat: Nat, number: int) -> Lots:
        """Those of a configuration."""
        return cls(portblocks.layout(nat.port_block, nat.ports), number)

    def at(self, port: int) -> int | None:
        """The lot that a port is in, None: it is in no block."""
        if not self.where.number or not self.where.first <= port < self.where.start(self.where.number):
            return None
        return (port - self.where.first) // self.where.size * self.number // self.where.number

    def ports(self, lot: int) -> PortRange:
        """A lot's ports."""
        first = -(-lot * self.where.number // self.number)
        behind = -(-(lot + 1) * self.where.number // self.number)
        return PortRange(self.where.start(first), self.where.start(behind) - 1)

    def open(self, words: Iterable[int]) -> set[int]:
        """The lots of which these words of usable blocks have some."""
        rows = (at * portblocks.WORD + bit for at, word in enumerate(words) for bit in range(portblocks.WORD)
                if word >> bit & 1)  # fmt: skip
        found = {self.at(row % abi.BLOCK_ROWS * abi.BLOCK_UNIT) for row in rows}
        return {lot for lot in found if lot is not None}
