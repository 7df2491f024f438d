"""A listing as it was asked for: filtered, the first N by some order, counted, or summed up by a key.

The law of this file: args in, rows out; the daemon's loop gets a turn after each batch. Sessions, of which there may be
a million, are judged by columns (`gateway.survey`); the other tables are small (tables.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from algate.alg.admin import packed
from algate.alg.admin.choosing import wanted as wanted
from algate.alg.admin.messages import PIECE, Rows
from algate.alg.admin.orders import SESSIONS
from algate.alg.admin.sorting import in_order, pieces
from algate.alg.daemon.running import Running
from algate.alg.errors import USAGE, AlgateError
from algate.alg.gateway import listing, pools, records, survey
from algate.alg.gateway.addresses import Addresses
from algate.alg.gateway.best import Best, Earlier
from algate.alg.gateway.gc import Batch, idle_limits
from algate.alg.rows import Row, SessionRow
from algate.alg.wording import nearest, shown
from algate.bpf import ticks

R = TypeVar("R", bound=Row)
SLICE = 2048  # sessions judged without a pause: about 2 ms
RATE_SECONDS = 1.0  # between the two walks that give a rate
LIMIT_MAX = 1_000_000
ONE_HOST = 0xFFFFFFFF  # the mask of a single address


@dataclass(frozen=True, slots=True)
class RowOrder:
    """What is wanted of the rows that match. `limit` None: all; `sort` "": the table's order; `by` "": no sums."""

    limit: int | None = None
    sort: str = ""
    reverse: bool = False
    count: bool = False
    by: str = ""

    @classmethod
    def parse(
        cls, args: Mapping[str, Any], sorts: Sequence[str] = SESSIONS.sorts, keys: Sequence[str] = SESSIONS.keys
    ) -> RowOrder:
        """From a request's args; `sorts` and `keys`: what these rows can be sorted and summed up by. AlgateError (exit
        code 2) names the option and what would be right."""
        limit, sort, by = args.get("limit"), args.get("sort") or "", args.get("by") or ""
        if limit is not None and not (isinstance(limit, int) and 0 <= limit <= LIMIT_MAX):
            raise AlgateError(f"--limit: {shown(limit)} is not a number from 0 to {LIMIT_MAX}", USAGE)
        for name, word, words in (("sort", sort, sorts), ("by", by, keys)):
            if word and not words:
                raise AlgateError(f"--{name}: these rows can't be summed up: `algate sessions` can", USAGE)
            if word and word not in words:
                close = nearest(str(word), words)
                raise AlgateError(
                    f"--{name}: {shown(word)} is not one of {', '.join(words)}; the nearest is {close}", USAGE
                )
        return cls(limit, sort, args.get("reverse") is True, args.get("count") is True, by)

    def __bool__(self) -> bool:
        return self != RowOrder()


async def sessions(running: Running, args: dict[str, Any]) -> Any:
    """The sessions that match. Without an order they are sent while the table is walked. `packed`: as they are in
    memory."""
    order, chosen = RowOrder.parse(args), wanted(running, args)
    if order.count and chosen == survey.Wanted():
        return {"count": pools.sessions(running.gateway)}
    if order == RowOrder(order.limit):
        chunks = await found_in(running, chosen)
        if args.get("packed") is True:
            some = matching(running, chosen, chunks)
            return packed.answer(running, _limited(some, order.limit))
        return Rows(_first(([row for _, row in some] for some in keyed(running, chosen, chunks)), order.limit))
    if order.count:
        count = survey.Count()
        await walk(running, chosen, count, chunks=await found_in(running, chosen))
        return {"count": count.number}
    if order.by:
        held = survey.forward_rows(running.forwards.cells()) if order.by == "forward" else {}
        groups = survey.Groups(order.by, running.names, held, Addresses(running.gateway).text)
        await walk(running, chosen, groups, chunks=await found_in(running, chosen))
        return await in_order(groups.rows(), survey.group_order(order.sort), not order.reverse, order.limit)
    found = await best(running, chosen, order)
    return packed.found(running, found) if args.get("packed") is True else Rows(_made(running, found))


