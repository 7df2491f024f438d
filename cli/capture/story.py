"""Frames and judgements of one session put together: what is said of each packet, and its payload without passwords.

The law of this file: pure; no clock, no socket, no file. Frames wait here a moment for the judgement that they bring
about, at most WAITING of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from algate.alg.audit.blanking import HALF, WRAP, Blanker, Secret
from algate.alg.engine.frames import finish_checksum
from algate.cli.capture.sockets import SeenFrame

WAITING = 4096
PATIENCE = 500_000_000  # ns that a frame waits for its judgement
REMEMBERED = 512  # judgements that may still explain a repetition
TCP = 6
SIX = 40  # bytes of an IPv6 header
FIN, SYN, RST, ACK = 1, 2, 4, 16
OUT, IN = 0, 1  # enum direction
NAMES = ("out", "in")


class Shown(NamedTuple):
    """A frame for the file."""

    interface: int
    at: int
    data: bytes
    outgoing: bool
    comments: list[str]
    size: int  # bytes on the wire


class Parsed(NamedTuple):
    """A TCP segment. `start`, `end`: where its payload is in the frame; it is all there."""

    seq: int
    flags: int
    start: int
    end: int


@dataclass
class JudgedRecord:
    """A record of the daemon's. `after`: what was decided by direction with it, `before`: what had been."""

    at: int
    before: tuple[int, int] | None
    after: tuple[int, int] | None
    decisions: list[dict[str, Any]]
    events: list[str]
    made: list[dict[str, int]]
    told: bool = False


@dataclass
class HeldFrame:
    """A frame that waits."""

    interface: int
    frame: SeenFrame
    segment: Parsed | None
    direction: int  # of the data
    comments: list[str] = field(default_factory=list)


class Story:
    """`sides`: of each interface whether it is the inside. `client`: the direction in which the client speaks.
    `begins`: where a line of the client's begins, as it numbers its bytes and as the gateway passes them on; else the
    first line that is seen is blanked."""

    def __init__(
        self, sides: tuple[bool, ...], client: int, secret: Secret, begins: Sequence[int] | None = None
    ) -> None:  # fmt: skip
        self._sides = sides
        self._client = client
        self._blankers = [Blanker(secret) for _ in sides]
        for side, blanker in zip(sides, self._blankers, strict=True) if begins else ():
            assert begins is not None
            blanker.begin(begins[0 if side == (client == OUT) else 1] - 1)
        self._waiting: deque[HeldFrame] = deque()
        self._judged: deque[JudgedRecord] = deque(maxlen=REMEMBERED)
        self._decided: tuple[int, int] | None = None
        self._payloads: deque[bytes] = deque(maxlen=REMEMBERED)  # of what left lately

    def frame(self, interface: int, frame: SeenFrame) -> None:
        """One came or went. Frames of one interface come in order."""
        inside = self._sides[interface]
        direction = OUT if inside != frame.outgoing else IN
        segment = parse(frame)
        if segment is not None and frame.outgoing and segment.end > segment.start:
            self._payloads.append(frame.data[segment.start : segment.end])
        self._waiting.append(HeldFrame(interface, frame, segment, direction))

    def record(self, told: Mapping[str, Any]) -> None:
        """The daemon told of a judgement."""
        decided = told.get("decided")
        after = (int(decided[0]), int(decided[1])) if decided else None
        self._judged.append(
            JudgedRecord(
                int(float(told["time"]) * 1e9), self._decided, after, list(told["decisions"]),
                [str(one) for one in told["events"]], list(told["made"]),
            )
        )  # fmt: skip
        self._decided = after or self._decided

    def ready(self, now: int) -> Iterator[Shown]:
        """The frames that have waited long enough by `now` (ns since the epoch), by time."""
        while self._waiting and (self._waiting[0].frame.at + PATIENCE <= now or len(self._waiting) > WAITING):
            foremost = min(self._waiting, key=lambda one: one.frame.at) if len(self._waiting) < 64 else self._waiting[0]
            self._waiting.remove(foremost)
            yield self._shown(foremost)

    def rest(self) -> list[str]:
        """What happened after the last frame."""
        return [text for one in self._judged if not one.told for text in one.events]

    def _shown(self, held: HeldFrame) -> Shown:
        frame, segment = held.frame, held.segment
        data, comments = frame.data, [*self._meanwhile(held)]
        if segment is None and is_tcp(frame):
            data = frame.data[: frame.ip + 40]  # a fragment: nobody knows in which line it is
            comments.append("its payload is left out: it is a part of a segment")
        if segment is not None:
            if frame.outgoing:
                comments += self._left(held, segment)
            elif segment.end > segment.start:
                comments += self._came(held, segment)
            data, blanked = self._blanked(held, segment)
            if blanked:
                comments.append(f"{blanked} bytes of a password are blanked by asterisks")
        return Shown(held.interface, frame.at, data, frame.outgoing, comments, len(frame.data))

    def _meanwhile(self, held: HeldFrame) -> Iterator[str]:
        """Events of judgements that no packet of the session brought about, before this one."""
        for one in self._judged:
            if not one.told and one.at <= held.frame.at and one.before == (one.after or one.before):
                one.told = True
                yield from (f"before this: {text}" for text in one.events)

    def _came(self, held: HeldFrame, segment: Parsed) -> Iterator[str]:
        """Of payload that came: what was decided on it, and what that brought about."""
        direction, size = held.direction, segment.end - segment.start
        left = frame_payload(held) in self._payloads  # a judgement also goes over lines that passed without one
        found = False
        for one in self._judged:
            ranges = [
                piece for piece in one.decisions
                if piece["direction"] == direction and overlap(segment.seq, size, piece["seq"], piece["size"])
            ]  # fmt: skip
            if not ranges and (left or not _covers(one, direction, segment.seq, size)):
                continue
            found = True
            for piece in ranges:
                yield _verdict(piece)
            if not ranges:
                yield "decision: refused, the other end never sees this"
            if not one.told:
                one.told = True
                yield from one.events
        if not found:
            yield "passed in the kernel: nothing had to be decided" if left else "held: no decision so far"

    def _left(self, held: HeldFrame, segment: Parsed) -> Iterator[str]:
        """Of what left: whether the gateway wrote it."""
        size, payload = segment.end - segment.start, frame_payload(held)
        for one in self._judged:
            for piece in one.decisions if size else ():
                if piece["new"] and piece["direction"] == held.direction and bytes.fromhex(piece["new"]) == payload:
                    yield f"rewritten: in place of {piece['size']} bytes that the sender wrote"
                    return
            for said in one.made:
                mine = said["direction"] == held.direction and said["seq"] == segment.seq and said["size"] == size
                if mine and said["flags"] & (FIN | SYN | RST) == segment.flags & (FIN | SYN | RST):
                    yield f"made by the gateway in the sender's name: {_kind(said)}"
                    return

    def _blanked(self, held: HeldFrame, segment: Parsed) -> tuple[bytes, int]:
        """The frame without passwords, its checksum right; and how many bytes were blanked."""
        frame, blanker = held.frame, self._blankers[held.interface]
        data, payload = frame.data, frame_payload(held)
        shown = payload
        if held.direction == self._client:
            if segment.flags & SYN:
                blanker.begin(segment.seq)
            shown = blanker.segment(segment.seq, payload)
        if shown != payload:
            data = data[: segment.start] + shown + data[segment.end :]
        if shown != payload or not frame.finished:
            data = finish_checksum(data, frame.ip, segment.end) + data[segment.end :]
        return data, sum(one != other for one, other in zip(shown, payload, strict=True))


