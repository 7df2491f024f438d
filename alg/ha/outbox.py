"""Output commit: lists of effects wait until what they change is written down at the other gateway.

The law of this file: what is written down leaves in the order in which it came, each list whole, and never before its
message was acknowledged, unless nobody is there to acknowledge and the configuration says to go on. What changes
nothing waits for what is before it of the same sessions (concerns.py), and for no other. It sends nothing itself.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple

from algate.alg.engine.effects import Effect

from . import concerns, written
from .entries import Entry

MOST = 4096  # lists that wait
Then = Callable[[], object]


class _Waiting(NamedTuple):
    ticket: int
    effects: list[Effect] | None
    about: frozenset[int]
    then: Then | None = None
    ready: Then | None = None  # carries them out, all packed


class Outbox:
    """Of one helper. `write` sends a message and waits for nothing; `carry_out` is the executor's. Alone at first."""

    def __init__(
        self, entries: Callable[[list[Effect]], list[Entry]], write: Callable[[int, list[Entry]], None],
        carry_out: Callable[[list[Effect]], None], go_on: bool,
        prepare: Callable[[list[Effect], int], Then] | None = None,
    ) -> None:  # fmt: skip
        """`go_on`: with nobody at the other end effects are carried out at once; else those that change something
        wait. `prepare` packs them, and gives what then carries them out; so many of the first, which let nothing pass
        (written.ahead), it carries out at once: none unless nothing is before the list."""
        self.dropped = 0  # lists for which there was no room
        self.sent = 0  # the latest ticket
        self._entries = entries
        self._write = write
        self._carry_out = carry_out
        self._go_on = go_on
        self._prepare = prepare
        self._alone = True
        self._queue: deque[_Waiting] = deque()
        self._about: Counter[int] = Counter()  # sessions, by how many lists in the queue are about them

    @property
    def waiting(self) -> int:
        """Lists that wait."""
        return len(self._queue)

    def offer(self, effects: list[Effect], session: int = 0) -> None:
        """Carry them out, in time. `session`: what brought them about is of this one; 0: of several."""
        if self._alone and self._go_on:
            self._carry_out(effects)
            return
        made = bool(self._entries(effects)) if self._alone else self._send(effects)
        if not made and not self._queue:
            self._carry_out(effects)
            return
        about = concerns.sessions(effects, session)
        if not made and self._free(about):
            self._carry_out(effects)
        elif len(self._queue) >= MOST:
            self.dropped += 1  # as if the first write had failed: what wasn't decided is repeated by its sender
        else:
            self._enter(_Waiting(self.sent, effects, about))

    def after(self, session: int, then: Then) -> None:
        """Do it when all has been carried out that was offered before and is about this session."""
        about = frozenset((session,))
        if self._free(about):
            then()
        else:
            self._enter(_Waiting(self._queue[-1].ticket, None, about, then))

    def _free(self, about: frozenset[int]) -> bool:
        """Whether nothing in the queue is before what is about these."""
        if not about:
            return not self._queue
        return not any(one in self._about for one in about)

    def _enter(self, one: _Waiting) -> None:
        self._queue.append(one)
        self._about.update(one.about)

    def _next(self) -> _Waiting:
        one = self._queue.popleft()
        for session in one.about:
            self._about[session] -= 1
            if not self._about[session]:
                del self._about[session]
        return one

    def prepare(self) -> None:
        """Use the time in which the latest of them wait."""
        for place in range(len(self._queue) - 1, -1, -1):
            one = self._queue[place]
            if one.ready is not None or one.effects is None or self._prepare is None:
                break
            early = written.ahead(one.effects) if len(self._queue) == 1 else 0
            self._queue[place] = one._replace(ready=self._prepare(one.effects, early))

    def tell(self, entries: list[Entry]) -> None:
        """Write something down that nothing waits for."""
        if not self._alone:
            self.sent += 1
            self._write(self.sent, entries)

    def acknowledged(self, ticket: int) -> None:
        """The other gateway has all messages up to this one."""
        while self._queue and self._queue[0].ticket <= ticket:
            self._leave(self._next())

    def together(self) -> None:
        """Somebody acknowledges from now on, and all that the kernel holds at this moment was just sent: behind that
        goes what waited, which isn't in the kernel yet."""
        self._alone = False
        waiting, self._queue = self._queue, deque()
        for one in waiting:
            if one.effects is not None:
                self._send(one.effects)
            self._queue.append(one._replace(ticket=self.sent))

    def _send(self, effects: list[Effect]) -> bool:
        made = self._entries(effects)
        if made:
            self.sent += 1
            self._write(self.sent, made)
        return bool(made)

    def alone(self) -> None:
        """Nobody acknowledges any more."""
        if not self._alone:
            self._alone = True
            self.sent += 1  # what was sent may never be acknowledged: it waits for together(), like what comes now
            self._queue = deque(one._replace(ticket=self.sent) for one in self._queue)
        if self._go_on:
            self._flush()

    def _flush(self) -> None:
        while self._queue:
            self._leave(self._next())

    def _leave(self, one: _Waiting) -> None:
        if one.ready is not None:
            one.ready()
        elif one.effects is not None:
            self._carry_out(one.effects)
        if one.then is not None:
            one.then()