def _made(running: Running, found: Iterable[tuple[bytes, bytes]]) -> Iterator[list[SessionRow]]:
    """Rows of packed keys and values."""
    make = listing.SessionRows(running.gateway, running.names)
    for some in pieces(found):
        yield [make.row(key, records.unpack_session(value)) for key, value in some]


def _first(pieces: Iterable[list[R]], limit: int | None) -> Iterator[list[R]]:
    """Of all pieces together the first `limit` items; what isn't needed isn't made."""
    left = limit or 0
    for piece in pieces:
        if limit is None:
            yield piece
        elif left > 0:
            yield piece[:left]
            left -= len(piece)
        else:
            return


Chunks = Iterable[tuple[bytes, bytes, int]]


async def found_in(running: Running, chosen: survey.Wanted) -> Chunks:
    """Where the sessions that are wanted are to be found: one host's without a walk if they are all known."""
    if len(chosen.insides) == 1 and chosen.insides[0].mask == ONE_HOST and chosen.insides[0].among is None:
        for found in running.sweeper.whereabouts.sessions(running.gateway, chosen.insides[0].base):
            if found is not None:
                return found
            await asyncio.sleep(0)
    return running.gateway.sessions.chunks(SLICE)


def matching(
    running: Running, chosen: survey.Wanted, chunks: Chunks | None = None
) -> Iterator[tuple[Batch, Sequence[int]]]:
    """Each batch of the table, and the places in it of the sessions that are alive and wanted."""
    limits = idle_limits(running.gateway)
    for keys, values, _ in running.gateway.sessions.chunks(SLICE) if chunks is None else chunks:
        batch = Batch(keys, values, ticks.now())
        yield batch, survey.places(batch, chosen, limits, time.clock_gettime_ns(time.CLOCK_MONOTONIC))


def _limited(parts: Iterable[tuple[Batch, Sequence[int]]], limit: int | None) -> Iterator[tuple[Batch, Sequence[int]]]:
    """Of all batches together the first `limit` places."""
    left = limit
    for batch, some in parts:
        yield batch, some[:left]
        if left is not None:
            left -= len(some[:left])
            if not left:
                return


def keyed(
    running: Running, chosen: survey.Wanted, chunks: Chunks | None = None
) -> Iterator[list[tuple[bytes, SessionRow]]]:
    """Packed keys and rows of the sessions that are alive and wanted, some hundred at a time, during the walk."""
    make = listing.SessionRows(running.gateway, running.names)
    for batch, some in matching(running, chosen, chunks):
        make.look()
        for start in range(0, max(1, len(some)), PIECE):
            part = some[start : start + PIECE]
            yield [(batch.key(at), make.row(batch.key(at), batch.value(at))) for at in part]


async def best(running: Running, chosen: survey.Wanted, order: RowOrder) -> list[tuple[bytes, bytes]]:
    """The first N sessions, as they are packed."""
    earlier = None
    if order.sort == "rate":
        earlier = Earlier()
        await walk(running, survey.Wanted(), earlier)
        await asyncio.sleep(RATE_SECONDS)
    limit = LIMIT_MAX if order.limit is None else order.limit
    found = Best(order.sort or "age", limit, order.reverse, earlier, idle_limits(running.gateway))
    await walk(running, chosen, found, chunks=await found_in(running, chosen) if earlier is None else None)
    return found.found()


class Taker(Protocol):
    """What a walk is for."""

    def take(self, batch: Batch, some: Sequence[int]) -> None:
        """A batch of the table, and the places in it of the sessions that are wanted."""


async def walk(running: Running, chosen: survey.Wanted, *takers: Taker, chunks: Chunks | None = None) -> None:
    """Hand every session that is alive and wanted to `takers`, batch by batch."""
    for batch, some in matching(running, chosen, chunks):
        for taker in takers:
            taker.take(batch, some)
        await asyncio.sleep(0)
