"""The epoch moves between any two writes, while engine and witness are cut off from the node that leads at any moment.

Whatever the node that leads has carried out, the one that takes over knows; and from the moment at which it has shut
the log, the former one carries out nothing more, until the lead is free again. That node may be stopped, and wake.
"""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from algate.alg.ha import epoch as epochs
from algate.alg.ha import leading
from algate.alg.ha.following import LogFollower
from algate.alg.ha.memory import MemoryKeys, MemoryLog, MemoryStore
from algate.alg.ha.store import FencedError, Position, StoreError, StoreLog
from tests.unit.ha.test_leading import Place, until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leading, "AGAIN", 0.002)
    monkeypatch.setattr(leading, "WALK", 0.001)


def view(of: MemoryStore) -> MemoryStore:
    """The same store over another link."""
    made = MemoryStore()
    made.logs, made.ends, made.keys = of.logs, of.ends, of.keys
    return made


class StoppedLog(MemoryLog):
    """A log of a node that may be stopped, with what it was about to do. `runs`: it isn't."""

    def __init__(self, memory: MemoryStore, name: str, runs: asyncio.Event) -> None:
        super().__init__(memory, name)
        self._runs = runs

    async def commit(self) -> None:
        """As StoreLog says."""
        await self._runs.wait()
        await super().commit()


class Node(Place):
    """A leading node that waits for its acknowledgements; `runs` cleared: it is stopped at its next commit."""

    def __init__(self, engine: MemoryStore, witness: MemoryStore) -> None:
        self.link, self.runs = view(engine), asyncio.Event()
        self.runs.set()
        super().__init__(self.link, witness, go_on=False)

    async def _connect(self, name: str) -> StoreLog:
        await self.runs.wait()
        self.link.reach()
        return StoppedLog(self.link, name, self.runs)


class Careless(Node):
    """A planted fault: it goes on without an acknowledgement."""

    def __init__(self, engine: MemoryStore, witness: MemoryStore) -> None:
        super().__init__(engine, witness)
        self.outbox._go_on = True


async def take_over(engine: MemoryStore, witness: MemoryStore) -> tuple[epochs.Epoch, set[int]]:
    """What the other node does, and what it knows then."""
    follower, bulk = (LogFollower(name, MemoryLog(engine, name)) for name in ("control", "bulk"))
    while await follower._look(0):  # it reads all the time
        pass
    mine = await epochs.take(MemoryKeys(witness), "b", follower.position.epoch)
    for one in (follower, bulk):
        await one.shut(mine.number)
    return mine, set(follower.kept.sessions) if follower.kept is not None else set()


async def scene(seed: int, kind: type[Node]) -> None:
    chance, engine, witness = Random(seed), MemoryStore(), MemoryStore()
    path = view(witness)
    node, given = kind(engine, path), 0
    running = asyncio.ensure_future(node.leader.run())
    try:
        await until(lambda: node.leader.state == "in step")
        for _ in range(chance.randrange(5, 40)):
            what = chance.randrange(9)
            if what < 4:
                given += 1
                node.offer(given)
            elif what == 4:
                node.link.broken = not node.link.broken
            elif what == 5:
                path.broken = not path.broken
            elif what == 6:
                node.runs.clear() if node.runs.is_set() else node.runs.set()
            for _ in range(chance.randrange(8)):
                await asyncio.sleep(0)
            if what == 7:
                await asyncio.sleep(0.003)
        mine, known = await take_over(engine, witness)
        done = list(node.done)
        assert set(done) <= known, "carried out, and the other node doesn't know"
        node.runs.set()  # it wakes
        node.offer(given + 1)
        await asyncio.sleep(0.004)
        assert node.done == done, "carried out after the other node had taken over"
        node.link.broken = path.broken = False
        await until(lambda: node.leader.fenced)
        assert node.done == done and node.fences[-1]
        with pytest.raises(FencedError):
            node.link.write("control", Position(mine.number - 1, 1 << 40), b"")
        assert await epochs.give_back(MemoryKeys(witness), mine)
        await until(lambda: node.leader.state == "in step" and len(node.done) == given + 1)
        assert node.done == sorted(node.done)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def play(seed: int, kind: type[Node]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(10):
            await scene(seed, kind)

    asyncio.run(bounded())


def test_what_was_carried_out_is_known_and_nothing_is_afterwards() -> None:
    for seed in range(120):
        play(seed, Node)


def test_a_node_that_waits_for_nobody_is_seen() -> None:
    broken = 0
    for seed in range(20):
        try:
            play(seed, Careless)
        except (AssertionError, StoreError, TimeoutError):
            broken += 1
    assert broken > 0
