"""The kernel's gate on a control session, in Python: exactly what `bpf/include/alg.h` does with a segment.

The law of this file: it carries out effects and treats frames as the C does; it never helps the engine. Where the C
would silently corrupt something, it asserts: checksums, ranges, order of effects.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable
from typing import NamedTuple

from algate.alg.engine import effects as fx
from algate.alg.engine.corrections import MASK, distance, shift_seq, unshift_ack
from algate.alg.engine.digest import digest
from algate.alg.engine.expectations import NAMED, NAMED_PORT, named_by
from algate.alg.engine.frames import (
    ACK,
    FIN,
    GOOD,
    PSH,
    RST,
    SYN,
    Header,
    build,
    checksum_state,
    tcp_offset,
    timestamps,
)
from algate.alg.gateway import records
from tests.account_model import COPIED, HELD, LINE_MAX, SYNS, AccountModel

SECRET = 0x1234_5678_9ABC_DEF0
ETHERNET = 14
_NAMES = re.compile(
    rb"\((\d+,\d+,\d+,\d+),(\d+),(\d+)\)[^\d(,|]{0,2}\r\n$|\(\|\|\|(\d{1,5})\|\)[^\d(|]{0,1}\r\n$"
)  # what named.h reads, but for odd ends of lines
AGAIN_AFTER = 0.5  # PUNT_AGAIN_AFTER
Said = tuple[int, int, int, int, bytes]


class Packet(NamedTuple):
    """A TCP segment, parsed."""

    src: bytes
    dst: bytes
    sport: int
    dport: int
    seq: int
    ack: int
    flags: int
    window: int
    payload: bytes
    stamps: tuple[int, int] | None = None


def parse(frame: bytes) -> Packet:
    """Parse a frame without IP options or extension headers; asserts that lengths and checksums are right."""
    if frame[ETHERNET] >> 4 == 6:
        return _parse6(frame)
    assert frame[ETHERNET] == 0x45
    (length,) = struct.unpack_from("!H", frame, ETHERNET + 2)
    assert ETHERNET + length == len(frame)
    assert int.from_bytes(frame[ETHERNET : ETHERNET + 20], "big") % 0xFFFF == 0
    ends = frame[ETHERNET + 12 : ETHERNET + 16], frame[ETHERNET + 16 : ETHERNET + 20]
    return _parse_tcp(frame, ETHERNET + 20, ends)


def _parse6(frame: bytes) -> Packet:
    assert frame[ETHERNET - 2 : ETHERNET] == b"\x86\xdd" and frame[ETHERNET + 6] == 6
    (length,) = struct.unpack_from("!H", frame, ETHERNET + 4)
    assert ETHERNET + 40 + length == len(frame)
    ends = frame[ETHERNET + 8 : ETHERNET + 24], frame[ETHERNET + 24 : ETHERNET + 40]
    return _parse_tcp(frame, ETHERNET + 40, ends)


def _parse_tcp(frame: bytes, tcp: int, ends: tuple[bytes, bytes]) -> Packet:
    assert checksum_state(frame, ETHERNET, tcp, len(frame)) == GOOD
    sport, dport, seq, ack, offset, flags, window = struct.unpack_from("!HHIIBBH", frame, tcp)
    payload = frame[tcp + (offset >> 4) * 4 :]
    return Packet(*ends, sport, dport, seq, ack, flags, window, payload, timestamps(frame, tcp))


def frame_of(packet: Packet, kind: int = fx.INJECT_OUT) -> bytes:
    """The inverse of parse."""
    header = Header(packet.src, packet.dst, packet.sport, packet.dport, packet.ack, packet.window, packet.stamps)
    return build(kind, header, packet.seq, packet.flags, packet.payload)


class Track:
    """`struct track`."""

    def __init__(self) -> None:
        self.isn = [0, 0]
        self.next = [0, 0]
        self.acked = [0, 0]
        self.ack_sent = [0, 0]
        self.window = [0, 0]
        self.ts_value = [0, 0]
        self.mss = [536, 536]
        self.flags = 0
        self.lines = 0
        self.ts_recent = [0, 0]
        self.punted: list[tuple[Said, float, int] | None] = [None, None]  # what, when, the count that its copy carries

    def view(self) -> fx.TrackView:
        pairs = (self.isn, self.next, self.acked, self.window, self.ts_value, self.mss)
        isn, after, acked, window, stamps, mss = ((p[0], p[1]) for p in pairs)
        sent = (self.ack_sent[0], self.ack_sent[1])
        recent = (self.ts_recent[0], self.ts_recent[1])
        return fx.TrackView(isn, after, acked, window, stamps, mss, self.flags, sent, self.lines, recent)


class KernelModel:
    """One control session. `punt` takes held segments, `wire` what leaves: (direction, packet).

    `mtu` is of the way out by direction; `told` gets (direction, mtu) where a sender hears frag-needed, `unsent` where
    what the helper made is too big.
    """

    def __init__(
        self, info: fx.SessionInfo, punt: Callable[[fx.Segment], None], wire: Callable[[int, Packet], None]
    ) -> None:
        self.info = info
        self.punt = punt
        self.wire = wire
        self.tracked = Track()
        self.account = AccountModel(SECRET, fx.IN if info.session_flags & fx.SESSION_FORWARD else fx.OUT)
        self.adjust: fx.AdjustRecord | None = None
        self.decisions: dict[tuple[int, int, int], fx.PutDecision] = {}
        self.held: dict[int, bytes] = {}
        self.named = 0
        self.expectations: dict[int, fx.Expectation] = {}
        self.lasts = 0.0  # how long what a server's line names is expected without the helper
        self.announced: list[fx.Announce] = []
        self.released: list[fx.ReleasePort] = []
        self.deleted: list[tuple[int, str]] = []
        self.ever_expected = 0
        self.opened: list[fx.Expectation] = []  # all that were ever open, in order
        self.mtu = [65535, 65535]
        self.told: Callable[[int, int], None] = lambda direction, mtu: None
        self.unsent: Callable[[int, int], None] = lambda direction, mtu: None
        self.hurried: Callable[[int, int], None] = lambda direction, seq: None  # whom, and what it is to repeat
        self.reset = ""
        self.bypassed = False
        self.undecided_drops = 0
        self.now = 0.0
        self.punted_again = 0
        self.stop_after: int | None = None  # effects until the helper dies
        self.reads = True  # somebody reads the ring; if not, nobody need know yet
        self.alive = True  # by its heartbeat
        self.fail_open = False
        self.refuse_decisions = 0  # how many of the next writes of decisions fail: a full table

    @property
    def untouchable(self) -> bool:
        """It passed a segment without a helper."""
        return bool(self.tracked.flags & fx.TRACK_UNTOUCHABLE)

    def track(self, session: int) -> fx.TrackView | None:
        self.tracked.lines = self.account.word
        return self.tracked.view() if session == self.info.session and not self.reset else None

    def adjusted(self, session: int) -> fx.AdjustRecord | None:
        """Set the record, through its packed form."""
        if self.adjust is None or session != self.info.session:
            return None
        record = records.unpack_adjust(records.pack_adjust(self.adjust))
        assert record == self.adjust
        return record

    def segment(
        self, direction: int, packet: Packet, *, unfinished: bool = False, dont_fragment: bool = True
    ) -> None:  # fmt: skip
        """A segment from one of the ends."""
        if packet.payload and size_of(packet) > self.mtu[direction]:
            self._too_big(direction, packet, unfinished, dont_fragment)
            return
        self._follow(direction, packet)
        self._gate(direction, packet, frame_of(packet), injected=False, unfinished=unfinished)

    def _too_big(self, direction: int, packet: Packet, unfinished: bool, dont_fragment: bool) -> None:
        if direction == fx.OUT and dont_fragment:  # the host's stack
            self.told(direction, self.mtu[direction])
            return
        self._follow(direction, packet)
        self._hold(direction, packet, frame_of(packet), unfinished, dont_fragment)

    def _follow(self, direction: int, packet: Packet) -> None:
        track, back = self.tracked, 1 - direction
        if packet.flags & SYN:
            track.isn[direction] = track.acked[direction] = track.ack_sent[direction] = packet.seq
            track.next[direction] = (packet.seq + 1) & MASK
            track.flags |= fx.TRACK_SYN_IN if direction else fx.TRACK_SYN_OUT
            track.flags &= ~(fx.TRACK_FIN_OUT << direction)
            if packet.stamps:
                track.flags |= fx.TRACK_TIMESTAMPS
            self.account.start[direction] = track.next[direction]
            self.account.syns = track.flags & SYNS
        end = packet.seq + len(packet.payload) + bool(packet.flags & FIN)
        track.next[direction] = _latest(track.next[direction], end & MASK)
        track.window[direction] = packet.window
        if packet.flags & ACK:
            track.acked[back] = _latest(track.acked[back], self._unshift(back, packet.ack))
            track.ack_sent[back] = _latest(track.ack_sent[back], packet.ack)
        if packet.stamps and not packet.flags & SYN:
            value, known = packet.stamps[0], track.ts_value[direction]
            track.ts_value[direction] = _latest(known, value) if known else value

    def _shift(self, direction: int, seq: int) -> int:
        if self.adjust is None:
            return seq
        return shift_seq(self.adjust.base[direction], self.adjust.corrections[direction], seq)

    def _unshift(self, direction: int, ack: int) -> int:
        if self.adjust is None:
            return ack
        return unshift_ack(self.adjust.base[direction], self.adjust.corrections[direction], ack)

    def _gate(self, direction: int, packet: Packet, frame: bytes, *, injected: bool, unfinished: bool = False) -> None:
        payload = packet.payload
        bypass = self.untouchable or (self.adjust is not None and bool(self.adjust.flags & fx.ADJUST_BYPASS))
        if bypass and self.adjust is not None and distance(self._decided_end(direction), packet.seq) > 0:
            bypass = False  # repeats what was rewritten earlier
        undecided = False
        if payload:
            found = self.decisions.get((direction, packet.seq, len(payload)))
            if found is None or found.digest != digest(SECRET, payload):
                undecided = not bypass and (injected or not self.alive or not self._passes(direction, packet))
                payload = payload if undecided or bypass else self.account.retold or payload
            elif found.verdict == fx.VERDICT_REPLACE:
                assert found.new
                assert (int.from_bytes(found.new, "little") - int.from_bytes(payload, "little")) % 0xFFFF == (
                    found.sum_change
                )
                payload = found.new
        elif not bypass and not injected:
            undecided = self._end_must_wait(direction, packet)
        if undecided and injected:
            self.undecided_drops += 1
        elif undecided and not self.alive:
            self._without_helper(direction, packet)
        elif undecided and self._is_on_its_way(direction, packet):
            self.punted_again += 1
        elif undecided:
            self._hold(direction, packet, frame, unfinished)
        else:
            if packet.flags & FIN and (packet.seq + len(packet.payload) - self._decided_end(direction)) & MASK == 0:
                self.tracked.flags |= fx.TRACK_FIN_OUT << direction
            self._leave(direction, packet._replace(payload=payload))

    def _without_helper(self, direction: int, packet: Packet) -> None:
        """As without_helper(): held, or with fail = "open" passed, and from then on left alone."""
        adjust = self.adjust
        owed = adjust is not None and adjust.flags & fx.ADJUST_OWED
        again = adjust is not None and distance(self._decided_end(direction), packet.seq) > 0
        if self.fail_open and not owed and not again:
            self.tracked.flags |= fx.TRACK_UNTOUCHABLE
            self._leave(direction, packet)

    def _passes(self, direction: int, packet: Packet) -> bool:
        acked = self.tracked.acked[direction]
        parts = (
            direction,
            packet.seq,
            packet.flags,
            packet.payload,
            acked,
            self.decisions,
            self._expect,
            self.expectations.pop,
        )
        kind = self.account.passes(self.adjust, *parts) if self._is_sound(direction, packet) else HELD
        if kind == HELD:
            return False
        if distance(packet.seq, acked) <= 0:
            self.tracked.ts_recent[direction] = self.tracked.ts_value[direction]
        if kind == COPIED:
            self._copy(direction, packet)
        pending = self.expectations.get(self.account.agreed)
        if pending is not None and pending.state == fx.EXPECT_PENDING:
            self._open(pending._replace(state=fx.EXPECT_OPEN))
        return True

    def _open(self, made: fx.Expectation) -> None:
        self.expectations[made.id] = made
        self.opened.append(made)

    def _copy(self, direction: int, packet: Packet) -> None:
        frame = frame_of(packet)
        where = (packet.seq, frame, ETHERNET, len(frame) - len(packet.payload), len(packet.payload), packet.flags)
        acked, recent = self.tracked.acked, self.tracked.ts_recent
        told = fx.Segment(self.info, direction, *where, (acked[0], acked[1]), self.account.word)
        self.punt(told._replace(ts_recent=(recent[0], recent[1]), copied=True, expectation=self.account.expected)
                  ._replace(retold=self.account.retold is not None))  # fmt: skip

    def _expect(self, line: bytes) -> int:
        """As expect_named() of named.h."""
        found, info = _NAMES.search(line), self.info
        if not self.lasts or found is None or self.account.client != fx.OUT:
            return 0
        numbers = [*map(int, found[1].split(b",")), int(found[2]), int(found[3])] if found[1] else []
        port = numbers[4] << 8 | numbers[5] if numbers else int(found[4])
        ip = found[1].replace(b",", b".").decode() if found[1] else ""
        if numbers and max(numbers) > 255:
            return 0
        if not 1024 <= port <= 65535 or ip not in ("", "0.0.0.0", ".".join(map(str, info.key.remote_ip))):
            return 0
        self.named += 1
        made = named_by(1 << NAMED | port << NAMED_PORT | self.named, info)._replace(expires=self.now + self.lasts)
        where = made.proto, made.from_ip, made.to
        if any((one.proto, one.from_ip, one.to) == where for one in self.expectations.values()):
            return 0
        self.expectations[made.id] = made
        return made.id

    def _is_sound(self, direction: int, packet: Packet) -> bool:
        stamped = bool(self.tracked.flags & fx.TRACK_TIMESTAMPS)
        if len(packet.payload) > LINE_MAX:
            return False
        return not stamped or bool(packet.stamps and packet.stamps[0] == self.tracked.ts_value[direction])

    def _is_on_its_way(self, direction: int, packet: Packet) -> bool:
        latest = self.tracked.punted[direction]
        if latest is None or not self._is_sound(direction, packet) or latest[0] != _said(packet):
            return False
        taken = self.adjust is not None and (latest[2] - self.adjust.lines) & 0xFFFF in (0, *range(0x8000, 0x10000))
        return self.now - latest[1] < AGAIN_AFTER and not taken

    def decided(self, session: int, direction: int, seq: int, size: int) -> tuple[int, bytes | None] | None:
        """The digest of a decision, and what goes on instead."""
        found = self.decisions.get((direction, seq, size))
        return None if found is None or session != self.info.session else (found.digest, found.new)

    def _end_must_wait(self, direction: int, packet: Packet) -> bool:
        if not packet.flags & (FIN | RST):
            return False
        end = self._decided_end(direction)
        if distance(packet.seq, end) <= 0:
            return False
        end += bool(self.tracked.flags & (fx.TRACK_FIN_OUT << direction))
        return bool(packet.flags & FIN) or distance(self.tracked.next[direction], end & MASK) > 0

    def _decided_end(self, direction: int) -> int:
        if self.adjust:
            return self.account.front(self.adjust, direction)
        return (self.tracked.isn[direction] + 1) & MASK

    def _hold(
        self, direction: int, packet: Packet, frame: bytes, unfinished: bool, too_big: bool = False
    ) -> None:  # fmt: skip
        start = len(frame) - len(packet.payload)
        if unfinished:
            tcp = tcp_offset(frame, ETHERNET)
            pseudo = (int.from_bytes(packet.src + packet.dst, "big") + 6 + len(frame) - tcp) % 0xFFFF
            frame = frame[: tcp + 16] + pseudo.to_bytes(2, "big") + frame[tcp + 18 :]
        acked = (self.tracked.acked[0], self.tracked.acked[1])
        size = len(packet.payload)
        lines, recent = self.account.punted(self.adjust), self.tracked.ts_recent
        if not self.reads:
            return
        said = _said(packet) if not too_big and self._is_sound(direction, packet) else None
        self.tracked.punted[direction] = None if said is None else (said, self.now, lines & 0xFFFF)
        where = (packet.seq, frame, ETHERNET, start, size)
        way = (self.mtu[direction], too_big)
        self.punt(fx.Segment(self.info, direction, *where, packet.flags, acked, lines, *way, (recent[0], recent[1])))

    def _leave(self, direction: int, packet: Packet) -> None:
        """Shift and translate."""
        packet = packet._replace(
            seq=self._shift(direction, packet.seq),
            ack=self._unshift(1 - direction, packet.ack) if packet.flags & ACK else packet.ack,
        )
        info = self.info
        if direction == fx.OUT and info.public_ip:
            packet = packet._replace(src=info.public_ip, sport=info.public_port, dst=info.remote_ip)
        elif direction == fx.IN:
            packet = packet._replace(dst=info.inner_ip, dport=info.key.inside_port, src=info.remote_ip)
        self._onto(direction, packet)

    def _onto(self, direction: int, packet: Packet) -> None:
        if size_of(packet) > self.mtu[direction]:
            self.unsent(direction, self.mtu[direction])
        else:
            self.wire(direction, packet)

    def carry_out(self, effects: Iterable[fx.Effect]) -> None:
        """What the service does with a list of effects. With `stop_after` it dies in the middle."""
        for effect in effects:
            if self.stop_after is not None:
                if not self.stop_after:
                    return
                self.stop_after -= 1
            self._carry_out(effect)

    def _carry_out(self, effect: fx.Effect) -> None:
        match effect:
            case fx.PutAdjust(record):
                assert len(record.corrections[0]) <= 8 and len(record.corrections[1]) <= 8
                self.adjust = record
            case fx.PutLines(number, lines):
                self.account.known[number] = lines
            case fx.PutDecision() if self.refuse_decisions:
                self.refuse_decisions -= 1
            case fx.PutDecision():
                assert 0 < effect.size <= fx.DIGEST_MAX
                assert effect.new is None or 0 < len(effect.new) <= fx.REPLACEMENT_MAX
                self.decisions[effect.direction, effect.seq, effect.size] = effect
            case fx.DropDecisions(_, ranges):
                for direction, seq, size, _ in ranges:
                    self.decisions.pop((direction, seq, size), None)
            case fx.Inject(kind, frame):
                self._inject(kind, frame)
            case fx.KeepHeld():
                assert 0 < len(effect.data) <= fx.HELD_MAX
                self.held[effect.direction] = effect.data
            case fx.DropHeld():
                del self.held[effect.direction]
            case fx.PutExpectation(made):
                assert made.id not in self.expectations
                self.expectations[made.id] = made
                self.ever_expected += 1
                if made.state == fx.EXPECT_OPEN:
                    self.opened.append(made)
            case fx.KnownExpectation(made):
                assert self.expectations[made.id]._replace(expires=0.0) == made._replace(expires=0.0)
                self.ever_expected += 1
                self.opened.append(made)
            case fx.OpenExpectation(made):
                assert made.id in self.expectations and made.state == fx.EXPECT_OPEN
                if self.expectations[made.id].state == fx.EXPECT_PENDING:
                    self._open(made)
            case fx.DeleteExpectation(made, outcome, _, _):
                del self.expectations[made.id]
                self.deleted.append((made.id, outcome))
            case fx.ReleasePort():
                self.released.append(effect)
            case fx.Announce():
                self.announced.append(effect)
            case fx.BypassSession():
                assert self.adjust is not None and self.adjust.flags & fx.ADJUST_BYPASS
                self.bypassed = True
            case fx.ResetSession():
                self.reset = effect.reason

    def _inject(self, kind: int, frame: bytes) -> None:
        assert frame[0] == kind
        way = fx.IN if kind == fx.INJECT_RAW_OUT else fx.OUT
        if frame[ETHERNET] >> 4 == 6 and frame[ETHERNET + 6] == 58:
            meant, word = icmp6(frame)
            (self.hurried if meant == 1 else self.told)(way, word)
            return
        four = frame[ETHERNET] >> 4 == 4
        if four and frame[ETHERNET + 9] == 1 and frame[ETHERNET + 21] == 1:
            self.hurried(way, unreachable_at(frame))
            return
        if four and frame[ETHERNET + 9] == 1:
            self.told(way, frag_needed(frame))
            return
        packet = parse(frame)
        if kind in (fx.INJECT_RAW_OUT, fx.INJECT_RAW_IN):
            self._onto(fx.OUT if kind == fx.INJECT_RAW_OUT else fx.IN, packet)
        else:
            direction = fx.OUT if kind == fx.INJECT_OUT else fx.IN
            self._gate(direction, packet, frame, injected=True)


def size_of(packet: Packet) -> int:
    """Bytes of the IP packet."""
    return (40 if len(packet.src) == 4 else 60) + (12 if packet.stamps else 0) + len(packet.payload)


def unreachable_at(frame: bytes) -> int:
    """The sequence number that a "host unreachable" quotes; asserts as below."""
    ip = frame[ETHERNET:]
    assert ip[0] == 0x45 and int.from_bytes(ip[2:4], "big") == len(ip)
    for part in (ip[:20], ip[20:]):
        assert int.from_bytes(part, "big") % 0xFFFF == 0
    return int.from_bytes(ip[52:56], "big")


def frag_needed(frame: bytes) -> int:
    """The MTU that an ICMP error tells; asserts that its lengths and checksums are right."""
    ip = frame[ETHERNET:]
    assert ip[0] == 0x45 and int.from_bytes(ip[2:4], "big") == len(ip) <= 576
    for part in (ip[:20], ip[20:] + b"\0" * (len(ip) & 1)):
        assert int.from_bytes(part, "big") % 0xFFFF == 0
    assert ip[20:22] == b"\3\4" and len(ip) >= 20 + 8 + 28
    return int.from_bytes(ip[26:28], "big")


def icmp6(frame: bytes) -> tuple[int, int]:
    """The type of an ICMPv6 error, and the MTU that it tells or the sequence number that it quotes; asserts as above.
    It goes to who sent what it quotes."""
    ip = frame[ETHERNET:]
    size = int.from_bytes(ip[4:6], "big")
    assert ip[0] >> 4 == 6 and size + 40 == len(ip) <= 1280
    total = int.from_bytes(ip[8:40], "big") + size + 58 + int.from_bytes(ip[40:] + b"\0" * (len(ip) & 1), "big")
    assert total % 0xFFFF == 0 and ip[24:40] == ip[56:72] and ip[41] == 0
    word = ip[44:48] if ip[40] == 2 else ip[92:96]
    return ip[40], int.from_bytes(word, "big")


def _said(packet: Packet) -> Said:
    return packet.seq, packet.ack, packet.flags & ~PSH, packet.window, packet.payload


def _latest(a: int, b: int) -> int:
    return b if distance(b, a) > 0 else a
