"""Long work in steps, and what it cost.

The law of this file: the cost is processor time of the steps alone. The clock on the wall would also count what others
did in between, and how long the machine or the process stood still: a look for endings that a SIGSTOP of 4 s fell into
was followed by a rest of 16 s.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable


async def paced(steps: Iterable[None]) -> float:
    """Take the steps one by one, others' turns in between. Returns their processor time in s."""
    took, began = 0.0, time.thread_time()
    for _ in steps:
        took += time.thread_time() - began
        await asyncio.sleep(0)
        began = time.thread_time()
    return took + time.thread_time() - began
