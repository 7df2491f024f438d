"""Logs of translations: which kinds are kept, how many a second, and what became of the rest.

The law of this file: a log takes what its level says and its place has room for, counts what it leaves out, and says so
at the next occasion. What a record looks like there, and how it gets there, is the place's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from algate.alg.audit.events import Bucket
from algate.alg.audit.relay import Wish
from algate.alg.audit.translations import Translation, TranslationKind

BLOCKS = frozenset((TranslationKind.BLOCK_ASSIGNED, TranslationKind.BLOCK_RELEASED))
MAPPINGS = BLOCKS | {TranslationKind.MAPPING_CREATED, TranslationKind.MAPPING_ENDED}
SESSIONS = BLOCKS | {TranslationKind.SESSION_CREATED, TranslationKind.SESSION_ENDED}
LEVELS: Mapping[str, tuple[frozenset[TranslationKind], Wish]] = {
    "none": (frozenset(), Wish()),
    "blocks": (BLOCKS, Wish()),
    "mappings": (MAPPINGS, Wish(mappings=True)),
    "sessions": (SESSIONS, Wish(sessions=True)),
}


class LogPlace(Protocol):
    """Where lines are written. It waits for nothing: what has no room is lost."""

    def write(self, records: Sequence[Translation]) -> int:
        """How many of these, from the first on, found room."""

    def gap(self, number: int) -> bool:
        """Say that so many are missing; False if even that found no room."""

    def close(self) -> None:
        """Write out what is kept back."""


class Log:
    """One sink. `name`: of the place, as metrics call it; `rate`: records a second, 0: no limit. `written` and
    `missed` count records."""

    def __init__(self, name: str, level: str, place: LogPlace, rate: float = 0.0) -> None:
        self.name = name
        self.written = self.missed = 0
        self.kinds, self.wish = LEVELS[level]
        self._place = place
        self._bucket = Bucket(rate) if rate else None
        self._untold = 0

    def take(self, translations: Sequence[Translation]) -> None:
        """Write those of this log's kinds."""
        wanted = [one for one in translations if one.kind in self.kinds]
        if not wanted:
            return
        self._tell_gap()
        room = wanted if self._bucket is None else self._allowed(wanted, self._bucket)
        kept = self._place.write(room) if room else 0
        self.written += kept
        if kept < len(wanted):
            self.missed += len(wanted) - kept
            self._untold += len(wanted) - kept

    def lost(self, number: int) -> None:
        """Records were lost before they came here."""
        if self.wish:
            self.missed += number
            self._untold += number
            self._tell_gap()

    def close(self) -> None:
        """Write out what is kept back."""
        self._tell_gap()
        self._place.close()

    @staticmethod
    def _allowed(wanted: Sequence[Translation], bucket: Bucket) -> Sequence[Translation]:
        for number in range(len(wanted)):
            if not bucket.take():
                return wanted[:number]
        return wanted

    def _tell_gap(self) -> None:
        if self._untold and self._place.gap(self._untold):
            self._untold = 0