def parse(frame: SeenFrame) -> Parsed | None:
    """The TCP segment of a frame; None: it isn't one, or not all of it is there."""
    data, ip = frame.data, frame.ip
    if len(data) < ip + 20 or not is_tcp(frame):
        return None
    if data[ip] >> 4 == 6:
        tcp, end = ip + SIX, ip + SIX + int.from_bytes(data[ip + 4 : ip + 6], "big")
    else:
        tcp, end = ip + (data[ip] & 15) * 4, ip + int.from_bytes(data[ip + 2 : ip + 4], "big")
        if data[ip + 6] & 0x3F or data[ip + 7]:
            return None
    if len(data) < tcp + 20 or end > len(data):
        return None
    start = tcp + (data[tcp + 12] >> 4) * 4
    if not tcp + 20 <= start <= end:
        return None
    return Parsed(int.from_bytes(data[tcp + 4 : tcp + 8], "big"), data[tcp + 13], start, end)


def is_tcp(frame: SeenFrame) -> bool:
    """Whether its IP header says so."""
    if len(frame.data) < frame.ip + 20:
        return True
    return frame.data[frame.ip + (6 if frame.data[frame.ip] >> 4 == 6 else 9)] == TCP


def frame_payload(held: HeldFrame) -> bytes:
    """Its payload."""
    return held.frame.data[held.segment.start : held.segment.end] if held.segment is not None else b""


def overlap(seq: int, size: int, other: int, other_size: int) -> bool:
    """Whether two ranges of one stream have a byte in common."""
    ahead = (other - seq + HALF) % WRAP - HALF
    return -other_size < ahead < size


def _covers(one: JudgedRecord, direction: int, seq: int, size: int) -> bool:
    """Whether a judgement went over these bytes."""
    if one.before is None or one.after is None:
        return False
    start = one.before[direction]
    news = (one.after[direction] - start + HALF) % WRAP - HALF
    return news > 0 and overlap(seq, size, start, news)


def _verdict(piece: Mapping[str, Any]) -> str:
    if piece["new"] is None:
        return f"decision: pass ({piece['size']} bytes)"
    return f"decision: replace ({piece['size']} bytes by {len(piece['new']) // 2})"


def _kind(said: Mapping[str, int]) -> str:
    if said["flags"] & RST:
        return "it ends the connection"
    return "an answer" if said["size"] else "an acknowledgement of what it keeps"
