"""One gateway's lease at the engine, renewed for ever, and the log of who had which ports when.

The law of this file: the order. What another may have is ended here before the lease is written for longer, and the
kernel hears which ports it may give out before it hears for how long. The log is written by whoever moved a lot, or by
the next one who does: its records are numbered by the table's versions, so none is there twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable, Collection
from typing import NamedTuple, Protocol

from .leases import KEY, LeaseTable, Lessee
from .store import START, FencedError, Position, StoreError, StoreKeys, StoreLog

log = logging.getLogger(__name__)
ROUNDS = 4  # renewals while a lease lasts
MOST = 1.0  # s until the next try, after one that failed
LOG = "lease-log"  # the log's name


class LeasedPorts(Protocol):
    """The kernel's part."""

    def empty(self, lots: Collection[int]) -> set[int]:
        """Those of which no port is in use here, nor was for hold-down."""

    async def clear(self, lots: Collection[int]) -> bool:
        """End what uses ports of these. False: there is still some."""

    def open(self, lots: Collection[int]) -> None:
        """Have ports of these given out, and of no others."""

    def last(self, new_until: float, gone_at: float) -> None:
        """Until when: seconds of CLOCK_BOOTTIME."""


class LeasePeriod(NamedTuple):
    """A gateway had a lot; `until` None: it has it still. Seconds of the day's time."""

    lot: int
    node: str
    since: float
    until: float | None


def boot() -> float:
    """Now, by the clock that goes on while the host sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Leasing:
    """`problem`: why the lease wasn't renewed, "" if it was."""

    def __init__(self, lessee: Lessee, keys: StoreKeys, history: Callable[[], StoreLog], ports: LeasedPorts) -> None:
        self.lessee = lessee
        self.problem = ""
        self.renewals = self.failures = 0
        self._keys = keys
        self._history = history
        self._ports = ports
        self._written = -1  # the version up to which the log is known to be whole

    async def run(self) -> None:
        """For ever."""
        pause = self.lessee.terms.seconds / ROUNDS
        while True:
            try:
                won = await self.round()
                self.renewals += won
                if won and self.problem:
                    log.warning("leases: renewed again")
                    self.problem = ""
            except StoreError as error:
                won = False
                self.failures += 1
                if self.problem != str(error):
                    log.warning("leases: not renewed: %s", error)
                self.problem = str(error)
            await asyncio.sleep(pause if won else min(MOST, pause))

    async def round(self) -> bool:
        """Renew, and do what that asks for. False: another one wrote meanwhile. StoreError if it can't be done."""
        lessee = self.lessee
        empty = self._ports.empty(lessee.lots | lessee.draining)
        raw = await self._keys.read(KEY)
        made = lessee.propose(raw, boot(), time.time(), empty)
        if made.changes:
            await self._write_down(LeaseTable.read(raw, lessee.terms))
        if not await self._keys.compare_and_set(KEY, made.former, bytes(made.table)):
            return False
        before = set(lessee.lots)
        lessee.granted(made)
        lost = set(lessee.lost)
        if lost and not await self._ports.clear(lost):
            raise StoreError("ports that another gateway may have are still in use here")
        lessee.cleared(lost)
        self._ports.open(lessee.lots)
        self._ports.last(lessee.new_until, lessee.gone_at)
        if before != lessee.lots:
            log.info("leases: %d of %d lots", len(lessee.lots), lessee.terms.lots)
        if made.changes:
            await self._write_down(made.table)
        return True

    async def _write_down(self, table: LeaseTable) -> None:
        """The record of a version, if the log lacks it."""
        if table.version <= self._written or not table.version:
            return
        store = self._history()
        try:
            if (await store.last()).epoch < table.version:
                held = {lot: one.owner for lot, one in table.held.items()}
                store.append(Position(table.version, 0), json.dumps([table.changed, held]).encode())
                with contextlib.suppress(FencedError):  # somebody else has written it
                    await store.commit()
        finally:
            await store.close()
        self._written = table.version

    async def history(self) -> list[LeasePeriod]:
        """Who had what when, from the log and from what stands now. StoreError if the engine can't be asked."""
        told: list[tuple[float, dict[int, str]]] = []
        after, store = START, self._history()
        try:
            while found := await store.tail(after):
                after = found[-1].position
                told += [_record(one.data) for one in found]
        finally:
            await store.close()
        now = LeaseTable.read(await self._keys.read(KEY), self.lessee.terms)
        told.append((now.changed, {lot: one.owner for lot, one in now.held.items()}))
        return periods(told)


def _record(data: bytes) -> tuple[float, dict[int, str]]:
    try:
        at, held = json.loads(data)
        return float(at), {int(lot): str(owner) for lot, owner in held.items()}
    except (ValueError, TypeError, AttributeError):
        raise StoreError("the log of leases has something else in it") from None


def periods(told: Collection[tuple[float, dict[int, str]]]) -> list[LeasePeriod]:
    """From who had what after each change."""
    made: list[LeasePeriod] = []
    open_: dict[int, tuple[str, float]] = {}
    for at, held in told:
        for lot in [lot for lot, (owner, _) in open_.items() if held.get(lot) != owner]:
            owner, since = open_.pop(lot)
            made.append(LeasePeriod(lot, owner, since, at))
        for lot, owner in held.items():
            open_.setdefault(lot, (owner, at))
    return made + [LeasePeriod(lot, owner, since, None) for lot, (owner, since) in sorted(open_.items())]


def shown(owner: str) -> str:
    """A gateway's name without what tells its lives apart."""
    return owner.rpartition(".")[0] or owner
