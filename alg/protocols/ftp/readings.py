"""One reading of a dialogue: how far replies have come in the queue of commands, and what that takes for granted.

The law of this file: the costs of deviations from RFC 959 section 5.4 as data, values, and what of several readings
holds. It knows no queue; `pairing` moves the readings on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum, auto
from typing import Final, NamedTuple

from algate.alg.protocols.ftp.dialogue import USUAL, Kind, Reply

# What a reading pays for what it takes for granted.
LOST: Final = 1  # a command without answer; nothing if it is one that servers often pass over (Run.may)
LOST_MOST: Final = 2  # however many at once: one reason took them all
LOST_LEFT: Final = 5  # one from before a restart: what seems to pass over it may answer what was said unseen
UNUSUAL: Final = 1  # an answer of `ODD`
TWICE: Final = 2  # a reply that answers nothing and has the code of the one before
# Any other reply that answers nothing. Those of 4 are never said by chance: they answer wherever one can be an answer.
STRAY: Final = dict.fromkeys(Reply, 3) | dict.fromkeys(
    (Reply.PRELIMINARY, Reply.PASSIVE, Reply.EXTENDED, Reply.SECURED, Reply.FAREWELL), 4
)
DOUBT: Final = 1  # readings that cost so much more than the cheapest can still be how it was
MARGIN: Final = 3  # those that cost more than this beyond the cheapest are given up
READINGS: Final = 8


class Fate(IntEnum):
    """What became of a PORT or EPRT."""

    AGREED = auto()
    DECLINED = auto()
    PASSED = auto()  # a later command was answered, this one never
    DOUBTED = auto()  # it may have been declined
    CLEARED = auto()  # it was doubted, and can't have been declined; whether it was agreed to is still to be seen


class Heard(NamedTuple):
    """What a reply means. `kind`: of the command that it answers; None: of none. `fates`: by tag, what is new."""

    kind: Kind | None
    fates: tuple[tuple[int, Fate], ...] = ()


class Run:
    """`count` commands of one kind, numbered from `first`. `tag`: of the expectation that was made for it, or 0. `may`:
    servers often don't answer it. Whoever makes one sets them all: it is done for each command, and a call less."""

    __slots__ = ("count", "first", "kind", "may", "tag")
    kind: Kind
    first: int
    count: int
    tag: int
    may: bool

    @property
    def end(self) -> int:
        return self.first + self.count

    def lost(self, start: int, before: int) -> int:
        """The cost of all from number `start` on without answer, where those before cost so much."""
        if self.may:
            return before
        if self.kind is Kind.LEFT:
            return before + LOST_LEFT
        return max(before, min(before + (self.end - start) * LOST, LOST_MOST))


class Reading(NamedTuple):
    """All before number `at` is dealt with, at this cost; `fates` of the tags that this reading has decided."""

    cost: int
    at: int
    fates: tuple[tuple[int, Fate], ...] = ()


class Next:
    """The readings that follow, each at its least cost, and which kind of command was answered."""

    def __init__(self) -> None:
        self.found: dict[tuple[int, tuple[tuple[int, Fate], ...]], tuple[int, Kind | None]] = {}

    def put(self, cost: int, at: int, fates: tuple[tuple[int, Fate], ...], kind: Kind | None) -> None:
        known = self.found.get((at, fates))
        if known is None or cost < known[0]:
            self.found[at, fates] = cost, kind

    def cheapest(self) -> tuple[list[Reading], Kind | None]:
        """At most READINGS, the likeliest first, and what the likeliest answered: the oldest command, if several."""
        least = min(cost for cost, _ in self.found.values())
        rows = sorted((cost - least, at, fates, kind) for (at, fates), (cost, kind) in self._ordered())
        kept = [Reading(cost, at, fates) for cost, at, fates, _ in rows if cost <= MARGIN][:READINGS]
        kinds = [kind for cost, _, _, kind in rows if cost == 0 and kind]
        return kept, Kind(kinds[0]) if kinds else None

    def _ordered(self) -> Iterator[tuple[tuple[int, tuple[tuple[int, Fate], ...]], tuple[int, int]]]:
        for place, (cost, kind) in self.found.items():
            yield place, (cost, kind or 0)


def decided(run: Run, reply: Reply) -> tuple[tuple[int, Fate], ...]:
    """By a reply of this class; LEFT alone has others than these, which answer something that was said unseen."""
    if not run.tag:
        return ()
    if reply is Reply.OK:
        return ((run.tag, Fate.AGREED),)
    return ((run.tag, Fate.PASSED if reply in USUAL[Kind.LEFT] - USUAL[Kind.NAME] else Fate.DECLINED),)


def passed(run: Run) -> tuple[tuple[int, Fate], ...]:
    return ((run.tag, Fate.PASSED),) if run.tag else ()


def judge(views: Iterable[tuple[int, Fate | None]], told: Fate | None, transfer: bool) -> Fate | None:
    """What to say of a connection of which readings hold this, each at its cost; None: nothing for certain.

    `transfer`: one has just begun. Then the server has gone on to use what was named, so of a 200 that may have been
    another's it doesn't matter whose it was.
    """
    fates = {fate for cost, fate in views if cost == 0}
    likely = {fate for cost, fate in views if cost <= DOUBT}
    if Fate.AGREED in fates and likely <= {Fate.AGREED, Fate.PASSED} and (transfer or fates == {Fate.AGREED}):
        return Fate.AGREED
    if fates <= {Fate.DECLINED, Fate.PASSED}:
        return Fate.DECLINED if Fate.DECLINED in fates else Fate.PASSED
    if Fate.DECLINED in likely:
        return Fate.DECLINED if told is Fate.AGREED else Fate.DOUBTED
    return Fate.CLEARED if told is Fate.DOUBTED and Fate.AGREED in fates else None


def stray(reply: Reply, twice: bool) -> int:
    """The cost of a reply that answers nothing; `twice`: it has the code of the one before."""
    return TWICE if twice and STRAY[reply] <= MARGIN else STRAY[reply]


def merged(readings: list[Reading], told: dict[int, Fate | None]) -> list[Reading]:
    """The readings without what is said of tags that are done with."""
    made: dict[tuple[int, tuple[tuple[int, Fate], ...]], Reading] = {}
    for reading in readings:
        fates = tuple(one for one in reading.fates if one[0] in told)
        made.setdefault((reading.at, fates), Reading(reading.cost, reading.at, fates))
    return list(made.values())
