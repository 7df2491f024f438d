"""How control sessions are seen to end: by both FINs, by RST, by a timeout, by another session on the same 5-tuple.

The law of this file: it looks at the kernel's table and says which are over and which are gone; what follows is the
engine's. The kernel gives no word of an end: a lost one would leave ports held for minutes, so each is looked at, in
turn. One that is idle for too long is put before the kernel, which judges again and deletes it. Decisions may outlive
their session, since the kernel notes lines that pass by themselves: what bears an id that nobody watches, at two looks,
goes; the more decisions there are, the rarer that look is. A helper that was killed may have written a replacement and
not its decision: the first look of its follower deletes it. One that is over idles until its timeout, and thousands do:
it rests until then, at most for REST, or until something of it is heard (`stir`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from algate.alg.gateway import records
from algate.alg.gateway.counted import timeout_kind
from algate.alg.gateway.records import SessionValue
from algate.alg.helper.executor import Keys
from algate.bpf import abi, syscall, ticks
from algate.bpf.loader import Gateway
from algate.bpf.packing import entry, numbers

STEP = 64  # sessions: 0.2 ms
PASSED = 4096  # sessions that rest: as much
REST = 30.0  # s
REAP_CHEAP = 0.002  # s: looking at so many decisions costs nobody anything
REAP_PART = 100.0  # times what a longer look took, until the next one
OVER: Final = frozenset((int(abi.SessionState.CLOSING), int(abi.SessionState.TIME_WAIT), int(abi.SessionState.RESET)))


class Endings:
    """`over`: told at each look that both ends have closed or one has reset. `gone`: the kernel has it no longer.
    `lasted`: told once of each that is over how many seconds lay between its first packet and its last."""

    def __init__(
        self,
        gateway: Gateway,
        control: Keys,
        over: Callable[[int], None],
        gone: Callable[[int], None],
        lasted: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self._gateway = gateway
        self._control = control
        self._over = over
        self._gone = gone
        self._doubted: set[int] = set()
        self._reaps_at = 0.0  # no look at all decisions before this moment of time.monotonic()
        self._lasted = lasted
        self._timed: set[int] = set()
        self._rests: dict[int, float] = {}  # of those that are over: until when, on the clock of time.monotonic()
        self._inherits = True  # until the first look: from a helper before this one

    def look(self, keys: Mapping[int, bytes]) -> Iterator[None]:
        """One look at all of these (id -> packed key), STEP of them per step."""
        timeouts = list(self._gateway.configs[0].timeouts)
        moment, rests, work = time.monotonic(), self._rests, 0
        for number, key in list(keys.items()):
            if rests.get(number, 0.0) > moment:
                work += 1
            else:
                work += PASSED // STEP
                self._judge(number, key, timeouts)
            if work >= PASSED:
                work = 0
                yield
        if time.monotonic() >= self._reaps_at:
            yield from self._reap_timed(keys)
        if self._inherits:
            self._inherits = False
            yield from self._disown()

    def stir(self, number: int) -> None:
        """Something was heard of a session: look at it at the next look."""
        self._rests.pop(number, None)

    def _reap_timed(self, keys: Mapping[int, bytes]) -> Iterator[None]:
        """Look at all decisions, and rest the longer the more of them there were."""
        took, began = 0.0, time.thread_time()
        for _ in self._reap(keys):
            took += time.thread_time() - began
            yield
            began = time.thread_time()
        took += time.thread_time() - began
        if took > REAP_CHEAP:
            self._reaps_at = time.monotonic() + REAP_PART * took

    def _reap(self, keys: Mapping[int, bytes]) -> Iterator[None]:
        """Delete the decisions of sessions that are in nobody's mind, now and at the last look; a batch per step."""
        table, bodies = self._gateway.decisions, self._gateway.replacements
        doubted: set[int] = set()
        stale: list[bytes] = []
        for packed, _, _ in table.chunks():
            ids = numbers("decision_key", "id", packed)
            strangers = {one for one in set(ids) if one not in keys}
            certain = strangers & self._doubted
            if certain:
                stale += [entry("decision_key", packed, place) for place, one in enumerate(ids) if one in certain]
            doubted |= strangers
            yield
        for key in stale:
            syscall.delete(table.fd, key)
            syscall.delete(bodies.fd, key)
        self._doubted = doubted

    def _disown(self) -> Iterator[None]:
        """Delete replacements without a decision: listed a batch per step, judged in one, as the helper writes."""
        table, bodies = self._gateway.decisions, self._gateway.replacements
        found: list[bytes] = []
        for packed, _, count in bodies.chunks():
            found += [entry("decision_key", packed, place) for place in range(count)]
            yield
        for key in found:
            if syscall.lookup(table.fd, key, table.value.size) is None:
                syscall.delete(bodies.fd, key)

    def _judge(self, number: int, key: bytes, timeouts: list[int]) -> None:
        found = self._find(number, key)
        left = _left(found, key, timeouts) if found is not None else 1
        if left <= 0:
            self._control.keys(abi.ControlOp.SWEEP, [key])
            found = self._find(number, key)
            left = _left(found, key, timeouts) if found is not None else 0
        if found is None:
            self._timed.discard(number)
            self._rests.pop(number, None)
            self._gone(number)
        elif found.state in OVER:  # not once alone: a reset one may be revived (RFC 7857 section 2.2) and end again
            if number not in self._timed:
                self._timed.add(number)
                ticked = ticks.whole(found.last_seen, ticks.count()) - ticks.of(number)
                self._lasted(max(0, ticked) * ticks.SECONDS)
            self._rests[number] = time.monotonic() + min(REST, left * ticks.SECONDS)
            self._over(number)

    def _find(self, number: int, key: bytes) -> SessionValue | None:
        """The session, unless its key is another's by now or nobody watches it any longer."""
        table = self._gateway.sessions
        raw = syscall.lookup(table.fd, key, table.value.size)
        value = records.unpack_session(raw) if raw is not None else None
        return value if value is not None and value.id == number and value.state and value.alg else None


def _left(value: SessionValue, key: bytes, timeouts: list[int]) -> int:
    """Ticks until its timeout; 0 or less: that is reached."""
    limit = timeouts[timeout_kind(records.proto_of(key), value.state)]
    return limit - ticks.distance(ticks.now(), value.last_seen)
