"""Segments in the name of either end: to a receiver as its peer would write them, to a sender as if it had arrived.

The law of this file: frames out of what the kernel tracked and of what is decided. It says what it is told to say; it
decides, stores and remembers nothing.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from .corrections import MASK, distance
from .effects import INJECT_RAW_OUT, OUT, Inject, Segment, TrackView
from .flow import Flow
from .frames import ACK, FIN, PSH, RST, Header, build, payload_limit, read_header
from .icmp import FRAG_NEEDED, HOST_UNREACHABLE, unreachable
from .ledger import Answer, Chunk
from .session import KIND, RAW_KIND, Session, Track
from .sink import Sink

ETHERNET: Final = 14  # bytes before the IP header of a frame made here
BACKED_OFF: Final = 10  # times that TCP doubles its timer, from 0.2 to 120 s (RFC 6298 section 5.5)


class Voice:
    """Speaks for sessions."""

    def __init__(self, track: Track, counts: Counter[str]) -> None:
        self._track = track
        self._counts = counts

    def header(self, session: Session, direction: int, cause: Segment | None = None) -> Header | None:
        """A header for segments of a direction: of the segment that came, else from what the kernel tracked."""
        if cause is not None and cause.direction == direction:
            return read_header(cause.frame, cause.ip_offset)
        track = self._tracked(session)
        return None if track is None else _sent_header(session, direction, track)

    def chunk(
        self, session: Session, flow: Flow, chunk: Chunk, header: Header, out: Sink, push: bool = True
    ) -> None:  # fmt: skip
        """A decided chunk, with the FIN if that follows it. In pieces, if its way has become too small for it."""
        flags = ACK | PSH if push else ACK
        if flow.fin_released and chunk.end == flow.stream.fin:
            flags |= FIN
        if not fits(session, flow.direction, chunk, header.options_size):
            self._pieces(session, flow, chunk, out)
            if flags & FIN:
                self.empty(flow.direction, header, chunk.end & MASK, ACK | FIN, out)
            return
        urgent = flow.urgent - chunk.start if flow.urgent > chunk.start else 0
        kind = KIND[flow.direction]
        out.append(Inject(kind, build(kind, header, chunk.start & MASK, flags, chunk.old, urgent)))

    def _pieces(self, session: Session, flow: Flow, chunk: Chunk, out: Sink) -> None:
        """A decided chunk as finished segments: its one decision is for all of it, so no part of it would pass."""
        track = self._tracked(session)
        if track is None:
            return
        direction, data = flow.direction, chunk.old if chunk.new is None else chunk.new
        header, kind = _final_header(session, direction, track), RAW_KIND[direction]
        size = payload_limit(session.mss, header.options_size, session.paths[direction].room)
        shift = flow.ledger.corrections.shift
        wire = shift(chunk.start & MASK)
        urgent = distance(shift(flow.urgent & MASK), wire) if flow.urgent > chunk.start else 0
        for at in range(0, len(data), size):
            piece = data[at : at + size]
            out.append(Inject(kind, build(kind, header, wire + at, ACK | PSH, piece, urgent - at)))
        self._counts["cut-smaller"] += 1

    def empty(self, direction: int, header: Header, seq: int, flags: int, out: Sink) -> None:
        """A segment without payload, in its sender's numbers."""
        kind = KIND[direction]
        out.append(Inject(kind, build(kind, header, seq, flags)))

    def answer(self, session: Session, direction: int, answer: Answer, out: Sink) -> None:
        """Inserted bytes, finished, acknowledging what the speaker said."""
        track = self._tracked(session)
        if track is None:
            return
        header = _final_header(session, direction, track)
        size = payload_limit(session.mss, header.options_size, session.paths[direction].room)
        kind = RAW_KIND[direction]
        for at in range(0, len(answer.data), size):
            frame = build(kind, header, answer.wire + at, ACK | PSH, answer.data[at : at + size])
            out.append(Inject(kind, frame))

    def acknowledge(self, session: Session, direction: int, out: Sink) -> None:
        """Tell the sender of a direction, in its receiver's name, how far its bytes arrived, if the receiver could."""
        track = self._track(session.info.session)
        if track is not None and track.window[1 - direction]:
            out.append(self.acknowledgement(session, direction, track))

    @staticmethod
    def acknowledgement(session: Session, direction: int, track: TrackView) -> Inject:
        """The same, for later."""
        back = 1 - direction
        kind = RAW_KIND[back]
        header = _final_header(session, back, track)
        return Inject(kind, build(kind, header, _final_seq(session, back, track), ACK))

    def resets(self, session: Session, out: Sink) -> None:
        """RST to both ends, at the number each expects next (RFC 5961 section 3) and at what was sent to it last."""
        track = self._track(session.info.session)
        if track is None:
            return
        for flow in session.flows:
            direction, ledger = flow.direction, flow.ledger
            header = _final_header(session, direction, track)
            kind = RAW_KIND[direction]
            acked = ledger.acked & MASK if flow.started else track.acked[direction]
            for seq in {ledger.corrections.shift(acked), _final_seq(session, direction, track)}:
                out.append(Inject(kind, build(kind, header, seq, RST | ACK)))

    def too_big(self, session: Session, segment: Segment, out: Sink) -> None:
        """Tell the outside sender of a packet what its way takes (RFC 1191); an inside one the host's stack tells."""
        if not session.paths[segment.direction].speak(out.now):
            self._counts["frag-needed-spared"] += 1
            return
        sender = final_ends(session, OUT)[0]
        frame = unreachable(INJECT_RAW_OUT, segment.frame, segment.ip_offset, sender, FRAG_NEEDED, segment.mtu)
        if frame is not None:
            self._counts["frag-needed"] += 1
            out.append(Inject(INJECT_RAW_OUT, frame))

    def hurry(self, session: Session, flow: Flow, track: TrackView, out: Sink) -> None:
        """Have a sender repeat at once what nobody took while no helper lived.

        Its timer has backed off: after an outage of 40 s it would wait for 50 more. RFC 6069 has a sender halve that
        for each "host unreachable" about its oldest unacknowledged byte, since that tells of a broken way and not of a
        crowded one. An established connection survives those (RFC 1122 section 4.2.3.9); who ignores them waits.
        """
        direction = flow.direction
        acked = track.acked[direction]  # not the ledger's, which may be older: lines passed without the helper
        if distance(flow.ledger.promised & MASK, acked) > 0:
            acked = flow.ledger.promised & MASK
        if distance(track.next[direction], acked) <= 0:
            return
        header = _sent_header(session, direction, track)
        lost = build(KIND[direction], header, acked, ACK | PSH)
        kind = RAW_KIND[1 - direction]
        told = unreachable(kind, lost, ETHERNET, header.dst, HOST_UNREACHABLE)
        if told is not None:
            self._counts["hurried"] += 1
            out.extend([Inject(kind, told)] * BACKED_OFF)

    def _tracked(self, session: Session) -> TrackView | None:
        track = self._track(session.info.session)
        if track is None:
            self._counts["no-track"] += 1
        return track


