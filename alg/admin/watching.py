"""What `top` looks at: the best N sessions of those wanted, chosen by a walk now and then, read anew for each look.

The law of this file: a walk costs half a second for a million sessions, so walks take a tenth of the time at most; what
they chose is read again, key by key, as often as somebody looks. It makes no row that isn't shown.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from algate.alg.admin import filters, listings
from algate.alg.admin.listings import RowOrder
from algate.alg.daemon.running import Running
from algate.alg.gateway import listing, pools, records, survey
from algate.alg.gateway.best import RISING, Best, Earlier
from algate.alg.gateway.gc import EXPECTED, Batch, idle_limits, marked
from algate.alg.rows import SessionRow
from algate.bpf import syscall
from algate.bpf.packing import entry

SHOWN = 500  # sessions of a look if nobody says how many
SHOWN_MOST = 2000
RELATIVES_MOST = 1000  # shown in addition
FAMILY_MOST = 10_000  # control sessions, and sessions that they expected, of which a walk notes where they are
REST = 9.0  # times what a walk took: how long the next one waits
FRESH = 0.3  # s between two walks, however quick they are
SPAN_NS = 2_000_000_000  # over which rates are told, at least: one burst doesn't turn the order over
SORTS = (*filters.SORTS, *RISING)


class Family:
    """Where control sessions and the sessions that they expected are: id -> key."""

    def __init__(self) -> None:
        self.keys: dict[int, bytes] = {}

    def take(self, batch: Batch, some: object) -> None:
        """A batch; all of it, since one who is wanted brings the others."""
        del some
        for column in (batch.algs, batch.flags.translate(EXPECTED)):
            for at in marked(column) if column.strip(b"\0") else ():
                if len(self.keys) < FAMILY_MOST:
                    self.keys[batch.id(at)] = entry("session_key", batch.keys, at)


class Watching:
    """One `top`. `look` gives what is to be shown at this moment."""

    def __init__(self, running: Running, args: Mapping[str, Any]) -> None:
        """`args`: filters, sort, reverse, limit. AlgateError (exit code 2) names what is wrong with them."""
        order = RowOrder.parse({name: args.get(name) for name in ("limit", "sort", "reverse")}, SORTS)
        self._running = running
        self._wanted = listings.wanted(running, args)
        self._limit = min(SHOWN if order.limit is None else order.limit, SHOWN_MOST)
        self._sort, self._reverse = order.sort or "rate", order.reverse
        self._best: list[bytes] = []
        self._more: list[bytes] = []
        self._matched = 0
        self._noted: list[Earlier] = []
        self._walked = self._due = 0.0
        self._task: asyncio.Task[None] | None = None

    def close(self) -> None:
        """End a walk that is under way."""
        if self._task is not None:
            self._task.cancel()

    async def look(self) -> dict[str, Any]:
        """`sessions`: rows, of which `shown` stand for the `matched` ones, of `total` in the table, chosen `walked` s
        ago; behind them the control sessions of those shown, and what they expected."""
        if self._task is None and time.monotonic() >= self._due:
            self._task = asyncio.ensure_future(self._walk())
        if self._task is not None and (self._task.done() or not self._walked):
            task, self._task = self._task, None
            await task
        make = listing.SessionRows(self._running.gateway, self._running.names)
        best, more = list(self._rows(make, self._best)), list(self._rows(make, self._more))
        total = max(self._matched, pools.sessions(self._running.gateway))
        return {
            "sessions": [*best, *more], "shown": len(best), "matched": self._matched, "total": total,
            "walked": time.monotonic() - self._walked,
        }  # fmt: skip

    async def _walk(self) -> None:
        began = time.monotonic()
        family, note = Family(), self._note()
        earlier = self._former() if self._sort == "rate" else None
        limits = idle_limits(self._running.gateway)
        found = Best(self._sort, self._limit, self._reverse, earlier, limits)
        await listings.walk(self._running, self._wanted, found, family, *note)
        best = found.found()
        self._best, self._matched = [key for key, _ in best], found.number
        ids = {records.unpack_session(value).id for _, value in best}
        self._more = list(islice(self._relatives(ids, family), RELATIVES_MOST))
        self._noted = [*self._noted[-1:], *note] if note else self._noted
        self._walked = time.monotonic()
        self._due = self._walked + max(FRESH, REST * (self._walked - began))

    def _note(self) -> list[Earlier]:
        """One to be filled by this walk, if rates are asked for and the last one isn't that young."""
        young = self._noted and time.clock_gettime_ns(time.CLOCK_MONOTONIC) - self._noted[-1].began < SPAN_NS
        return [] if self._sort != "rate" or young else [Earlier()]

    def _former(self) -> Earlier | None:
        """The youngest that is old enough for a steady rate, or the oldest."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        some = [one for one in self._noted if now - one.began >= SPAN_NS][-1:] or self._noted[:1]
        for one in some:
            one.rewind()
        return some[0] if some else None

    def _relatives(self, ids: set[int], family: Family) -> Iterator[bytes]:
        """Keys of the control sessions of those with these ids, and of what the control sessions among all those
        expected."""
        if not family.keys:
            return
        parents = listing.parents(self._running.gateway)
        controls = {parents[one] for one in ids if one in parents}
        yield from (family.keys[one] for one in controls - ids if one in family.keys)
        controls |= ids
        for child, parent in parents.items():
            if parent in controls and child not in ids and child not in controls and child in family.keys:
                yield family.keys[child]

    def _rows(self, make: listing.SessionRows, keys: Iterable[bytes]) -> Iterator[SessionRow]:
        """Those that are still alive, as they are now."""
        sessions = self._running.gateway.sessions
        for key in keys:
            raw = syscall.lookup(sessions.fd, key, sessions.value.size)
            value = records.unpack_session(raw) if raw is not None else None
            if value is not None and value.state != survey.DEAD:
                row = make.row(key, value)
                if row.expires_in > 0:
                    yield row
