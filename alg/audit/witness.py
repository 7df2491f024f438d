"""What the engine does about single control sessions, for whoever watches one (`capture`).

The law of this file: it reads effects as they are carried out and changes nothing. Nobody watched: it isn't called. A
watcher that is slow loses records, and is told how many.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from algate.alg.audit.events import event_row
from algate.alg.audit.told import told
from algate.alg.engine.effects import (
    ADJUST_BEGINS,
    INJECT_RAW_IN,
    INJECT_RAW_OUT,
    VERDICT_REPLACE,
    Announce,
    BypassSession,
    Effect,
    Inject,
    PutAdjust,
    PutDecision,
    ResetSession,
)

QUEUE = 4096  # records that wait for their reader
RAW = {INJECT_RAW_OUT: 0, INJECT_RAW_IN: 1}  # enum direction
ETHERNET = 14


class Watching:
    """One watcher of one session. `over`: the session is, so no more will come."""

    def __init__(self, session: int) -> None:
        self.session = session
        self.over = False
        self.lost = 0
        self._records: deque[dict[str, Any]] = deque(maxlen=QUEUE)
        self._some = asyncio.Event()

    def put(self, record: dict[str, Any]) -> None:
        """One more; the oldest goes if there is no room."""
        self.lost += len(self._records) == QUEUE
        self._records.append(record)
        self._some.set()

    def end(self) -> None:
        """Nothing more will come."""
        self.over = True
        self._some.set()

    async def get(self) -> dict[str, Any] | None:
        """The next; None: it is over."""
        while not self._records:
            if self.over:
                return None
            self._some.clear()
            await self._some.wait()
        record = self._records.popleft()
        return record | {"lost": self.lost}


class Witness:
    """Those who watch. `see` is called with the effects of one judgement, before they are carried out."""

    def __init__(self) -> None:
        self.watched: dict[int, list[Watching]] = {}

    def watch(self, session: int) -> Watching:
        """Begin."""
        made = Watching(session)
        self.watched.setdefault(session, []).append(made)
        return made

    def leave(self, one: Watching) -> None:
        """Nobody reads it any more."""
        left = [other for other in self.watched.get(one.session, ()) if other is not one]
        if left:
            self.watched[one.session] = left
        else:
            self.watched.pop(one.session, None)

    def over(self, session: int) -> None:
        """The session is."""
        for one in self.watched.get(session, ()):
            one.end()

    def see(self, effects: Iterable[Effect]) -> None:
        """Tell those who watch the session that these are about, if any."""
        effects = list(effects)
        for session in {number for one in effects if (number := session_of(one)) in self.watched}:
            made = record(session, effects, time.time())
            for one in self.watched[session]:
                one.put(made)


def session_of(effect: Effect) -> int:
    """Of those effects that a record is made from; 0: another."""
    if isinstance(effect, PutAdjust):
        return effect.record.session
    return effect.session if isinstance(effect, (PutDecision, Announce, BypassSession, ResetSession)) else 0


def record(session: int, effects: Iterable[Effect], at: float) -> dict[str, Any]:
    """One judgement: `decided` up to which of the senders' numbers (null: no news), `decisions` on ranges of them,
    `events` as sentences, `made` what the gateway says in an end's name: direction, number, bytes, flags."""
    decided: list[int] | None = None
    decisions: list[dict[str, Any]] = []
    events: list[str] = []
    made: list[dict[str, int]] = []
    for one in effects:
        if isinstance(one, PutAdjust) and one.record.session == session:
            decided = None if one.record.flags & ADJUST_BEGINS else list(one.record.decided)
        elif isinstance(one, PutDecision) and one.session == session:
            new = one.new.hex() if one.verdict == VERDICT_REPLACE and one.new is not None else None
            decisions.append({"direction": one.direction, "seq": one.seq, "size": one.size, "new": new})
        elif isinstance(one, Announce) and one.session == session:
            events.append(str(told(event_row(one, None, at))))
        elif isinstance(one, BypassSession) and one.session == session:
            events.append("the helper reads this session no more")
        elif isinstance(one, ResetSession) and one.session == session:
            events.append("the gateway resets this session")
        elif isinstance(one, Inject) and one.kind in RAW and (said := _said(one)) is not None:
            made.append(said)
    return {"time": at, "decided": decided, "decisions": decisions, "events": events, "made": made}


def _said(one: Inject) -> dict[str, int] | None:
    """A TCP segment that leaves as it is."""
    frame, at = one.frame, ETHERNET
    tcp = at + (frame[at] & 15) * 4 if len(frame) > at else 0
    if len(frame) < tcp + 20 or frame[at + 9] != 6:
        return None
    end = at + int.from_bytes(frame[at + 2 : at + 4], "big")
    size = max(0, end - tcp - (frame[tcp + 12] >> 4) * 4)
    seq = int.from_bytes(frame[tcp + 4 : tcp + 8], "big")
    return {"direction": RAW[one.kind], "seq": seq, "size": size, "flags": frame[tcp + 13]}
