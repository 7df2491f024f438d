"""Control sessions of datagrams: each is judged by itself, and leaves as its verdicts make it or not at all.

The law of this file: what flow, delivery and repetition are for streams, without positions: nothing is kept from one
datagram to the next, and the kernel lets none pass by a decision. A repetition is news like any other datagram.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from algate.alg.plugin.model import Event

from .effects import Announce, BypassSession, Inject, ResetSession, Segment
from .ending import Ending
from .flow import Flow
from .frames import (
    BAD,
    GOOD,
    Header,
    build_datagram,
    checksum_state,
    finish_checksum,
    fragments,
    packet_end,
    readdress,
    tcp_offset,
    udp_end,
    with_payload,
)
from .judgement import Judgement
from .session import KIND, RAW_KIND, Session
from .sink import Sink
from .voice import Voice, final_ends

DATAGRAM_MAX: Final = 65507  # bytes of payload, RFC 768 and RFC 791


class Datagrams:
    """Writes the effects for sessions of datagrams. Keeps nothing but counts."""

    def __init__(self, judgement: Judgement, ending: Ending, voice: Voice, counts: Counter[str]) -> None:
        self._judgement = judgement
        self._ending = ending
        self._voice = voice
        self._counts = counts

    def take(self, session: Session, segment: Segment, out: Sink) -> None:
        """Have a held datagram judged and send what becomes of it, if its sender lets others cut what is too big."""
        session.paths[segment.direction].learn(segment.mtu, out.now)
        if segment.too_big:
            self._voice.too_big(session, segment, out)
            return
        frame = self._checked(segment)
        if frame is None:
            return
        end = udp_end(frame, segment.ip_offset, packet_end(frame, segment.ip_offset))
        if end is None or end == segment.payload_offset:
            self._counts["malformed"] += 1
            return
        payload = frame[segment.payload_offset : end]
        flow = self._judged(session, segment.direction, payload, out)
        if session.reset:
            return
        new, answers = _outcome(flow, payload)
        if len(flow.stream.pending) > flow.judged:
            if session.passing:
                new += payload[flow.judged :]
            else:
                self._counts["datagram-undecided"] += 1
                new = b""
        self._send(session, segment, frame, payload, new, out)
        for answer in answers:
            self._answer(session, segment.direction, answer, out)

    def _judged(self, session: Session, direction: int, payload: bytes, out: Sink) -> Flow:
        """A stream of this one datagram, with the verdicts on it."""
        flow = Flow(direction)
        flow.start(0)
        flow.stream.accept(0, payload)
        if session.conversation is not None and not session.passing:
            actions = self._judgement.ask(session, flow, payload, False, out)
            self._judgement.perform(session, flow, actions, out)
        return flow

    def _checked(self, segment: Segment) -> bytes | None:
        """The frame up to its packet's end, with a checksum that a sender left to hardware finished."""
        ip = segment.ip_offset
        end = packet_end(segment.frame, ip)
        if len(segment.frame) < end or segment.payload_offset > end:
            self._counts["malformed"] += 1
            return None
        state = checksum_state(segment.frame, ip, tcp_offset(segment.frame, ip), end)
        if state == BAD:
            self._counts["bad-checksum"] += 1
            return None
        return segment.frame[:end] if state == GOOD else finish_checksum(segment.frame, ip, end)

    def _send(self, session: Session, segment: Segment, frame: bytes, payload: bytes, new: bytes, out: Sink) -> None:
        if not new:
            return
        if len(new) > DATAGRAM_MAX:
            self._counts["datagram-too-large"] += 1
            return
        if new != payload:
            frame = with_payload(frame, segment.ip_offset, new)
        direction, ip = segment.direction, segment.ip_offset
        if len(frame) - ip > session.paths[direction].mtu and frame[ip] >> 4 == 4:
            self._counts["datagram-fragmented"] += 1
            self._finished(session, direction, new, out, frame[ip : ip + 20])
            return
        kind = KIND[direction]
        out.append(Inject(kind, readdress(kind, frame, ip, len(frame))))

    def _answer(self, session: Session, direction: int, answer: bytes, out: Sink) -> None:
        """To who spoke, in the other end's name."""
        self._finished(session, 1 - direction, answer, out)

    @staticmethod
    def _finished(session: Session, direction: int, data: bytes, out: Sink, model: bytes = b"") -> None:
        """A datagram without need of translation, in fragments if its way takes no more. `model`: an IPv4 header."""
        kind, ends = RAW_KIND[direction], final_ends(session, direction)
        header = Header(*ends, 0, 0, dont_fragment=False)
        if model:
            header = header._replace(tos=model[1], ttl=max(1, model[8] - 1), ident=model[4] << 8 | model[5])
        for frame in fragments(build_datagram(kind, header, data), session.paths[direction].mtu):
            out.append(Inject(kind, frame))

    def conclude(self, session: Session, out: Sink) -> bool:
        """Leave a passing session to the kernel, or take a reset one back. True: it is gone."""
        number, key = session.info.session, session.info.key
        if session.reset:
            out.append(Announce(number, session.control, Event("control-reset", reason=session.reset)))
            self._ending.clear(session, session.reset, out)
            out.append(ResetSession(number, key, session.reset))
            return True
        if session.passing and not session.bypassed:
            session.bypassed = True
            out.append(BypassSession(number, key, shifted=False))
        return False


def _outcome(flow: Flow, payload: bytes) -> tuple[bytes, list[bytes]]:
    """What leaves of the bytes with a verdict, and the answers to what was refused."""
    pieces: list[bytes] = []
    answers: list[bytes] = []
    at = 0
    for span in flow.spans:
        pieces.append(payload[at : at + span.size] if span.new is None else span.new)
        if span.answer:
            answers.append(span.answer)
        at += span.size
    return b"".join(pieces), answers
