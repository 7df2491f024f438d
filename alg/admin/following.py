"""`follow --sessions`: sessions as they are made and ended.

The law of this file: what one asker wants of them. Of a filter the kernel judges what is cheap there (`wish`), the rest
is judged here; a reader who is too slow is told how many it lost."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from ipaddress import IPv4Network
from typing import Any

from algate.alg.admin import filters
from algate.alg.admin.filters import Filter
from algate.alg.audit.follower import lost_row
from algate.alg.audit.relay import EVERYWHERE, Relay, Wish
from algate.alg.audit.translations import PROTOS, Translation, TranslationKind
from algate.alg.errors import USAGE, AlgateError
from algate.alg.rows import Row, SessionEventRow, format_id
from algate.alg.wording import nearest, shown

KINDS = (TranslationKind.SESSION_CREATED, TranslationKind.SESSION_ENDED)
QUEUE = 20_000  # rows that wait for their reader
BATCH = 512  # rows sent at a time
NUMBERS = {name: number for number, name in PROTOS.items()}


class Queue:
    """One reader's sink."""

    def __init__(self, chosen: Filter) -> None:
        self._chosen = chosen
        self._rows: deque[SessionEventRow] = deque()
        self._some = asyncio.Event()
        self._behind = self._missed = 0

    def take(self, translations: Sequence[Translation]) -> None:
        """Keep what is wanted; with a full queue the oldest goes."""
        for one in translations:
            if one.kind not in KINDS or not self._chosen.matches(row := row_of(one)):
                continue
            if len(self._rows) >= QUEUE:
                self._rows.popleft()
                self._behind += 1
            self._rows.append(row)
        if self._rows:
            self._some.set()

    def lost(self, number: int) -> None:
        """Whether those were wanted nobody knows."""
        self._missed += number
        self._some.set()

    def close(self) -> None:
        """Nothing to do: a reader goes by itself."""

    async def get(self) -> list[Row]:
        """What there is, some rows at least; ahead of them what was lost."""
        while not (self._rows or self._behind or self._missed):
            self._some.clear()
            await self._some.wait()
        found: list[Row] = []
        if self._missed:
            found.append(lost_row(self._missed, "the kernel's ring had no room", "ring-full"))
        if self._behind:
            found.append(lost_row(self._behind, "the reader is too slow", "slow-reader"))
        self._behind = self._missed = 0
        found += [self._rows.popleft() for _ in range(min(BATCH, len(self._rows)))]
        return found


def row_of(one: Translation) -> SessionEventRow:
    """A record as a row."""
    return SessionEventRow(
        one.time, str(one.kind), format_id(one.session), one.proto_name, one.state, str(one.inside), str(one.remote),
        str(one.public) if one.public else None, *one.packets, *one.octets, one.duration, one.alg,
        format_id(one.related) if one.related else None,
    )  # fmt: skip


def wish(chosen: Filter) -> Wish:
    """What of a filter the kernel can judge: protocols, one network of inside hosts, whether a plug-in watches."""
    networks = [one.network for one in chosen.inside]
    inside = networks[0] if len(networks) == 1 and isinstance(networks[0], IPv4Network) else EVERYWHERE
    watched = bool(chosen.alg) and "none" not in chosen.alg
    return Wish(sessions=True, watched=watched, protos=frozenset(NUMBERS[one] for one in chosen.proto), inside=inside)


def parse(args: Mapping[str, Any], plugins: Collection[str]) -> Filter:
    """The filter of a request. AlgateError (exit code 2) for a name that never comes."""
    chosen = filters.parse(args)
    if chosen.reason:
        raise AlgateError("--reason: sessions have none: leave it out, or --sessions", USAGE)
    for option, given, known in (("alg", chosen.alg, (*plugins, "none")), ("event", chosen.event, KINDS)):
        for word in given:
            if word not in known and not (option == "event" and word in ("session", "any")):
                close = nearest(word, [str(one) for one in known])
                raise AlgateError(
                    f"--{option}: {shown(word)} never comes with --sessions; the nearest is {close}", USAGE
                )
    return chosen


async def follow(relay: Relay, plugins: Collection[str], args: Mapping[str, Any]) -> AsyncGenerator[list[Row], None]:
    """Sessions as they are made and ended, some at a time, until the asker goes."""
    chosen = parse(args, plugins)
    queue = Queue(chosen)
    relay.add(queue, wish(chosen))
    try:
        while True:
            yield await queue.get()
    finally:
        relay.remove(queue)
