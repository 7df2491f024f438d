"""The active gateway's side: what it holds goes to the engine beside the other node, and the rest waits for that.

The law of this file: it sends and hears; what is sent is written.py's and bulk.py's, when effects leave is outbox.py's.
Whatever fails, the gateway is alone from then on, says so, and begins anew from the start a moment later.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence

from . import epoch as epochs
from .bulk import BulkWalk, pieces
from .counts import AnewError, LeaderCounts
from .entries import Authorship, Entry, EntryKind, pages
from .epoch import Epoch
from .outbox import Outbox
from .patience import Patience
from .store import FencedError, HearingLog, Position, StoreError, StoreKeys, StoreLog
from .works import until_one_fails
from .writing import LogWriter

log = logging.getLogger(__name__)
AGAIN = 1.0  # s until the next try
WALK = 0.25  # s between two walks of the sessions, or four times what one works
HURRY = 0.02  # the same while the address is about to leave
LATER = 0.02  # s after a message that hears of its acknowledgement by itself: to see whether there was one
ANEW = 20_000  # records after which a log begins anew
FENCED = "the other node leads"


class Leader:
    """Of one active gateway. `state`: how it stands, in words; `epoch`: None until it leads."""

    def __init__(
        self, node: str, outbox: Outbox, bulk: BulkWalk, keys: StoreKeys,
        connect: Callable[[str], Awaitable[StoreLog]], everything: Callable[[], Iterable[Entry]],
        who: Callable[[], Authorship], fence: Callable[[bool], None],
        counts: LeaderCounts | None = None,
    ) -> None:  # fmt: skip
        self.state = "starting"
        self.epoch: Epoch | None = None
        self.problem = ""
        self.lag = 0.0  # s that the last commit of control sessions took
        self.told = 0
        self.fenced = False  # somebody else leads
        self.sure = 0.0  # s of CLOCK_BOOTTIME: nobody else led then, by the witness or by the other node's engine
        self.counts = counts or LeaderCounts()
        self._node, self._outbox, self._bulk, self._keys = node, outbox, bulk, keys
        self._connect, self._everything, self._who, self._fence = connect, everything, who, fence
        self._log: LogWriter | None = None
        self._hearing: HearingLog | None = None  # the same log, if it can be listened to
        self._patience = Patience()
        self._tickets: deque[tuple[int, int, float]] = deque()  # record, the ticket that it acknowledges, since when
        self._wanted = asyncio.Event()
        self._anew = asyncio.Event()
        self._seen = 0  # the highest epoch that was seen
        self._parting: list[bytes] = []  # what is to be said of that with the next walk
        self._hurry = False
        self._now = asyncio.Event()
        self._told_all = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Changes that wait for the other node."""
        return self._outbox.waiting

    def part(self) -> None:
        """The address is about to leave: tell of sessions of any age, all the time."""
        self._bulk.young = 0
        self._parting.append(b"")
        self._hurry = True
        self._now.set()

    async def last_words(self, seconds: float) -> None:
        """The address has left: tell of what began since, as long as the other node waits for that."""
        if self._log is None:
            return
        self._bulk.young = 0
        self._parting.append(b"all")
        self._now.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._told_all.wait()

    def resync(self) -> None:
        """Begin anew, with a new epoch."""
        self._anew.set()

    def write(self, ticket: int, entries: list[Entry]) -> None:
        """What Outbox calls."""
        if self._log is not None:
            self._log.write(entries)
            self._tickets.append((self._log.seq, ticket, time.monotonic()))
        self._wanted.set()

    def settle(self, others: Sequence[int]) -> bool:
        """Wait for what this turn has sent, if that comes soon and none of the `others`, descriptors, has anything: a
        turn of the loop takes longer than the engine does. True: one of them has, and may not say so again."""
        if self._hearing is None or not self._tickets:
            return False
        left = self._patience.seconds()
        end, came = time.monotonic() + left, left > 0
        if came:
            self._outbox.prepare()
        while came and left > 0:
            came, more = self._hearing.listen(left, others)
            if not self._tickets:
                self._patience.waited(True)
                return more
            if more:
                return True
            left = end - time.monotonic()
            if left <= 0:
                self._patience.waited(False)
        return False

    def _heard(self, position: Position) -> None:
        """The engine has this record, and with it all before: whatever waits for those leaves now, since each turn of
        the loop is a part of what a command waits for."""
        while self._tickets and self._tickets[0][0] <= position.seq:
            _, ticket, began = self._tickets.popleft()
            self._outbox.acknowledged(ticket)
            self._took(time.monotonic() - began)

    def _took(self, seconds: float) -> None:
        self.lag = seconds
        self.counts.committed(seconds)

    async def run(self, taken: Epoch | None = None) -> None:
        """Lead for ever, or try to. `taken`: an epoch that this node has just taken."""
        self.sure = boot() if taken is not None else self.sure
        while True:
            try:
                self.epoch = taken or await self._take()
                taken = None
                self._anew.clear()
                self._say("telling the other node everything")
                await self._lead(self.epoch)
            except FencedError as error:
                self._part(FENCED, error)
                self.fenced = True
                self._fence(True)
                await self._until_free()
                self.fenced = False
                self._fence(False)
            except AnewError as error:
                self._part("the other node isn't in step", error)
            except StoreError as error:
                self._part("the other node isn't in step", error)
                await asyncio.sleep(AGAIN)

    async def _take(self) -> Epoch:
        asked = boot()
        mine = await epochs.take(self._keys, self._node, self._seen, self.epoch)
        self.sure = asked
        return mine

    async def _until_free(self) -> None:
        while True:
            await asyncio.sleep(AGAIN)
            with contextlib.suppress(StoreError):
                stood = await epochs.stands(self._keys)
                if stood.node in (self._node, epochs.NOBODY):
                    self.epoch = stood  # whoever takes one after that was first
                    return

    async def _lead(self, mine: Epoch) -> None:
        control, bulk = await self._connect("control"), await self._connect("bulk")
        try:
            self._seen = max(self._seen, mine.number, (await control.last()).epoch, (await bulk.last()).epoch)
            if self._seen > mine.number:
                mine = self.epoch = await epochs.take(self._keys, self._node, self._seen, mine)
            writer = LogWriter(control, mine.number)
            self._tickets.clear()
            if isinstance(control, HearingLog):
                control.heard, self._hearing = self._heard, control
            writer.begin(self._who(), self._everything())
            self._log = writer
            self._outbox.together()  # in the same breath: nothing may change in between
            self._wanted.set()
            await until_one_fails(self._pump(writer), self._walk(LogWriter(bulk, mine.number)), self._watch(mine))
        finally:
            self._log = self._hearing = None
            self._outbox.alone()
            await control.close()
            await bulk.close()

    async def _pump(self, writer: LogWriter) -> None:
        """Have effects leave as their messages are acknowledged."""
        first, hears = True, isinstance(writer.store, HearingLog)
        while True:
            await self._wanted.wait()
            if hears and not first:
                await asyncio.sleep(LATER)
            self._wanted.clear()
            ticket, began, asked = self._outbox.sent, time.monotonic(), boot()
            await writer.store.commit()
            self.sure = asked  # else the log would have been shut to this node
            self._outbox.acknowledged(ticket)
            if not hears:
                self._took(time.monotonic() - began)
            if first or writer.seq - writer.begun > ANEW:
                if not first:
                    writer.begin(self._who(), self._everything())
                    self._outbox.together()
                await writer.trim()
                first = False

    async def _walk(self, writer: LogWriter) -> None:
        """Tell of sessions that no ALG watches."""
        self._bulk.forget()
        fresh, before = True, time.monotonic()
        while True:
            since, before = before, time.monotonic()
            words, self._parting = self._parting, []
            self._now.clear()
            told, busy = await self._look()
            if fresh or writer.seq - writer.begun > ANEW:
                self._parting = words + self._parting  # they come with the next one
                if not fresh:
                    self._bulk.forget()
                    writer.begun, fresh = writer.seq, True
                    continue
                writer.begin(self._who(), told)
                await writer.trim()
                self.counts.resyncs += 1
                self._say("in step")
            else:
                for page in pages([*told, *(Entry(EntryKind.PARTING, b"", word) for word in words)]):
                    writer.write(page)
                await writer.store.commit()
                self.counts.waited(time.monotonic() - since)
                if any(words):
                    self._told_all.set()
            fresh = False
            self.told = len(self._bulk.known)
            await self._rest(HURRY if self._hurry else max(WALK, 4 * busy))

    async def _look(self) -> tuple[list[Entry], float]:
        """One walk: what is to be told, and the s of work that it took. The table is read in a thread, since a held
        line would wait for it."""
        busy, told = 0.0, list[Entry]()
        walk, chunks = self._bulk.walk(time.clock_gettime_ns(time.CLOCK_MONOTONIC), told.append), self._bulk.read()
        next(walk)
        while True:
            at = time.monotonic()
            chunk = await asyncio.to_thread(next, chunks, None)
            if chunk is None:
                with contextlib.suppress(StopIteration):
                    walk.send(None)
                return told, busy
            busy += time.monotonic() - at
            for piece in pieces(chunk):
                at = time.monotonic()
                walk.send(piece)
                busy += time.monotonic() - at
                await asyncio.sleep(0)

    async def _rest(self, seconds: float) -> None:
        """Until the next walk is due, or the address leaves."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._now.wait()

    async def _watch(self, mine: Epoch) -> None:
        """See whether somebody else has taken the lead."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AGAIN):
                    await self._anew.wait()
            if self._anew.is_set():
                raise AnewError("it is told everything anew, as was asked for")
            stood, asked = mine, boot()
            with contextlib.suppress(StoreError):  # a witness that is away changes nothing for who leads already
                stood = await epochs.stands(self._keys)
                self.sure = asked if stood.number <= mine.number else self.sure
            if stood.number > mine.number:
                raise FencedError(f"epoch {stood.number} is {stood.node}'s")

    def _say(self, state: str) -> None:
        if state != self.state:
            self.state, self.problem = state, ""
            log.info("ha: %s", state)

    def _part(self, state: str, error: StoreError) -> None:
        if state != self.state:
            log.warning("ha: %s: %s", state, error)
        self.counts.failed(error)
        self.state, self.problem = state, str(error)


def boot() -> float:
    """A moment by a clock that goes on while the host sleeps, in s."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
