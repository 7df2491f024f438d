"""What came in a turn that nobody waits for, until those are answered who wait.

The law of this file: an order, nothing else. Of each session all is judged in the order in which it came; between
sessions, what is held goes first. A copy is with the engine (`Engine.defer`), which judges several at once; the use of
an expectation waits here, and behind it all that comes of its control session.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from algate.alg.engine.effects import Segment
from algate.alg.gateway.records import Punt


class Judge(Protocol):
    """What this needs of the engine."""

    def defer(self, copy: Segment, now: float) -> bool: ...

    def expecting(self, expectation: int) -> int: ...


class Behind:
    """Of one helper. `judge` judges a punt and carries out what follows, `caught_up` does so with a session's copies;
    neither raises."""

    def __init__(self, engine: Judge, judge: Callable[[Punt], None], caught_up: Callable[[int], None]) -> None:
        self._engine = engine
        self._judge = judge
        self._caught_up = caught_up
        self._waiting: dict[int, list[Punt]] = {}  # by control session; []: the engine alone has something

    def copy(self, number: int, punt: Punt, now: float) -> bool:
        """Keep the copy of a line. False: the session isn't known, or not by lines."""
        waiting = self._waiting.get(number)
        if waiting:
            waiting.append(punt)
            return True
        if punt.segment is None or not self._engine.defer(punt.segment, now):
            return False
        if waiting is None:
            self._waiting[number] = []
        return True

    def use(self, punt: Punt) -> bool:
        """Keep the use of an expectation. False: nobody is known whose it is."""
        number = self._engine.expecting(punt.expectation)
        if number:
            self._waiting.setdefault(number, []).append(punt)
        return bool(number)

    def overtake(self, number: int, now: float) -> None:
        """Somebody waits who came behind what waits of this session: copies alone may wait now, with the engine."""
        waiting = self._waiting.get(number)
        if waiting:
            self._waiting[number] = []
            self._take(number, waiting, now)

    def settle(self, number: int, now: float) -> None:
        """The same, and the copies don't wait either."""
        waiting = self._waiting.pop(number, None)
        if waiting is not None:
            self._take(number, waiting, now)
            self._caught_up(number)

    def all(self, now: float) -> None:
        """Judge what is left."""
        while self._waiting:
            number, waiting = self._waiting.popitem()
            self._take(number, waiting, now)
            self._caught_up(number)

    def _take(self, number: int, waiting: list[Punt], now: float) -> None:
        for punt in waiting:
            if punt.segment is None:  # a use: one of the copies before it may say what opened the expectation
                self._caught_up(number)
                self._judge(punt)
            elif not self._engine.defer(punt.segment, now):
                self._judge(punt)
