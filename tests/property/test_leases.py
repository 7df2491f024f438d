"""Several gateways lease ports, and each of them dies, sleeps, is cut off or is slow between any two of its steps.

The model: real time; each gateway's clock, with an offset and a pace of its own; a kernel for each, which goes on while
the daemon doesn't; an engine whose answer may be lost after it has acted. Nowhere in it is a port of a lot in use at
two gateways.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from algate.alg.ha.leases import LeaseTerms, Lessee
from algate.alg.ha.store import StoreError

TERMS = LeaseTerms(8, 10.0, 20.0, "pool")


class Kernel:
    """What the programs do alone. `usable`: lots whose blocks may be given out; `used`: lots with a port in use."""

    def __init__(self) -> None:
        self.usable: set[int] = set()
        self.used: set[int] = set()
        self.new_until = 0.0
        self.gone_at = 0.0


class Machine:
    """A gateway: its steps are a generator, so that whatever happens may happen between any two."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.boots = 0
        self.pace = world.chance.uniform(0.993, 1.007)
        self.offset = world.chance.uniform(0, 1e6)
        self.asleep = False
        self.cut_off = False
        self.boot()

    def boot(self) -> None:
        """Power: the kernel is empty, and nobody knows it by this name."""
        self.boots += 1
        self.kernel = Kernel()
        self.start()

    def start(self) -> None:
        """The daemon, which may find a kernel at work."""
        self.lessee = self.world.kind(f"{self.number}.{self.boots}", TERMS)
        self.lessee.inherit(self.kernel.used | self.kernel.usable)
        self.steps = self.run()

    def clock(self) -> float:
        return self.offset + self.world.now * self.pace

    def passes(self) -> bool:
        return self.clock() < self.kernel.gone_at

    def run(self) -> Iterator[None]:
        """The daemon's round, as alg/ha/leasing.py has it."""
        while True:
            yield
            empty = (self.lessee.lots | self.lessee.draining) - self.kernel.used
            try:
                raw = self.world.read(self)
                yield
                made = self.lessee.propose(raw, self.clock(), 0.0, empty)
                yield
                won = self.world.move(self, made.former, bytes(made.table))
            except StoreError:
                continue
            yield
            if not won:
                continue
            self.lessee.granted(made)
            yield from self.apply()

    def apply(self) -> Iterator[None]:
        lost = set(self.lessee.lost)
        yield
        self.kernel.used -= lost
        yield
        self.lessee.cleared(lost)
        self.kernel.usable = set(self.lessee.lots)
        yield
        self.kernel.new_until = self.lessee.new_until
        yield
        self.kernel.gone_at = self.lessee.gone_at


class Hasty(Machine):
    """A planted fault: the lease is written before what was lost has ended."""

    def apply(self) -> Iterator[None]:
        self.kernel.usable = set(self.lessee.lots)
        self.kernel.new_until, self.kernel.gone_at = self.lessee.new_until, self.lessee.gone_at
        yield
        self.kernel.used -= self.lessee.lost
        self.lessee.cleared(set(self.lessee.lost))


class Impatient(Lessee):
    """A planted fault: it doesn't wait for hold-down."""

    def silent(self, node: str, now: float) -> bool:
        return node != self.name and now - self._seen[node][1] > self.terms.seconds


class Careless(Lessee):
    """A planted fault: its lease begins when it hears of it."""

    def granted(self, proposal):  # type: ignore[no-untyped-def]
        super().granted(proposal._replace(asked=proposal.asked + 15))


class World:
    def __init__(self, seed: int, machine: type[Machine] = Machine, kind: type[Lessee] = Lessee) -> None:
        self.chance = Random(seed)
        self.kind = kind
        self.now = 0.0
        self.value = b""
        self.handed_over = 0
        self.machines = [machine(self, number) for number in range(self.chance.randrange(2, 5))]
        self.owner: dict[int, int] = {}

    def read(self, asker: Machine) -> bytes:
        if asker.cut_off or self.chance.random() < 0.02:
            raise StoreError("it doesn't answer")
        return self.value

    def move(self, asker: Machine, former: bytes, new: bytes) -> bool:
        if asker.cut_off:
            raise StoreError("it doesn't answer")
        won = self.value == former
        if won:
            self.value = new
        if self.chance.random() < 0.03:
            raise StoreError("the answer was lost")
        return won

    def traffic(self) -> None:
        """Inside hosts begin sessions and end them, wherever the programs let them."""
        for one in self.machines:
            kernel = one.kernel
            if kernel.usable and one.clock() < min(kernel.new_until, kernel.gone_at) and self.chance.random() < 0.5:
                lot = self.chance.choice(sorted(kernel.usable))
                kernel.used.add(lot)
                self.handed_over += self.owner.get(lot, one.number) != one.number
                self.owner[lot] = one.number
            if kernel.used and self.chance.random() < 0.03:
                kernel.used.discard(self.chance.choice(sorted(kernel.used)))

    def mishap(self) -> None:
        one = self.chance.choice(self.machines)
        what = self.chance.randrange(5)
        if what == 0:
            one.asleep = not one.asleep
        elif what == 1:
            one.cut_off = not one.cut_off
        elif what == 2:
            one.start()  # the daemon died; its kernel goes on
        elif what == 3 and self.chance.random() < 0.3:
            one.boot()
        elif what == 4:
            one.asleep = one.cut_off = False

    def sound(self) -> None:
        """No lot has ports in use at two gateways that pass packets."""
        users: dict[int, int] = {}
        for one in self.machines:
            for lot in one.kernel.used if one.passes() else ():
                assert users.setdefault(lot, one.number) == one.number, f"lot {lot} of {users[lot]} and {one.number}"

    def play(self, steps: int = 700) -> None:
        for _ in range(steps):
            awake = [one for one in self.machines if not one.asleep]
            for one in self.chance.choices(awake, k=3) if awake else ():
                next(one.steps)
                self.traffic()
                self.sound()
            self.now += self.chance.choice((0.01, 0.1, 0.5, 0.5, 2.0))
            self.sound()
            if self.chance.random() < 0.03:
                self.mishap()

    def settle(self) -> None:
        """Everybody awake and reachable, nobody inside: each has its share at last."""
        for one in self.machines:
            one.asleep = one.cut_off = False
            one.kernel.used.clear()
        for _ in range(400):
            for one in self.machines:
                for _ in range(12):
                    next(one.steps)
            self.now += 0.5
            for one in self.machines:
                one.kernel.used.clear()


def test_no_lot_is_in_use_at_two_gateways() -> None:
    handed_over = 0
    for seed in range(60):
        world = World(seed)
        world.play()
        world.settle()
        lots = [one.kernel.usable for one in world.machines]
        assert sorted(lot for some in lots for lot in some) == list(range(TERMS.lots)), seed
        assert max(map(len, lots)) - min(map(len, lots)) <= 1
        handed_over += world.handed_over
    assert handed_over > 150


@pytest.mark.parametrize(("machine", "kind"), [(Hasty, Lessee), (Machine, Impatient), (Machine, Careless)])
def test_a_planted_fault_is_seen(machine: type[Machine], kind: type[Lessee]) -> None:
    def fails(seed: int) -> bool:
        try:
            World(seed, machine, kind).play(1500)
        except AssertionError:
            return True
        return False

    assert any(fails(seed) for seed in range(60))
