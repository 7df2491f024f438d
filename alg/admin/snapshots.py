"""What `top` is told: the gateway at one moment, as far as the screen shows it.

The law of this file: it puts an answer together. How often the tables are looked at is in sight.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from algate.alg.admin import pace, sight
from algate.alg.admin.asked import TopRequest
from algate.alg.answers import StatusAnswer
from algate.alg.daemon.running import Running

Status = Callable[[], StatusAnswer]  # the object of `algate status`, now


async def top(
    running: Running, status: Status, memory: pace.Memory, args: dict[str, Any]
) -> AsyncIterator[dict[str, Any]]:
    """A snapshot at once, then one every `interval` seconds."""
    asked = TopRequest.parse(running, args)
    with memory.used():
        seen = sight.of(running, asked, memory)
        try:
            while True:
                began = time.monotonic()
                yield await snapshot(running, status, asked, seen)
                await asyncio.sleep(max(0.0, began + asked.interval - time.monotonic()))
        finally:
            if seen is not None:
                seen.close()


async def snapshot(
    running: Running, status: Status, asked: TopRequest, seen: sight.TableSight | None
) -> dict[str, Any]:
    """Status, stats and the latest events at one moment, and what the view shows."""
    shown = await seen.look() if seen is not None else {}
    return {
        "time": time.time(),
        "view": asked.view,
        "status": status(),
        "stats": running.stats(),
        "events": running.events.latest[-asked.events :] if asked.events else [],
        **shown,
    }
