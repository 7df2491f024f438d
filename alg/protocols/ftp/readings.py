"""One reading of a dialogue: how far the replies are in the queue of commands, and what that reading assumes.

The law of this file: the costs of deviations from RFC 959 section 5.4 as data, values, and what holds, given several
readings. It knows no queue; `pairing` advances the readings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum, auto
from typing import Final, final

from algate.alg.plugin.fixed import Fixed
from algate.alg.protocols.ftp.dialogue import USUAL, Kind, Reply

# What a reading pays for each thing that it assumes.
LOST: Final = 1  # a command without an answer; 0 for commands that servers often don't answer (Run.may)
LOST_MOST: Final = 2  # for any number of commands in a row: they share one cause
LOST_LEFT: Final = 5  # one from before a restart: a reply that seems to skip it may answer what was said unseen
UNUSUAL: Final = 1  # an answer listed in `ODD`
TWICE: Final = 2  # a reply that answers nothing and has the same code as the one before
# Any other reply that answers nothing. Those at 4 never come by chance: where they can be an answer, they are one.
STRAY: Final = dict.fromkeys(Reply, 3) | dict.fromkeys(
    (Reply.PRELIMINARY, Reply.PASSIVE, Reply.EXTENDED, Reply.SECURED, Reply.FAREWELL), 4
)
DOUBT: Final = 1  # readings that cost this much more than the cheapest may still be true
MARGIN: Final = 3  # readings that cost more than this above the cheapest are dropped
READINGS: Final = 8
_KINDS: Final = (None, *Kind)  # by number: to call Kind takes a microsecond


class Fate(IntEnum):
    """What became of a PORT or EPRT."""

    AGREED = auto()
    DECLINED = auto()
    PASSED = auto()  # a later command was answered, but never this one
    DOUBTED = auto()  # it may have been declined
    CLEARED = auto()  # it was doubted, and wasn't declined; whether it was agreed to isn't known yet


@final
class Heard(Fixed):
    """What a reply means. `kind`: that of the command it answers; None if it answers none. `fates`: news, by tag.
    `number`: the command's; -1: none."""

    __match_args__: Final = ("kind", "fates", "number")

    def __init__(self, kind: Kind | None, fates: tuple[tuple[int, Fate], ...] = (), number: int = -1) -> None:
        self.kind: Final = kind
        self.fates: Final = fates
        self.number: Final = number


class Run:
    """`count` commands of one kind, numbered from `first`. `tag`: that of the expectation made for it, or 0. `may`:
    servers often don't answer it. Whoever creates one sets all of them: without __init__, each command costs one call
    less."""

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
        """The cost if all from number `start` on have no answer, where those before cost `before`."""
        if self.may:
            return before
        if self.kind is Kind.LEFT:
            return before + LOST_LEFT
        return max(before, min(before + (self.end - start) * LOST, LOST_MOST))


@final
class Reading(Fixed):
    """All commands before number `at` are dealt with, at this cost; `fates`: of the tags that this reading decided."""

    __match_args__: Final = ("cost", "at", "fates")

    def __init__(self, cost: int, at: int, fates: tuple[tuple[int, Fate], ...] = ()) -> None:
        self.cost: Final = cost
        self.at: Final = at
        self.fates: Final = fates


class Next:
    """The readings after a reply, each at its lowest cost, and which kind of command was answered."""

    def __init__(self) -> None:
        self.found: dict[tuple[int, tuple[tuple[int, Fate], ...]], tuple[int, Kind | None]] = {}

    def put(self, cost: int, at: int, fates: tuple[tuple[int, Fate], ...], kind: Kind | None) -> None:
        known = self.found.get((at, fates))
        if known is None or cost < known[0]:
            self.found[at, fates] = cost, kind

    def cheapest(self) -> tuple[list[Reading], Kind | None, int]:
        """At most READINGS, likeliest first, and kind and number of what the likeliest answered, -1 if nothing; of
        several, the oldest's."""
        least = min(cost for cost, _ in self.found.values())
        rows = sorted((cost - least, at, fates, kind) for (at, fates), (cost, kind) in self._ordered())
        kept = [Reading(cost, at, fates) for cost, at, fates, _ in rows if cost <= MARGIN][:READINGS]
        answers = [(kind, at - 1) for cost, at, _, kind in rows if cost == 0 and kind]
        return (kept, _KINDS[answers[0][0]], answers[0][1]) if answers else (kept, None, -1)

    def _ordered(self) -> Iterator[tuple[tuple[int, tuple[tuple[int, Fate], ...]], tuple[int, int]]]:
        for place, (cost, kind) in self.found.items():
            yield place, (cost, kind or 0)


def decided(run: Run, reply: Reply) -> tuple[tuple[int, Fate], ...]:
    """The fate that a reply of this class decides. Only LEFT has further answers: they answer what was said unseen."""
    if not run.tag:
        return ()
    if reply is Reply.OK:
        return ((run.tag, Fate.AGREED),)
    return ((run.tag, Fate.PASSED if reply in USUAL[Kind.LEFT] - USUAL[Kind.NAME] else Fate.DECLINED),)


def passed(run: Run) -> tuple[tuple[int, Fate], ...]:
    return ((run.tag, Fate.PASSED),) if run.tag else ()


def judge(views: Iterable[tuple[int, Fate | None]], told: Fate | None, transfer: bool) -> Fate | None:
    """The fate to report for a connection, given each reading's cost and fate for it; None: nothing is certain.

    `transfer`: one has just begun. Then the server went on to use what was named, so it no longer matters which
    command a doubtful 200 answered.
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
    """The cost of a reply that answers nothing; `twice`: it has the same code as the one before."""
    return TWICE if twice and STRAY[reply] <= MARGIN else STRAY[reply]


def merged(readings: list[Reading], told: dict[int, Fate | None]) -> list[Reading]:
    """The readings without the fates of tags that are done."""
    made: dict[tuple[int, tuple[tuple[int, Fate], ...]], Reading] = {}
    for reading in readings:
        fates = tuple(one for one in reading.fates if one[0] in told)
        made.setdefault((reading.at, fates), Reading(reading.cost, reading.at, fates))
    return list(made.values())
