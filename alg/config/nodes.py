"""One of several gateways that have the same addresses and the same port blocks, and which blocks it gives out.

The law of this file: a value, and how it is spelled.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from algate.alg.plugin.values import RefusedError
from algate.alg.wording import shown

NODES_MAX = 64


class NodeShare(NamedTuple):
    """Which gateway of how many; prints as "2/4"."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def has(self, block: int) -> bool:
        """Whether the block with that number, counted over all addresses, is this one's to give out."""
        return block % self.of == self.number - 1


def node_share(value: object) -> NodeShare:
    """Which gateway of how many, as text: "2/4"."""
    found = re.fullmatch(r"([1-9][0-9]?)/([1-9][0-9]?)", value) if isinstance(value, str) else None
    if found is None or not int(found[1]) <= int(found[2]) <= NODES_MAX:
        raise RefusedError(
            f'{shown(value)} says not which gateway of how many (up to {NODES_MAX}): "2/4" is the second of 4'
        )
    return NodeShare(int(found[1]), int(found[2]))
