"""A gateway dies between any two effects, and another one goes on from what was written down at it.

Two kernels and two engines, and between them the messages: some at the other gateway and acknowledged, some there and
not acknowledged, the rest lost with the sender.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Iterator
from functools import partial
from random import Random
from typing import TypeVar

import pytest

from algate.alg.engine import effects as fx
from algate.alg.gateway import records
from algate.alg.ha import entries as travelling
from algate.alg.ha.entries import Authorship, Entry, EntryKind, pack, unpack
from algate.alg.ha.outbox import Outbox, Then
from algate.alg.ha.standby import Standby
from algate.alg.ha.written import entries, everything
from tests.kernel_model import KernelModel
from tests.property.test_engine import play
from tests.toy import ANSWER, rewrite
from tests.wire import Lab

AUTHOR = Authorship("a", "layout", "boot", 0, 0.0)


class ModelTables:
    """What the kernel model has, raw: its track as pickle says it, expectations without their row of `ports`."""

    def __init__(self, kernel: KernelModel) -> None:
        self.kernel = kernel

    def session(self, session: int) -> bytes | None:
        return b"raw" if session == self.kernel.info.session and not self.kernel.reset else None

    def track(self, session: int) -> bytes | None:
        return pickle.dumps((self.kernel.tracked, self.kernel.account.start, self.kernel.account.syns))

    def adjust(self, record: fx.AdjustRecord) -> bytes:
        return records.pack_adjust(record)

    def expectation(self, one: fx.Expectation, state: int) -> bytes:
        return pickle.dumps(one._replace(state=state))

    def port(self, session: bytes) -> Entry | None:
        return None

    def counted(self, slot: Entry) -> list[Entry]:
        return []

    def reserved(self, expectation: bytes) -> Entry | None:
        return None


class Pair(Lab):
    """A lab whose helper commits before it acts. `flight`: messages sent and not acknowledged, at most `late`. `early`:
    effects that were carried out before."""

    go_on = False

    def __init__(self, isn: tuple[int, int], stamps: bool, late: int) -> None:
        self.standby = Standby()
        self.flight: deque[tuple[int, bytes]] = deque()
        self.late = late
        self.failovers = self.early = 0
        self.outbox: Outbox | None = None
        super().__init__(isn, (1460, 1460), stamps)

    def _begin(self) -> Outbox:
        """This gateway becomes the active one: all that it holds goes to the other."""
        self.tables = ModelTables(self.kernel)
        self.standby = Standby()
        kernel = self.kernel
        adjusts = {kernel.info.session: records.pack_adjust(kernel.adjust)} if kernel.adjust else {}
        held = {(kernel.info.session, way): data for way, data in kernel.held.items()}
        expected = [(one.id, one.session, self.tables.expectation(one, one.state))
                    for one in kernel.expectations.values()]  # fmt: skip
        told = everything([kernel.info.session], {}, adjusts, held, expected, self.tables)
        for page in travelling.pages([travelling.begin(AUTHOR), *told, Entry(EntryKind.END, b"")], 600):
            self.standby.take(unpack(pack(page)))
        return self._outbox()

    def _outbox(self) -> Outbox:
        made = Outbox(
            lambda effects: entries(effects, self.tables), self._write, self._carry, self.go_on, self._prepare
        )
        made.together()
        return made

    def _prepare(self, effects: list[fx.Effect], early: int) -> Then:
        """What may be ahead of the other gateway is in the kernel from here on."""
        early = self.ahead(effects, early)
        self._carry(effects[:early])
        self.early += early
        return partial(self._carry, effects[early:])

    def ahead(self, effects: list[fx.Effect], early: int) -> int:
        return early

    def _write(self, ticket: int, made: list[Entry]) -> None:
        self.flight.append((ticket, pack(made)))

    def _carry(self, effects: list[fx.Effect]) -> None:
        self.kernel.carry_out(effects)

    def do(self, effects: list[fx.Effect]) -> None:
        self.effects = effects
        if self.outbox is None:
            self.outbox = self._begin()
        self.outbox.offer(effects)
        self.outbox.prepare()
        self.deliver(self.late)

    def deliver(self, most: int) -> None:
        """Acknowledge all messages except the latest `most`."""
        while len(self.flight) > most:
            ticket, message = self.flight.popleft()
            self.standby.take(unpack(message))
            assert self.outbox is not None
            self.outbox.acknowledged(ticket)

    def run(self) -> None:
        for _ in range(10000):
            self.think()
            if not self.queue and not self.errors:
                if not self.flight:
                    return
                self.deliver(0)
                continue
            if self.queue:
                self.arrive(0)
        raise AssertionError("the packets never stop")

    def die(self, moment: int) -> None:
        """The active gateway dies while it carries out what the next segment brings; of what it had sent, the other
        has a part. That one takes its place."""
        waiting = [n for n, (_, _, past) in enumerate(self.queue) if not past]
        if waiting:
            self.arrive(waiting[0])
        self.kernel.stop_after = moment % 8
        self.think()
        for _ in range(moment // 8 % 4):
            if self.flight:
                self.standby.take(unpack(self.flight.popleft()[1]))
        self.flight.clear()
        self.queue = [one for one in self.queue if one[2] or moment % 3]  # what was on its way to the dead one
        self.take_over()

    def take_over(self) -> None:
        """The standby makes its kernel of what it holds."""
        kept, former = self.standby.kept, self.kernel
        assert kept is not None and not self.kernel.reset
        self.failovers += 1
        number = former.info.session
        fresh = KernelModel(former.info, self.punts.append, self._leaves)
        fresh.told, fresh.hurried, fresh.unsent = former.told, former.hurried, former.unsent
        fresh.mtu, fresh.now = former.mtu, self.now
        fresh.ever_expected, fresh.opened, fresh.deleted = former.ever_expected, former.opened, former.deleted
        fresh.tracked, fresh.account.start, fresh.account.syns = pickle.loads(kept.tracks[number])
        fresh.tracked.punted = [None, None]
        fresh.adjust = records.unpack_adjust(kept.adjusts[number]) if number in kept.adjusts else None
        fresh.held = {way: data for (_, way), data in kept.held.items()}
        fresh.expectations = {one: pickle.loads(raw) for one, (_, raw) in kept.expectations.items()}
        self.kernel, self.outbox = fresh, None
        self.restart()


class Hasty(Pair):
    """A planted fault: it acts, and writes it down afterwards."""

    def do(self, effects: list[fx.Effect]) -> None:
        if self.outbox is None:
            self.outbox = self._begin()
        made = entries(effects, self.tables)
        self._carry(effects)
        if made:
            self._write(0, made)
        self.deliver(self.late)


class Early(Pair):
    """A planted fault: all but frames is carried out before the other gateway has it, so what is repeated passes."""

    def ahead(self, effects: list[fx.Effect], early: int) -> int:
        return next((at for at, one in enumerate(effects) if isinstance(one, fx.Inject)), len(effects))


class Forgetful(Pair):
    """A planted fault: what was promised and what was replaced isn't written down."""

    def _write(self, ticket: int, made: list[Entry]) -> None:
        super()._write(ticket, [one for one in made if one.kind is not EntryKind.HELD])


