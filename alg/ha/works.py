"""Several works of one task, side by side.

The law of this file: whoever fails ends the others, and which failure counts is said here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from .store import FencedError


async def until_one_fails(*works: Coroutine[None, None, None]) -> None:
    """Raise what it raised, FencedError before others. Not a TaskGroup: that of Python 3.11 leaves a cancellation in
    its task behind when one of its own fails, and the next time-out there ends the task instead."""
    tasks = [asyncio.ensure_future(one) for one in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    failures = [error for one in done if (error := one.exception()) is not None]
    for error in sorted(failures, key=lambda error: not isinstance(error, FencedError)):
        raise error
