"""What `top` sees of the large tables: sessions, hosts and ports.

The law of this file: a look at a whole table is dear, so it is taken as often as pace.py allows and no more often; in
between only the rows that it found are read again. The screen is told the true counts and the pace.
"""

from __future__ import annotations

import abc
import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

from algate.alg.admin import filters, overview
from algate.alg.admin.asked import ROWS_MOST, TopRequest
from algate.alg.admin.pace import Memory, Pace
from algate.alg.daemon.running import Running
from algate.alg.gateway import hosts as inside
from algate.alg.gateway import listing, pools, ranking, records, survey
from algate.alg.gateway.addresses import Addresses
from algate.alg.gateway.best import Earlier
from algate.alg.gateway.gc import Batch, idle_limits
from algate.alg.rows import ExpectationRow, HostRow, PortRow, SessionRow
from algate.bpf import syscall, ticks
from algate.bpf.packing import from_native, numbers

SLICE = 2048  # sessions judged without a pause: under 1 ms
PIECE = 256  # rows made without a pause
PART = 0.9  # of a screen's interval, after which a quick look is due again


class TableSight(abc.ABC):
    """One screen's view of a table."""

    def __init__(self, running: Running, asked: TopRequest, memory: Memory) -> None:
        self.pace = Pace()
        self.rated = True  # whether the last look had an earlier one to compare with
        self._running, self._asked, self._memory = running, asked, memory
        self._task: asyncio.Task[None] | None = None
        self._looked = False
        self._work = self._mark = 0.0

    def close(self) -> None:
        """End a look that is under way."""
        if self._task is not None:
            self._task.cancel()

    async def look(self) -> dict[str, Any]:
        """What is to be seen, as parts of a snapshot. A look at the whole table goes on meanwhile, if it is time."""
        if self._task is None and self.pace.due():
            self._task = asyncio.ensure_future(self._whole())
        if self._task is not None and (self._task.done() or not self._looked):
            task, self._task = self._task, None
            await task
        found, matching, total = await self._found()
        told = {"matching": matching, "total": total, "took": round(self.pace.took, 3), "rated": self.rated}
        return {**found, "look": {**told, "every": round(self.pace.every, 1)}}

    async def _whole(self) -> None:
        self._work, self._mark = 0.0, time.perf_counter()
        await self._all()
        self.pace.spent(self._work + time.perf_counter() - self._mark, self._asked.interval * PART)
        if not self.rated:
            self.pace.soon()
        self._looked = True

    @abc.abstractmethod
    async def _all(self) -> None:
        """Look at the whole table."""

    @abc.abstractmethod
    async def _found(self) -> tuple[dict[str, Any], int, int]:
        """Rows by the name of their part, how many there are of what was wanted, and in all."""

    async def _batches(self) -> AsyncIterator[Batch]:
        """All sessions, with a pause after each batch."""
        for keys, values, _ in self._running.gateway.sessions.chunks(SLICE):
            yield Batch(keys, values, ticks.now())
            await self._pause()

    async def _pause(self) -> None:
        """Others get a turn; only the time until then was work."""
        self._work += time.perf_counter() - self._mark
        await asyncio.sleep(0)
        self._mark = time.perf_counter()


