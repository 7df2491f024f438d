"""From a perf-ring sample to what the engine is told.

The law of this file: struct punt of abi.h in, NamedTuples of effects.py out. Nothing is judged.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from algate.alg.engine.effects import Segment, SessionInfo, SessionKey
from algate.bpf import abi

# The fields of struct punt; addresses and ports are taken as bytes, since they are in network order.
_PUNT = struct.Struct("=QQQ4s4s2s2sB3xIIIIHHIBBBBB3x4s2s2xQ")
_KEY = struct.Struct("=4s4s2s2sB3x")
SIZE = _PUNT.size
KINDS = {int(kind): kind for kind in abi.PuntKind}


class Punt(NamedTuple):
    """One sample. `segment` only for PUNT_SEGMENT; `frame` empty where the kernel sends none."""

    kind: int
    time: int
    info: SessionInfo
    expectation: int
    direction: int
    ip_offset: int
    frame: bytes
    segment: Segment | None
    reason: int = 0  # PUNT_REFUSED: the drop reason


def pack_key(key: SessionKey) -> bytes:
    """struct session_key."""
    ports = key.inside_port.to_bytes(2, "big"), key.remote_port.to_bytes(2, "big")
    return _KEY.pack(key.inside_ip, key.remote_ip, *ports, key.proto)


def unpack_key(raw: bytes) -> SessionKey:
    """The inverse of pack_key."""
    inside, remote, inside_port, remote_port, proto = _KEY.unpack(raw)
    return SessionKey(inside, int.from_bytes(inside_port, "big"), remote, int.from_bytes(remote_port, "big"), proto)


def parse(sample: bytes) -> Punt | None:
    """None if the sample is too short for what it says it holds (perf pads samples, never cuts them)."""
    if len(sample) < SIZE:
        return None
    (
        time, session, expectation, inside_ip, remote_ip, inside_port, remote_port, proto, acked_out, acked_in,
        frame_size, seq, payload_offset, ip_offset, payload_size, kind, direction, alg, tcp_flags, session_flags,
        public_ip, public_port, lines,
    ) = _PUNT.unpack_from(sample)  # fmt: skip
    if len(sample) < SIZE + frame_size:
        return None
    key = SessionKey(
        inside_ip, int.from_bytes(inside_port, "big"), remote_ip, int.from_bytes(remote_port, "big"), proto
    )
    info = SessionInfo(session, key, public_ip, int.from_bytes(public_port, "big"), session_flags, alg)
    frame = sample[SIZE : SIZE + frame_size]
    segment = None
    if kind == abi.PuntKind.SEGMENT:
        segment = Segment(
            info,
            direction,
            seq,
            frame,
            ip_offset,
            payload_offset,
            payload_size,
            tcp_flags,
            (acked_out, acked_in),
            lines,
        )
    return Punt(kind, time, info, expectation, direction, ip_offset, frame, segment, seq)