LINES = (b"noop\n", b"same abc\n", b"grow 040\n", b"shrink.....\n", b"deny it\n", b"expect\n", b"x" * 90 + b"\n")


P = TypeVar("P", bound=Pair)
Step = tuple[int, int, int, int]


def steps(seed: int, kind: type[P], kinds: int) -> Iterator[tuple[P, Step]]:
    """A dialogue under whatever TCP does: the pair, and a step of one of so many kinds, of which 0 to 7 are TCP's."""
    chance = Random(seed)
    lab = kind(chance.choice([(1000, 5000), (0xFFFF_FF00, 0x7FFF_FFF0)]), chance.random() < 0.5, chance.randrange(3))
    lab.inside.stream = b"".join(chance.choices(LINES, k=chance.randrange(1, 12)))
    lab.outside.stream = b"".join(chance.choices(LINES[:4], k=chance.randrange(1, 8)))
    for _ in range(chance.randrange(5, 50)):
        yield lab, (chance.randrange(kinds), chance.randrange(2), chance.randrange(2**16), chance.randrange(1, 400))


def scene(seed: int, kind: type[Pair]) -> Pair:
    """Such a dialogue with several fail-overs, played to its end."""
    for lab, step in steps(seed, kind, 10):
        if step[0] == 8:
            lab.die(step[3])
        else:
            play(lab, [step])
    lab.late = 0
    lab.finish()
    return lab


def judge(lab: Pair) -> None:
    """Each end got all of the other's lines, once, as they should be."""
    assert not lab.kernel.reset
    assert bytes(lab.outside.got) == rewrite(lab.inside.stream)
    assert lab.inside.got.count(ANSWER) == lab.inside.stream.count(b"deny it")
    assert bytes(lab.inside.got).replace(ANSWER, b"") == rewrite(lab.outside.stream)


def test_a_control_session_survives_the_death_of_its_gateway_at_any_moment() -> None:
    failovers = early = 0
    for seed in range(600):
        lab = scene(seed, Pair)
        judge(lab)
        failovers, early = failovers + lab.failovers, early + lab.early
    assert failovers > 1000 and early > 1000


@pytest.mark.parametrize("kind, first", [(Hasty, 0), (Early, 60), (Forgetful, 0)])
def test_a_planted_fault_is_seen(kind: type[Pair], first: int) -> None:
    broken = 0
    for seed in range(first, first + 25):
        try:
            judge(scene(seed, kind))
        except Exception:
            broken += 1
    assert broken > 0
