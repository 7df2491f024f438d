"""The other gateway, its engine or the link goes and comes back at any moment, and a gateway may die in between.

With when_alone = "hold" nothing is lost whenever it dies; with "go-on" nothing is, unless it dies while it is alone. A
node that stands by and starts anew reads the same from the log.
"""

from __future__ import annotations

import pytest

from algate.alg.engine.engine import Engine
from algate.alg.gateway import records
from algate.alg.ha import entries as travelling
from algate.alg.ha.entries import Entry, EntryKind, pack, unpack
from algate.alg.ha.outbox import Outbox
from algate.alg.ha.standby import Standby
from algate.alg.ha.written import everything
from tests.property.test_engine import play
from tests.property.test_ha import AUTHOR, ModelTables, Pair, judge, steps


class Alone(Pair):
    """A pair whose log can be cut off. `log`: what the engine has since the log began."""

    def __init__(self, isn: tuple[int, int], stamps: bool, late: int) -> None:
        self.log: list[bytes] = []
        self.cut_off = False
        self.cuts = self.restarts = 0
        super().__init__(isn, stamps, late)

    def _begin(self) -> Outbox:
        self.tables, self.standby, self.cut_off = ModelTables(self.kernel), Standby(), False
        self.tell_everything()
        return self._outbox()

    def tell_everything(self) -> None:
        """A log begins."""
        kernel = self.kernel
        adjusts = {kernel.info.session: records.pack_adjust(kernel.adjust)} if kernel.adjust else {}
        held = {(kernel.info.session, way): data for way, data in kernel.held.items()}
        expected = [(one.id, one.session, self.tables.expectation(one, one.state))
                    for one in kernel.expectations.values()]  # fmt: skip
        told = everything([kernel.info.session], {}, adjusts, held, expected, self.tables)
        self.log.clear()
        for page in travelling.pages([travelling.begin(AUTHOR), *told, Entry(EntryKind.END, b"")], 600):
            self.reach(pack(page))

    def reach(self, message: bytes) -> None:
        """The other gateway has a message."""
        self.log.append(message)
        self.standby.take(unpack(message))

    def deliver(self, most: int) -> None:
        while len(self.flight) > most:
            ticket, message = self.flight.popleft()
            self.reach(message)
            assert self.outbox is not None
            self.outbox.acknowledged(ticket)

    def cut(self, some: int) -> None:
        """Of what was sent a part arrives, and no acknowledgement comes back."""
        if self.outbox is None or self.cut_off:
            return
        for _ in range(min(some, len(self.flight))):
            self.reach(self.flight.popleft()[1])
        self.flight.clear()
        self.cut_off, self.cuts = True, self.cuts + 1
        self.outbox.alone()

    def mend(self) -> None:
        """It can be reached again, and is told everything anew."""
        if self.outbox is not None and self.cut_off:
            self.cut_off = False
            self.tell_everything()
            self.outbox.together()
            self.deliver(self.late)

    def reread(self) -> None:
        """The one that stands by starts anew."""
        kept = self.standby.kept
        self.standby, self.restarts = Standby(), self.restarts + 1
        for message in self.log:
            self.standby.take(unpack(message))
        assert self.standby.kept == kept

    def die(self, moment: int) -> None:
        if self.go_on and self.cut_off:
            self.mend()  # what it decided alone nobody else knows
        super().die(moment)


class GoingOn(Alone):
    go_on = True


class Unclassified(Alone):
    """No line passes by itself: all wait for the helper, and what one would change for the other gateway."""

    def _engine(self) -> Engine:
        self.limits = self.limits._replace(classify=False)
        return super()._engine()


class Deaf(Alone):
    """A planted fault: it doesn't notice that nobody acknowledges."""

    def cut(self, some: int) -> None:
        super().cut(some)
        if self.outbox is not None:
            self.outbox.acknowledged(self.outbox.sent)


class Silent(Alone):
    """A planted fault: when the other is back it is told nothing of what waited."""

    def mend(self) -> None:
        if self.outbox is not None and self.cut_off:
            self.cut_off = False
            self.outbox.together()
            self.flight.clear()
            self.outbox.acknowledged(self.outbox.sent)


def scene(seed: int, kind: type[Alone]) -> Alone:
    """A dialogue during which all of this happens, played to its end."""
    for lab, step in steps(seed, kind, 12):
        if step[0] == 8:
            lab.die(step[3])
        elif step[0] == 9:
            lab.cut(step[3] % 3)
        elif step[0] == 10:
            lab.mend()
        elif step[0] == 11:
            if lab.outbox is not None:
                lab.reread()
        else:
            play(lab, [step])
    lab.mend()
    lab.late = 0
    lab.finish()
    return lab


@pytest.mark.parametrize("kind", [Alone, GoingOn, Unclassified])
def test_a_control_session_survives_whatever_becomes_of_the_link(kind: type[Alone]) -> None:
    failovers = cuts = restarts = 0
    for seed in range(250):
        lab = scene(seed, kind)
        judge(lab)
        failovers, cuts, restarts = failovers + lab.failovers, cuts + lab.cuts, restarts + lab.restarts
    assert min(failovers, cuts, restarts) > 200


@pytest.mark.parametrize("kind", [Deaf, Silent])
def test_a_planted_fault_is_seen(kind: type[Alone]) -> None:
    broken = 0
    for seed in range(60):
        try:
            judge(scene(seed, kind))
        except Exception:
            broken += 1
    assert broken > 0