class SessionSight(TableSight):
    """The sessions that come first, each with its control session and that one's data connections."""

    def __init__(self, running: Running, asked: TopRequest, memory: Memory) -> None:
        super().__init__(running, asked, memory)
        self._keys: list[bytes] = []
        self._family: Mapping[int, bytes] = {}
        self._matching = 0
        self._filtered = asked.wanted != survey.Wanted() or bool(asked.words)
        self._make = listing.SessionRows(running.gateway, running.names)

    async def _all(self) -> None:
        asked, gateway, names = self._asked, self._running.gateway, self._running.names
        limits, now_ns = idle_limits(gateway), time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        before = self._memory.earlier()
        self._make = listing.SessionRows(gateway, names)
        best = ranking.Ranked(asked.sort, asked.limit, asked.reverse, limits, now_ns, before, names)
        async for batch in self._batches():
            some = None
            if self._filtered:
                some = await self._spoken(batch, survey.places(batch, asked.wanted, limits, now_ns))
            best.take(batch, some)
        self._memory.keep(best.seen)
        self.rated = before is not None
        self._matching = best.number
        self._keys, self._family = [key for key, _ in best.found()], best.family

    async def _spoken(self, batch: Batch, some: list[int]) -> list[int]:
        """Those of some places in which every word occurs."""
        words = []
        for word in self._asked.words:
            if (ip := filters.address(word)) is None:
                words.append(word)
                continue
            raw = Addresses(self._running.gateway).known(ip)
            number = from_native(raw) if raw else 0
            near, far = (numbers("session_key", name, batch.keys) for name in ("inside_ip", "remote_ip"))
            some = [at for at in some if number in (near[at], far[at])]
        if not words:
            return some
        kept = []
        for start in range(0, len(some), PIECE):  # rows are dear
            self._make.look()
            part = some[start : start + PIECE]
            rows = [self._make.row(batch.key(at), batch.value(at)) for at in part]
            kept += [at for at, row in zip(part, rows, strict=True) if filters.spoken(row, words)]
            await self._pause()
        return kept

    async def _found(self) -> tuple[dict[str, Any], int, int]:
        expected = await self._expected()
        heads = {int(row.control, 16) for row in expected if self._matches(row)} if self._filtered else set()
        rows = await self._rows(heads)
        known = {row.id for row in rows}
        under = [row for row in expected if row.control in known or self._matches(row)][:ROWS_MOST]
        total = pools.sessions(self._running.gateway)
        matching = min(self._matching, total) if self._filtered else total
        return {"sessions": rows, "expectations": under}, matching, total

    def _matches(self, row: ExpectationRow) -> bool:
        return self._asked.chosen.matches(row) and filters.spoken(row, self._asked.words)

    async def _expected(self) -> list[ExpectationRow]:
        made = []
        for number, row in enumerate(listing.expectation_rows(self._running.gateway, self._running.names)):
            if number % PIECE == PIECE - 1:
                await asyncio.sleep(0)
            made.append(row)
        return made

    async def _rows(self, heads: set[int]) -> list[SessionRow]:
        """The rows that the last look found, as they are now, and the families of these and of the control sessions
        `heads`."""
        made = await self._read([*self._asked.keep, *self._keys])
        known = {int(row.id, 16) for row in made}
        parents = listing.parents(self._running.gateway) if self._family else {}
        heads = set(list(heads)[: self._asked.limit]) | {parents.get(one, one) for one in known & self._family.keys()}
        wanted = heads | {child for child, parent in parents.items() if parent in heads}
        return made + await self._read([self._family[one] for one in wanted - known if one in self._family][:ROWS_MOST])

    async def _read(self, keys: Iterable[bytes]) -> list[SessionRow]:
        table, made = self._running.gateway.sessions, []
        self._make.look()
        for number, key in enumerate(dict.fromkeys(keys)):
            if number % PIECE == PIECE - 1:
                await asyncio.sleep(0)
            raw = syscall.lookup(table.fd, key, table.value.size)
            if raw is None:
                continue
            value = records.unpack_session(raw)
            if value.state != survey.DEAD and (row := self._make.row(key, value)).expires_in > 0:
                made.append(row)
        return made


class HostSight(TableSight):
    """All inside hosts, those that come first of them."""

    def __init__(self, running: Running, asked: TopRequest, memory: Memory) -> None:
        super().__init__(running, asked, memory)
        self._hosts: list[HostRow] = []
        self._number = 0

    async def _all(self) -> None:
        gateway = self._running.gateway
        before, seen = self._memory.earlier(), Earlier()
        now_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        sums = inside.HostSums(before or Earlier(), now_ns)
        counts: dict[int, inside.HostCount] = {}
        limits = idle_limits(gateway)
        for some in inside.host_counts(gateway):
            counts |= some
            await self._pause()
        async for batch in self._batches():
            seen.take(batch, ())
            sums.take(batch, survey.places(batch, survey.Wanted(), limits, now_ns))
        self._memory.keep(seen)
        self.rated = before is not None
        since = (now_ns - before.began) / 1e9 if before is not None else float("inf")
        chosen = self._asked.wanted.insides
        made = inside.host_rows(
            counts, sums.sums, gateway.configs[0], since, now_ns, Addresses(gateway).text, chosen
        )  # fmt: skip
        rows = [row for row in made if filters.spoken(row, self._asked.words)]
        if (key := inside.SORTS.get(self._asked.sort)) is not None:
            rows.sort(key=key, reverse=not self._asked.reverse)
        elif self._asked.reverse:
            rows.reverse()
        self._number, self._hosts = len(rows), rows[: self._asked.limit]

    async def _found(self) -> tuple[dict[str, Any], int, int]:
        return {"hosts": self._hosts}, self._number, self._number


class PortSight(TableSight):
    """All public addresses and protocols."""

    def __init__(self, running: Running, asked: TopRequest, memory: Memory) -> None:
        super().__init__(running, asked, memory)
        self._ports: list[PortRow] = []

    async def _all(self) -> None:
        self._ports = await overview.port_rows(self._running)

    async def _found(self) -> tuple[dict[str, Any], int, int]:
        return {"ports": self._ports}, len(self._ports), len(self._ports)


SIGHTS: Mapping[str, Callable[[Running, TopRequest, Memory], TableSight]] = {
    "sessions": SessionSight,
    "hosts": HostSight,
    "ports": PortSight,
}


def of(running: Running, asked: TopRequest, memory: Memory) -> TableSight | None:
    """What the view that was asked for sees; None: it needs no table."""
    made = SIGHTS.get(asked.view)
    return made(running, asked, memory) if made is not None else None
