"""What long work cost: its own processor time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from algate.alg.daemon.pacing import paced


def steps(log: list[str]) -> Iterator[None]:
    for number in range(3):
        log.append(f"step {number}")
        yield


def busy(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


async def both(log: list[str]) -> float:
    async def others() -> None:
        for number in range(2):
            log.append(f"other {number}")
            busy(0.2)
            time.sleep(0.2)  # as if the process had been stopped
            await asyncio.sleep(0)

    work = asyncio.ensure_future(others())
    took = await paced(steps(log))
    await work
    return took


def test_others_work_and_standing_still_cost_nothing() -> None:
    log: list[str] = []
    assert asyncio.run(both(log)) < 0.2, "of 0.4 s of work and 0.8 s in all"
    assert log == ["step 0", "other 0", "step 1", "other 1", "step 2"]


def test_its_own_work_is_counted() -> None:
    def work() -> Iterator[None]:
        busy(0.05)
        yield
        busy(0.05)

    assert asyncio.run(paced(work())) >= 0.1
