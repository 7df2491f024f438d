"""One control session in the engine's hands: its two flows, its conversation, its account and its book.

The law of this file: state and what follows from it alone; no effect is made here. Flows are indexed by enum direction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from algate.alg.plugin.contract import NEVER, end_point
from algate.alg.plugin.model import (
    Audience,
    Control,
    Left,
    Progress,
    Side,
    Unattended,
    WholeConversation,
    address,
)

from . import held
from .account import Account, Passed
from .corrections import MASK
from .effects import (
    ADJUST_BEGINS,
    ADJUST_BYPASS,
    ADJUST_COPIES,
    ADJUST_LINES,
    ADJUST_OWED,
    ADJUST_REMEMBERED,
    ADJUST_SETTLES,
    ADJUST_UNANSWERED,
    EXPECT_OPEN,
    EXPECT_PENDING,
    IN,
    INJECT_IN,
    INJECT_OUT,
    INJECT_RAW_IN,
    INJECT_RAW_OUT,
    OUT,
    SESSION_FORWARD,
    TRACK_SYN_IN,
    TRACK_SYN_OUT,
    TRACK_TIMESTAMPS,
    AdjustRecord,
    Expectation,
    Segment,
    SessionInfo,
    TrackView,
    View,
)
from .expectations import Book, Expectations
from .flow import Flow
from .path import PathMtu

KIND: Final = (INJECT_OUT, INJECT_IN)
RAW_KIND: Final = (INJECT_RAW_OUT, INJECT_RAW_IN)
UDP: Final = 17
CLIENT: Final = Side.CLIENT
SERVER: Final = Side.SERVER

Track = Callable[[int], TrackView | None]


def first_flags(said: Unattended, remembered: int) -> int:
    """The flags of a record by which lines pass before anything was decided."""
    flags = ADJUST_BEGINS | ADJUST_LINES | (ADJUST_COPIES if said.read else 0)
    flags |= ADJUST_SETTLES if said.settles else 0
    return flags | min(said.unanswered, 0xFF) << ADJUST_UNANSWERED | remembered << ADJUST_REMEMBERED


class Session:
    """`sides`: who speaks, by direction. `passing`: no plug-in any more, everything passes; `bypassed`: the kernel
    knows and punts no more; `paths`: what the way of each direction takes."""

    __slots__ = (
        "account",
        "begun",
        "book",
        "bypassed",
        "control",
        "conversation",
        "datagrams",
        "due",
        "flows",
        "info",
        "late",
        "late_size",
        "mss",
        "passing",
        "paths",
        "poll",
        "remembered",
        "reset",
        "sides",
        "timestamps",
    )

    def __init__(self, info: SessionInfo, audience: Audience | None = None) -> None:
        self.info = info
        inside = end_point(address(info.inside_ip), info.key.inside_port)
        remote = end_point(address(info.remote_ip), info.key.remote_port)
        public = end_point(address(info.public_ip), info.public_port) if info.translated else inside
        inside_side = SERVER if info.session_flags & SESSION_FORWARD else CLIENT
        self.sides = (inside_side, CLIENT if inside_side is SERVER else SERVER)
        self.datagrams = info.key.proto == UDP
        proto = "udp" if self.datagrams else "tcp"
        self.control = Control(
            info.session, inside, public, remote, inside_side, proto=proto, audience=audience, prefix=info.prefix
        )
        self.conversation: WholeConversation | None = None
        self.flows = (Flow(OUT), Flow(IN))
        header = 20 if len(info.remote_ip) == 4 else 40  # of NAT64's packets as the helper has them, too
        self.paths = (PathMtu(header), PathMtu(header))
        self.book = Book()
        self.begun = False
        self.passing = False
        self.bypassed = False
        self.remembered = 0  # see model.Remembers
        self.reset = ""  # why it is to be reset
        self.mss: tuple[int, int] | None = None
        self.due = NEVER
        self.poll = 0.0
        self.timestamps = False  # both ends agreed to them
        self.account = Account()
        self.late: list[tuple[float, Segment]] = []  # segments before which copies are missing, and when they came
        self.late_size = 0  # bytes of their frames

    def begin(self, track: TrackView | None) -> None:
        """Start the flows whose SYN the kernel saw. Idempotent."""
        self.begun = True
        if track is None:
            return
        for direction, seen in enumerate((TRACK_SYN_OUT, TRACK_SYN_IN)):
            flow = self.flows[direction]
            if flow.started:
                flow.ledger.resume(track.acked[direction])
            elif track.flags & seen:
                flow.start((track.isn[direction] + 1) & MASK)
            else:
                flow.ledger.assume(track.acked[direction])
        self.timestamps = bool(track.flags & TRACK_TIMESTAMPS)
        if track.flags & TRACK_SYN_OUT and track.flags & TRACK_SYN_IN:
            self.mss = track.mss

    def record(self) -> AdjustRecord:
        """The adjust record as it stands."""
        out, back = self.flows[0].ledger, self.flows[1].ledger
        decided = (out.decided & MASK, back.decided & MASK)
        flags = (ADJUST_BYPASS if self.bypassed else 0) | (0 if self.begun else ADJUST_BEGINS)
        if out.promised > out.decided or back.promised > back.decided:
            flags |= ADJUST_OWED
        flags |= self.remembered << ADJUST_REMEMBERED
        interest, agrees = 0, 0
        unattended = self.account.unattended
        if unattended is not None and not self.bypassed:
            flags |= ADJUST_LINES | min(unattended.unanswered, 0xFF) << ADJUST_UNANSWERED
            flags |= ADJUST_COPIES if unattended.read else 0
            flags |= ADJUST_SETTLES if unattended.settles else 0
            interest = unattended.lines.number
            pending = self.book.expectations.get(unattended.agrees) if unattended.agrees else None
            if pending is not None and pending.state == EXPECT_PENDING:
                agrees = pending.id
        changes = (out.corrections, back.corrections)
        base = (changes[0].base, changes[1].base)
        both = (changes[0].items, changes[1].items)
        return AdjustRecord(self.info.session, decided, base, both, flags, interest, self.account.word, agrees)

    def inherit(self, expectations: Expectations, left: Sequence[Expectation]) -> None:
        """Go on with what another helper left expected."""
        if not left:
            return
        kept = []
        for one in sorted(left, key=lambda one: one.id):
            peer = address(one.from_ip) if one.from_ip else None
            tag = expectations.inherit(self.book, one)
            kept.append(Left(tag, one.state == EXPECT_OPEN, peer, one.inside or one.to))
        self.control = replace(self.control, left=tuple(kept))

    def restore(self, record: AdjustRecord, stored: Mapping[int, bytes], begun: tuple[bool, bool]) -> None:
        """Go on where another helper stopped. `begun`: whose SYN the kernel saw, by direction: elsewhere a sequence
        number of 0 says that the helper knew none. struct.error if what it stored is broken."""
        self.remembered = record.flags >> ADJUST_REMEMBERED & 0xFF
        self.control = replace(self.control, resumed=True, remembered=self.remembered)
        self.account.resume(record.lines)
        for direction, flow in enumerate(self.flows):
            known = record.decided[direction] or (begun[direction] and not record.flags & ADJUST_BEGINS)
            if known or record.corrections[direction] or direction in stored:
                changes = record.base[direction], record.corrections[direction]
                held.restore(flow, record.decided[direction], *changes, stored.get(direction, b""))
        self.bypassed = self.passing = bool(record.flags & ADJUST_BYPASS)

    def forget(self) -> None:
        """What was remembered doesn't hold any more: lines passed that a helper should have read and none has."""
        self.remembered = 0
        self.control = replace(self.control, remembered=0, unread=True)

    def catch_up(self, word: int, whatever: bool = False) -> Passed | None:
        """Go on behind what passed without the helper; what that was, None if nothing. `word`: track.lines. `whatever`:
        also behind lines of which no copy will be judged any more."""
        told = self.account.take_all(word) if whatever else self.account.take(word)
        if told is not None:
            for flow, size in zip(self.flows, told.size, strict=True):
                if size:
                    flow.skip(size)
        return told

    def bypass(self) -> bool:
        """If nothing of the session needs the helper any more, leave it to the kernel: shifts stay, decisions go."""
        for flow in self.flows:
            ledger = flow.ledger
            if flow.stream.pending or ledger.answers or ledger.owed() or any(c.new is not None for c in ledger.chunks):
                return False
        for flow in self.flows:
            flow.stream.forget()
            flow.ledger.fold()
        self.bypassed = True
        return True

    def give_up(self) -> None:
        """The kernel let bytes pass that nobody judged (fail = "open"): from here on nobody could."""
        self.passing = True

    def view(self, progress: Progress) -> View:
        """For `explain`, with what the plug-in says of the dialogue."""
        waiting = [len(flow.stream.pending) for flow in self.flows]
        client = self.sides.index(Side.CLIENT)
        over = self.bypassed or self.passing
        return View(progress.phase, progress.unanswered, over, (waiting[client], waiting[1 - client]))

    def memory(self) -> int:
        """Bytes of payload kept, and a fixed allowance for the objects."""
        return 3500 + self.late_size + sum(flow.memory() for flow in self.flows)
