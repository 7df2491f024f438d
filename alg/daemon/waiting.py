"""Waiting for the WAN's address, which a start can't do without.

The law of this file: it looks and waits, and says for what; it changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from algate.alg.config.load import Config
from algate.alg.daemon.devices import Sight, look
from algate.alg.daemon.notify import notify
from algate.alg.daemon.watcher import NET, Watcher
from algate.alg.errors import AlgateError

log = logging.getLogger(__name__)


async def for_address(
    config: Callable[[], Config], watcher: Watcher, stopping: asyncio.Event, wait: float | None,
    say: Callable[[str], None],
) -> Sight | None:  # fmt: skip
    """The devices, once the WAN has an address. None: `stopping` was set meanwhile. `config`: the present one, since a
    reload may change it; `wait`: seconds, None: for ever; `say` is told for what. AlgateError if it took longer, or for
    what no waiting helps."""
    since, told = time.monotonic(), ""
    while not stopping.is_set():
        seen = await asyncio.to_thread(look, config())
        if not seen.problem:
            return seen
        if seen.devices is None or seen.devices.addresses:
            raise AlgateError(seen.problem)
        name = seen.devices.wan.name
        if told != (told := f"waiting for an address on {name}"):
            log.info("%s: nothing is translated until it has one", told)
        say(told)
        left = NET if wait is None else since + wait - time.monotonic()
        if left <= 0:
            raise AlgateError(f"{name} has no IPv4 address: give it one, or leave --wait out to wait for it")
        notify(f"STATUS={told}")
        await watcher.change(min(left, NET))
    return None
