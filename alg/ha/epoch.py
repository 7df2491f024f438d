"""Who leads: one key at the witness, "EPOCH NODE", moved by compare-and-set.

The law of this file: an epoch is given out once. Who takes one has led from then on; who finds a later one leads no
more. "EPOCH -": nobody leads.
"""

from __future__ import annotations

from typing import NamedTuple

from .store import FencedError, StoreError, StoreKeys

KEY = "epoch"
NOBODY = "-"
TRIES = 5


class Epoch(NamedTuple):
    """`node` NOBODY: given back."""

    number: int
    node: str

    @classmethod
    def read(cls, raw: bytes) -> Epoch:
        """From the key's value. StoreError if that is no epoch."""
        if not raw:
            return cls(0, NOBODY)
        number, _, node = raw.decode("ascii", "replace").partition(" ")
        if not number.isdigit() or not node:
            raise StoreError(f"the witness has {raw[:40]!a} where the epoch should be")
        return cls(int(number), node)

    def __bytes__(self) -> bytes:
        return f"{self.number} {self.node}".encode() if self.number else b""


async def stands(keys: StoreKeys) -> Epoch:
    """The epoch that stands. StoreError if the witness can't be asked."""
    return Epoch.read(await keys.read(KEY))


async def take(keys: StoreKeys, node: str, beyond: int = 0, held: Epoch | None = None) -> Epoch:
    """A new epoch for this node. `beyond`: the latest one seen anywhere else, so that a witness that has lost its data
    gives out no old one. `held`: the one that this node leads by; FencedError if another node has led since. Looked at
    with each try: between a look and a later try that node may take its own."""
    for _ in range(TRIES):
        former = await stands(keys)
        if held is not None and former.number > held.number and former.node not in (node, NOBODY):
            raise FencedError(f"epoch {former.number} is {former.node}'s")
        mine = Epoch(max(former.number, beyond) + 1, node)
        if await keys.compare_and_set(KEY, bytes(former), bytes(mine)):
            return mine
    raise StoreError(f"the epoch moved {TRIES} times while it was taken")


async def give_back(keys: StoreKeys, mine: Epoch) -> bool:
    """Lead no more. False: somebody else leads already."""
    return await keys.compare_and_set(KEY, bytes(mine), bytes(mine._replace(node=NOBODY)))
