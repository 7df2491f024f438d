"""What a node leaves at the witness: that it leads no more, and digests of its configuration.

The law of this file: nothing waits for the witness; what it couldn't be told it is told later.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from algate.alg.config.load import Config
from algate.alg.ha import epoch as epochs
from algate.alg.ha.likeness import leave, likeness
from algate.alg.ha.store import StoreError, StoreKeys

AGAIN = 5.0  # s between looks whether the configuration is another than what the witness knows


class Witnessing:
    """Of one node; `config`: the one in force."""

    def __init__(self, keys: StoreKeys, config: Callable[[], Config]) -> None:
        self._keys = keys
        self._config = config
        self._left = b""
        self._free = False

    async def leave_likeness(self) -> None:
        """Have the witness know this node's configuration by its digests, for `doctor` on either node."""
        config = self._config()
        mine = likeness(config)
        if mine != self._left:
            with contextlib.suppress(StoreError):
                await leave(self._keys, config.ha.node, mine)
                self._left = mine

    async def run(self) -> None:
        """The same, for ever."""
        while True:
            await self.leave_likeness()
            await asyncio.sleep(AGAIN)

    async def give_back(self) -> None:
        """Who stands by leads no more: say so, once the witness can be asked."""
        if not self._free:
            with contextlib.suppress(StoreError):
                stood = await epochs.stands(self._keys)
                if stood.node == self._config().ha.node:
                    await epochs.give_back(self._keys, stood)
                self._free = True
