"""One control session in the engine's hands: its two flows, its conversation, and headers in either end's name.

The law of this file: state and what follows from it alone; no effect is made here. Flows are indexed by enum direction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address

from algate.alg.plugin.model import Audience, Control, EndPoint, Left, Side, WholeConversation

from . import held
from .account import Account, Passed
from .corrections import MASK
from .effects import (
    ADJUST_BYPASS,
    ADJUST_LINES,
    ADJUST_UNANSWERED,
    DIGEST_MAX,
    EXPECT_OPEN,
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
)
from .expectations import Book, Expectations
from .flow import Flow
from .frames import FIN, URG, Header

KIND = (INJECT_OUT, INJECT_IN)
RAW_KIND = (INJECT_RAW_OUT, INJECT_RAW_IN)
UDP = 17
DEFAULT_MSS = 536  # RFC 9293 section 3.7.1

Track = Callable[[int], TrackView | None]


class Session:
    """`passing`: no plug-in any more, everything passes; `bypassed`: the kernel knows and punts no more."""

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
        "inside_side",
        "mss",
        "passing",
        "poll",
        "reset",
        "timestamps",
    )

    def __init__(self, info: SessionInfo, audience: Audience | None = None) -> None:
        self.info = info
        inside = EndPoint(ip_address(info.key.inside_ip), info.key.inside_port)
        remote = EndPoint(ip_address(info.key.remote_ip), info.key.remote_port)
        public = EndPoint(ip_address(info.public_ip), info.public_port) if any(info.public_ip) else inside
        self.inside_side = Side.SERVER if info.session_flags & SESSION_FORWARD else Side.CLIENT
        self.datagrams = info.key.proto == UDP
        proto = "udp" if self.datagrams else "tcp"
        self.control = Control(info.session, inside, public, remote, self.inside_side, proto=proto, audience=audience)
        self.conversation: WholeConversation | None = None
        self.flows = (Flow(), Flow())
        self.book = Book()
        self.begun = False
        self.passing = False
        self.bypassed = False
        self.reset = ""  # why it is to be reset
        self.mss: tuple[int, int] | None = None
        self.due = float("inf")
        self.poll = 0.0
        self.timestamps = False  # both ends agreed to them
        self.account = Account()

    def side(self, direction: int) -> Side:
        """Who speaks in that direction."""
        return self.inside_side if direction == OUT else self.inside_side.other

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

    def quiet_for(self, segment: Segment) -> bool:
        """The common case: the segment continues its stream, and nothing waits, is owed or ends in either direction."""
        flow, back = self.flows[segment.direction], self.flows[1 - segment.direction]
        stream, ledger, answered, size = flow.stream, flow.ledger, back.ledger, segment.payload_size
        return (
            0 < size <= DIGEST_MAX
            and segment.seq == stream.next & MASK
            and not segment.tcp_flags & (FIN | URG)
            and not (stream.pending or stream.later or back.stream.pending or flow.fin_released or self.passing)
            and not (ledger.stored or answered.stored or ledger.answers or answered.answers)
            and stream.fin is None
            and self.mss is not None
            and size <= self.mss[1 - segment.direction] - 40
            and not ledger.corrections.items
        )

    def record(self) -> AdjustRecord:
        """The adjust record as it stands."""
        out, back = self.flows[0].ledger, self.flows[1].ledger
        decided = (out.decided & MASK, back.decided & MASK)
        flags = ADJUST_BYPASS if self.bypassed else 0
        interest = 0
        unattended = self.account.unattended
        if unattended is not None and not self.bypassed:
            flags = ADJUST_LINES | min(unattended.unanswered, 0xFF) << ADJUST_UNANSWERED
            interest = unattended.lines.number
        changes = (out.corrections, back.corrections)
        base = (changes[0].base, changes[1].base)
        both = (changes[0].items, changes[1].items)
        return AdjustRecord(self.info.session, decided, base, both, flags, interest, self.account.word)

    def segment_limit(self, direction: int, options: int, size: int) -> int:
        """Largest payload to send in a direction. The receiver's MSS bounds what came as one segment of `size` bytes,
        the smaller of both MSS what the gateway cuts itself: RFC 9293 section 3.7.1, RFC 6691."""
        mss = self.mss or (DEFAULT_MSS, DEFAULT_MSS)
        own = max(64, min(mss) - options)
        return size if own < size <= mss[1 - direction] - options else own

    def sent_header(self, direction: int, track: TrackView) -> Header:
        """Of a segment as its sender would send it now, untranslated and unshifted."""
        key, info = self.info.key, self.info
        back = 1 - direction
        ack = self.flows[back].ledger.corrections.shift(track.acked[back])
        stamps = (track.ts_value[direction], track.ts_value[back]) if track.ts_value[direction] else None
        if direction == OUT:
            ends = (key.inside_ip, key.remote_ip, key.inside_port, key.remote_port)
        elif any(info.public_ip):
            ends = (key.remote_ip, info.public_ip, key.remote_port, info.public_port)
        else:
            ends = (key.remote_ip, key.inside_ip, key.remote_port, key.inside_port)
        return Header(*ends, ack, track.window[direction], stamps)

    def final_header(self, direction: int, track: TrackView) -> Header:
        """Of a finished segment towards the receiver of a direction, in that direction's sender's name."""
        back = self.flows[1 - direction]
        stamps = (track.ts_value[direction], track.ts_value[1 - direction]) if track.ts_value[direction] else None
        ack = back.ledger.acknowledged & MASK if back.started else track.acked[1 - direction]
        return Header(*self.final_ends(direction), ack, track.window[direction], stamps)

    def final_ends(self, direction: int) -> tuple[bytes, bytes, int, int]:
        """Source and destination, addresses before ports, as the receiver of a direction sees them."""
        key, info = self.info.key, self.info
        if direction != OUT:
            return key.remote_ip, key.inside_ip, key.remote_port, key.inside_port
        if any(info.public_ip):
            return info.public_ip, key.remote_ip, info.public_port, key.remote_port
        return key.inside_ip, key.remote_ip, key.inside_port, key.remote_port

    def final_seq(self, direction: int, track: TrackView) -> int:
        """The next sequence number of a direction as its receiver sees it."""
        flow = self.flows[direction]
        if not flow.started:
            return track.next[direction]
        return flow.ledger.corrections.shift((flow.ledger.decided + flow.fin_released) & MASK)

    def inherit(self, expectations: Expectations, left: Sequence[Expectation]) -> None:
        """Go on with what another helper left expected."""
        kept = []
        for one in sorted(left, key=lambda one: one.id):
            peer = ip_address(one.from_ip) if one.from_ip else None
            tag = expectations.inherit(self.book, one)
            kept.append(Left(tag, one.state == EXPECT_OPEN, peer, one.inside or one.to))
        self.control = replace(self.control, left=tuple(kept))

    def restore(self, record: AdjustRecord, stored: Mapping[int, bytes]) -> None:
        """Go on where another helper stopped. struct.error if what it stored is broken."""
        self.control = replace(self.control, resumed=True)
        self.account.resume(record.lines)
        for direction, flow in enumerate(self.flows):
            if record.decided[direction] or record.corrections[direction] or direction in stored:
                changes = record.base[direction], record.corrections[direction]
                held.restore(flow, record.decided[direction], *changes, stored.get(direction, b""))
        self.bypassed = self.passing = bool(record.flags & ADJUST_BYPASS)

    def catch_up(self, word: int) -> Passed | None:
        """Go on behind what passed without the helper; what that was, None if nothing. `word`: track.lines."""
        told = self.account.take(word)
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

    def memory(self) -> int:
        """Bytes of payload kept, and a fixed allowance for the objects."""
        return 3500 + sum(flow.memory() for flow in self.flows)