def fits(session: Session, direction: int, chunk: Chunk, options: int) -> bool:
    """Whether a chunk can travel as one segment with so many bytes of TCP options."""
    return len(chunk.old if chunk.new is None else chunk.new) + options <= session.paths[direction].room


def final_ends(session: Session, direction: int) -> tuple[bytes, bytes, int, int]:
    """Source and destination, addresses before ports, as the receiver of a direction sees them."""
    key, info = session.info.key, session.info
    if direction != OUT:
        return info.remote_ip, info.inner_ip, key.remote_port, key.inside_port
    if info.translated:
        return info.public_ip, info.remote_ip, info.public_port, key.remote_port
    return info.inside_ip, info.remote_ip, key.inside_port, key.remote_port


def _sent_header(session: Session, direction: int, track: TrackView) -> Header:
    """Of a segment as its sender would send it now, untranslated and unshifted."""
    key, info = session.info.key, session.info
    back = 1 - direction
    ack = session.flows[back].ledger.corrections.shift(track.acked[back])
    if direction == OUT:
        ends = (info.inner_ip, info.remote_ip, key.inside_port, key.remote_port)
    elif info.translated:
        ends = (info.remote_ip, info.public_ip, key.remote_port, info.public_port)
    else:
        ends = (info.remote_ip, info.inside_ip, key.remote_port, key.inside_port)
    return Header(*ends, ack, track.window[direction], _stamps(direction, track))


def _final_header(session: Session, direction: int, track: TrackView) -> Header:
    """Of a finished segment towards the receiver of a direction, in that direction's sender's name."""
    back = session.flows[1 - direction]
    ack = back.ledger.acknowledged & MASK if back.started else track.acked[1 - direction]
    return Header(*final_ends(session, direction), ack, track.window[direction], _stamps(direction, track))


def _final_seq(session: Session, direction: int, track: TrackView) -> int:
    """The next sequence number of a direction as its receiver sees it."""
    flow = session.flows[direction]
    if not flow.started:
        return track.next[direction]
    return flow.ledger.corrections.shift((flow.ledger.decided + flow.fin_released) & MASK)


def _stamps(direction: int, track: TrackView) -> tuple[int, int] | None:
    return (track.ts_value[direction], track.ts_value[1 - direction]) if track.ts_value[direction] else None
