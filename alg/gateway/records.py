"""Every struct of abi.h that alg/ packs or unpacks: raw bytes of a map or of the ring, and the values they stand for.

The law of this file: only this one knows how a value is laid out in a struct; it reads no map and judges nothing. It is
on this floor because the gateway and the helper both read tables, and its values are the engine's. No layout is typed a
second time: `packing` takes it from abi.h, and refuses a struct whose fields aren't those named here. Addresses are
packed bytes in network order, ports and all other numbers ints in host order.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Collection, Iterator, Mapping
from ipaddress import ip_address
from itertools import compress
from typing import Final, NamedTuple, final

from algate.alg.engine import effects as fx
from algate.alg.engine.corrections import Correction
from algate.alg.plugin.fixed import Fixed
from algate.alg.plugin.model import EndPoint, Lines
from algate.bpf import abi, ticks
from algate.bpf.packing import from_native, native, numbers, octets, packing, spot

PROTO_NAMES = {6: "tcp", 17: "udp", 1: "icmp"}
CLASS_NAMES = ("tcp", "udp", "icmp")  # by enum proto_class
# Kinds of public ports whose owner is the inside end point of all their sessions: they are counted as its host's.
OWNED = (abi.PortKind.MAPPING, abi.PortKind.HOME, abi.PortKind.RESERVED)
PIECE = abi.REPLACEMENT_MAX  # bytes of a value of `replacements` and `held`
_NO_IP = bytes(4)
_OCTETS = (1 << 56) - 1  # of session.bytes

_KEY = packing("session_key", "inside_ip remote_ip inside_port remote_port proto")
_SESSION = packing("session", "id bytes packets acked next state alg flags last_seen port_index public_ip")
_BEGINNING = packing("beginning", "seq")
_SLOT = packing("port_slot", "owner sessions away stamp last_host forward_id block")
_FRAGMENT_KEY = packing("fragment_key", "source destination ip_id proto dir")
_PUNT = packing(
    "punt",
    "time id expectation_id key acked frame_size seq payload_offset ip_offset payload_size kind dir alg tcp_flags"
    " session_flags public_ip public_port mtu lines ts_recent",
)
_TRACK = packing(
    "track",
    "id isn next acked ack_sent window ts_value mss window_scale flags opening lines line_seq line_size ts_recent"
    " punted punted_at punted_count syn agreed asked settled",
)
_ADJUST = packing("adjust", "id decided base count flags interest lines agrees agrees_key at")
_CORRECTION = packing("correction", "start end before after")
_PASSABLE = packing("passable_key", "interest reply word")
_OPENING = packing("opening", "flags interest lasts")
_DECISION_KEY = packing("decision_key", "id seq size dir")
_DECISION = packing("decision", "digest sum_change new_size verdict")
_EXPECTATION_KEY = packing("expectation_key", "from to to_port proto dir")
_EXPECTATION = packing(
    "expectation",
    "id control_id control_key state inside_ip inside_port alg flags port_index expires from_port first last",
)
_STATE_AT, _STATE_SIZE = spot("expectation", "state")[0], 8
_OUTER = packing("notice", "time related key session since kind flags")
# With the key's and the session's fields in its midst: a hundred thousand of these may come in a second.
NOTICE = struct.Struct(
    _OUTER.format.replace(f"{_KEY.size}s", _KEY.format[1:]).replace(f"{_SESSION.size}s", _SESSION.format[1:])
)
_PROTO_AT: Final = spot("session_key", "proto")[0]
_RETOLD: Final = int(abi.PuntKind.RETOLD)
_COPIES: Final = frozenset((int(abi.PuntKind.COPY), _RETOLD))
_SEGMENTS: Final = _COPIES | {int(abi.PuntKind.SEGMENT), int(abi.PuntKind.TOO_BIG)}
_TOO_BIG: Final = int(abi.PuntKind.TOO_BIG)
_CORRECTIONS_SIZE: Final = int(abi.MAX_CORRECTIONS * _CORRECTION.size)  # of one direction
PUNT_SIZE, FRAGMENT_SIZE = _PUNT.size, abi.HEADER.structs["fragment"].size
BEGINNING_SIZE, EXPECTATION_SIZE = _BEGINNING.size, _EXPECTATION.size


# -- sessions ----------------------------------------------------------------------------------------------------------


class SessionValue(NamedTuple):
    """`struct session`. `last_seen` is a tick; `public_ip` all zero: not translated. Counters as they are packed: see
    `packets` and `octets`."""

    id: int
    counted_out: int
    counted_in: int
    low_out: int
    low_in: int
    acked_out: int
    acked_in: int
    next_out: int
    next_in: int
    word: int  # the state in its low byte, enum state_bit above
    alg: int
    flags: int
    last_seen: int
    port_index: int
    public_ip: bytes

    @property
    def state(self) -> int:
        """Of enum session_state."""
        return self.word & 0xFF

    @property
    def packets(self) -> tuple[int, int]:
        """By direction."""
        return self.counted_out >> 56 << 32 | self.low_out, self.counted_in >> 56 << 32 | self.low_in

    @property
    def octets(self) -> tuple[int, int]:
        """Bytes of IP packets, by direction."""
        return self.counted_out & _OCTETS, self.counted_in & _OCTETS


def pack_key(key: fx.SessionKey) -> bytes:
    """struct session_key."""
    return _KEY.pack(
        key.inside_ip, key.remote_ip, key.inside_port.to_bytes(2, "big"), key.remote_port.to_bytes(2, "big"), key.proto
    )


def unpack_key(raw: bytes) -> fx.SessionKey:
    """The inverse of pack_key."""
    inside_port: bytes
    remote_port: bytes
    inside, remote, inside_port, remote_port, proto = _KEY.unpack(raw)
    ports = inside_port[0] << 8 | inside_port[1], remote_port[0] << 8 | remote_port[1]
    return fx.SessionKey(inside, ports[0], remote, ports[1], proto)


def proto_of(key: bytes) -> int:
    """That of a packed session key."""
    return key[_PROTO_AT]


def has_handle(key: fx.SessionKey) -> bool:
    """Whether an address of it stands for one of IPv6."""
    return not (key.inside_ip[0] and key.remote_ip[0])


def unpack_session(raw: bytes) -> SessionValue:
    """struct session."""
    return tuple.__new__(SessionValue, _SESSION.unpack(raw))


def unpack_beginning(raw: bytes) -> tuple[int, int]:
    """struct beginning: by direction, the number of the first byte of data."""
    out, back = _BEGINNING.unpack(raw)
    return out, back


def sessions(keys: bytes, values: bytes) -> Iterator[tuple[bytes, SessionValue]]:
    """Packed key and value of each session of a batch."""
    at = range(0, len(keys), _KEY.size)
    for start, value in zip(at, _SESSION.iter_unpack(values), strict=True):
        yield keys[start : start + _KEY.size], SessionValue._make(value)


def amounts(name: str, values: bytes, direction: int) -> list[int]:
    """`packets` or `bytes` of each session of a batch, in one direction."""
    words = numbers("session", "bytes", values, place=direction)
    if name == "bytes":
        return [word & _OCTETS for word in words]
    low = numbers("session", "packets", values, place=direction)
    return [word >> 56 << 32 | one for word, one in zip(words, low, strict=True)]


def session_info(key: fx.SessionKey, value: SessionValue) -> fx.SessionInfo:
    """What the engine is told about a control session found in the table."""
    port = value.port_index & 0xFFFF
    return fx.SessionInfo(value.id, key, value.public_ip, port, value.flags, value.alg)


# -- ports and devices -------------------------------------------------------------------------------------------------


class PortSlot(NamedTuple):
    """`struct port_slot` with the number of its row. `owner` is the whole word; `inside_ip`, `inside_port` and `kind`
    are parts of it. `stamp` is a tick; `block` the first port of a shared block, else 0."""

    row: int
    owner: int
    inside_ip: bytes
    inside_port: int
    kind: int
    sessions: int
    stamp: int
    block: int


def port_slots(keys: bytes, values: bytes, kinds: Collection[int]) -> Iterator[PortSlot]:
    """The rows of a batch of `ports` whose owner's kind (enum port_kind) is one of these."""
    wanted = bytes(kind in kinds for kind in range(256))
    held = octets("port_slot", "owner", values, 6).translate(wanted)
    for place in compress(range(len(held)), held) if any(held) else ():
        owner, sessions, _, stamp, _, _, block = _SLOT.unpack_from(values, place * _SLOT.size)
        row = from_native(keys[place * 4 : place * 4 + 4])
        end = owner.to_bytes(8, "little")  # abi.h lays the word out from its low byte
        yield PortSlot(row, owner, end[:4], int.from_bytes(end[4:6], "big"), end[6], sessions, stamp, block)


def pack_link(mac: bytes, bare: bool) -> bytes:
    """A device in struct config: its MAC, and whether its packets have no Ethernet header at all."""
    return mac[:6].ljust(6, b"\0") + bytes([bare, 0])


def taken_words(keys: bytes, values: bytes) -> list[int]:
    """Rows of a batch of `port_bits` in which a bit is set."""
    return list(compress(memoryview(keys).cast("I").tolist(), memoryview(values).cast("Q")))


def taken_places(values: bytes) -> list[int]:
    """Places in a batch of `port_bits` in which a bit is set."""
    words = memoryview(values).cast("Q")
    return list(compress(range(len(words)), words))


# -- fragments and punts -----------------------------------------------------------------------------------------------


def pack_fragment_key(header: bytes, direction: int) -> bytes:
    """struct fragment_key of a fragment, from its IP header."""
    return _FRAGMENT_KEY.pack(header[12:16], header[16:20], header[4:6], header[9], direction)


@final
class Punt(Fixed):
    """One sample. `segment` only for PUNT_SEGMENT and PUNT_TOO_BIG; `frame` empty where the kernel sends none.

    `reason`: of PUNT_REFUSED and PUNT_UNSENT, the drop reason; `given`: of PUNT_PATH, bytes of the packet that was too
    big."""

    __match_args__: Final = (
        "kind", "time", "info", "expectation", "direction", "ip_offset", "frame", "segment", "reason", "mtu", "given",
    )  # fmt: skip

    def __init__(
        self, kind: int, time: int, info: fx.SessionInfo, expectation: int, direction: int, ip_offset: int,
        frame: bytes, segment: fx.Segment | None, reason: int = 0, mtu: int = 0, given: int = 0,
    ) -> None:  # fmt: skip
        self.kind: Final = kind
        self.time: Final = time
        self.info: Final = info
        self.expectation: Final = expectation
        self.direction: Final = direction
        self.ip_offset: Final = ip_offset
        self.frame: Final = frame
        self.segment: Final = segment
        self.reason: Final = reason
        self.mtu: Final = mtu
        self.given: Final = given

    def of(self, info: fx.SessionInfo) -> Punt:
        """The same of what is known of its session."""
        return Punt(
            self.kind, self.time, info, self.expectation, self.direction, self.ip_offset, self.frame,
            None if self.segment is None else self.segment.of(info), self.reason, self.mtu, self.given,
        )  # fmt: skip


Known = Mapping[int, tuple[bytes, fx.SessionInfo]]
"""Session id -> its packed key, and what was made of that once."""


def unpack_punt(sample: bytes, known: Known | None = None) -> Punt | None:
    """None if the sample is too short for what it says it holds (perf pads samples, never cuts them). Of a session that
    is `known` and is as it was, the punt has that very value."""
    public_ip: bytes
    public_port: bytes
    if len(sample) < PUNT_SIZE:
        return None
    (
        time, session, expectation, packed, acked_out, acked_in, frame_size, seq, payload_offset, ip_offset,
        payload_size, kind, direction, alg, tcp_flags, session_flags, public_ip, public_port, mtu, lines, ts_out,
        ts_in,
    ) = _PUNT.unpack_from(sample)  # fmt: skip
    if len(sample) < PUNT_SIZE + frame_size:
        return None
    port = public_port[0] << 8 | public_port[1]
    entry = known.get(session) if known is not None else None
    info = entry[1] if entry is not None and entry[0] == packed else None
    if (
        info is None or info.public_port != port or info.public_ip != public_ip
        or info.session_flags != session_flags or info.alg != alg
    ):  # fmt: skip
        info = fx.SessionInfo(session, unpack_key(packed), public_ip, port, session_flags, alg)
    frame = sample[PUNT_SIZE : PUNT_SIZE + frame_size]
    segment = None
    if kind in _SEGMENTS:
        copied = kind in _COPIES
        segment = fx.Segment(
            info, direction, seq, frame, ip_offset, payload_offset, payload_size, tcp_flags, (acked_out, acked_in),
            lines, mtu, kind == _TOO_BIG, (ts_out, ts_in), copied, expectation if copied else 0, kind == _RETOLD,
        )  # fmt: skip
    return Punt(kind, time, info, expectation, direction, ip_offset, frame, segment, seq, mtu, payload_size)


# -- a control session's streams ---------------------------------------------------------------------------------------


def pack_decision_key(session: int, seq: int, size: int, direction: int) -> bytes:
    """struct decision_key."""
    return _DECISION_KEY.pack(session, seq, size, direction)


def unpack_decision_key(raw: bytes) -> tuple[int, int, int, int]:
    """The inverse of pack_decision_key."""
    session, seq, size, direction = _DECISION_KEY.unpack(raw)
    return session, seq, size, direction


def pack_decision(digest: int, sum_change: int, new_size: int, verdict: int) -> bytes:
    """struct decision."""
    return _DECISION.pack(digest, sum_change & 0xFFFFFFFF, new_size, verdict)


def unpack_decision(raw: bytes) -> tuple[int, int]:
    """The digest in a struct decision, and how many bytes of the replacement count, 0: it passes."""
    digest, _, size, verdict = _DECISION.unpack(raw)
    return int(digest), size if verdict == abi.Verdict.REPLACE else 0


def pack_piece(data: bytes) -> bytes:
    """struct replacement; the size in its key says how many bytes of it count."""
    return data.ljust(PIECE, b"\0")


def pack_line(lines: Lines, word: bytes) -> bytes:
    """A value of `passable`: enum line."""
    kind = abi.Line.TOLD if word in lines.told else abi.Line.COPIED if word in lines.copied else abi.Line.PASSES
    more = (abi.Line.NAMES if word in lines.names else 0) | (abi.Line.QUIET if word in lines.quiet else 0)
    more |= (abi.Line.AGREES if word in lines.agreeing else 0) | (abi.Line.RETOLD if word in lines.retold else 0)
    return native(kind | more | (abi.Line.SETTLES if word in lines.settling else 0), 4)


def pack_opening(flags: int, interest: int, lasts: float = 0.0) -> bytes:
    """struct opening; `lasts` in seconds."""
    return _OPENING.pack(flags, interest, ticks.lasting(lasts) if lasts else 0)


def pack_passable(interest: int, reply: int, word: bytes) -> bytes:
    """struct passable_key."""
    return _PASSABLE.pack(interest, reply, word)


def unpack_track(raw: bytes) -> tuple[int, fx.TrackView]:
    """The session that a struct track belongs to, and what it says."""
    (
        session, isn_out, isn_in, next_out, next_in, acked_out, acked_in, sent_out, sent_in, window_out, window_in,
        ts_out, ts_in, mss_out, mss_in, _, flags, _, lines, _, _, _, _, _, _, _, _, recent_out, recent_in, *_,
    ) = _TRACK.unpack(raw)  # fmt: skip
    return session, fx.TrackView(
        (isn_out, isn_in), (next_out, next_in), (acked_out, acked_in), (window_out, window_in), (ts_out, ts_in),
        (mss_out, mss_in), flags, (sent_out, sent_in), lines, (recent_out, recent_in),
    )  # fmt: skip


def unpack_lines(raw: bytes) -> list[bytes]:
    """From struct track: the keys of the decisions left by lines that passed without the helper."""
    found = []
    for place in range(4):
        size = numbers("track", "line_size", raw, place=place)[0]
        if size:
            seq = numbers("track", "line_seq", raw, place=place)[0]
            size &= abi.LINE_SIZE_RETOLD - 1
            found.append(pack_decision_key(numbers("track", "id", raw)[0], seq, size, place >> 1))
    return found


def pack_adjust(record: fx.AdjustRecord, agrees: bytes = b"") -> bytes:
    """struct adjust; `agrees`: the key of the expectation that it names, if it names any."""
    out, back = record.corrections[0], record.corrections[1]
    decided, base = record.decided, record.base
    return _ADJUST.pack(
        record.session, decided[0], decided[1], base[0], base[1], len(out), len(back), record.flags, record.interest,
        record.lines, record.agrees, agrees, _pack_corrections(out, back) if out or back else b"",
    )  # fmt: skip


def unpack_adjust(raw: bytes) -> fx.AdjustRecord:
    """The inverse of pack_adjust; struct.error if `raw` has another size."""
    session, out, back, base_out, base_in, n_out, n_in, flags, interest, lines, agrees, _, at = _ADJUST.unpack(raw)
    all_ = [Correction(*one) for one in _CORRECTION.iter_unpack(at)]
    pair = (tuple(all_[:n_out]), tuple(all_[abi.MAX_CORRECTIONS : abi.MAX_CORRECTIONS + n_in]))
    return fx.AdjustRecord(session, (out, back), (base_out, base_in), pair, flags, interest, lines, agrees)


def _pack_corrections(out: tuple[Correction, ...], back: tuple[Correction, ...]) -> bytes:
    packed = b""
    for one in out:
        packed += _CORRECTION.pack(one.start, one.end, one.before, one.after)
    if back:
        packed = packed.ljust(_CORRECTIONS_SIZE, b"\0")
        for one in back:
            packed += _CORRECTION.pack(one.start, one.end, one.before, one.after)
    return packed


# -- expectations ------------------------------------------------------------------------------------------------------


def expectation_key(one: fx.Expectation) -> bytes:
    """struct expectation_key."""
    port = 0 if one.ports > 0 and one.direction != fx.IN else one.to.port
    return _EXPECTATION_KEY.pack(
        one.from_ip or _NO_IP, one.to.ip.packed, port.to_bytes(2, "big"), one.proto, one.direction
    )


def pack_expectation(one: fx.Expectation, state: int, row: int) -> tuple[bytes, bytes]:
    """struct expectation_key and struct expectation; `row`: its port_index."""
    ranged, key = one.ports > 0, expectation_key(one)
    inside_ip, inside_port = (one.inside.ip.packed, one.inside.port) if one.inside else (_NO_IP, 0)
    flags = int(abi.ExpectationFlag.PERSISTENT) if one.persistent else 0
    flags |= int(abi.ExpectationFlag.EARLY) if one.early else 0
    value = _EXPECTATION.pack(
        one.id, one.session, pack_key(one.control_key), state, inside_ip, inside_port.to_bytes(2, "big"),
        one.alg, flags, row, ticks.at(one.expires), one.from_port.to_bytes(2, "big"),
        one.to.port if ranged else 0, one.to.port + one.ports - 1 if ranged else 0,
    )  # fmt: skip
    return key, value


def state(value: bytes) -> int:
    """That of a struct expectation."""
    return int.from_bytes(value[_STATE_AT : _STATE_AT + _STATE_SIZE], sys.byteorder)


def in_state(value: bytes, state: int) -> bytes:
    """A struct expectation with another state."""
    return value[:_STATE_AT] + native(state, _STATE_SIZE) + value[_STATE_AT + _STATE_SIZE :]


def unpack_expectation(key: bytes, value: bytes, now: float) -> fx.Expectation:
    """The inverse of pack_expectation, near the moment `now`; `expires` to a tick.

    A reservation's first port isn't in the kernel: `reserved` is the port itself. `state`: any of expectation_state.
    """
    from_ip, to_ip, to_port, proto, direction = _EXPECTATION_KEY.unpack(key)
    (
        number, session, control, state, inside_ip, inside_port, alg, flags, _, expires, from_port, first, last,
    ) = _EXPECTATION.unpack(value)  # fmt: skip
    to = EndPoint(ip_address(to_ip), first if last else int.from_bytes(to_port, "big"))
    inbound = direction == fx.IN
    inside = EndPoint(ip_address(inside_ip), int.from_bytes(inside_port, "big")) if inbound else None
    return fx.Expectation(
        number, session, unpack_key(control), alg, direction, proto, b"" if from_ip == _NO_IP else from_ip, to,
        inside, to if inbound else None, state, bool(flags & abi.ExpectationFlag.PERSISTENT),
        ticks.moment(expires, now), int.from_bytes(from_port, "big"), last - first + 1 if last else 0,
        bool(flags & abi.ExpectationFlag.EARLY),
    )  # fmt: skip


def ends(keys: bytes, values: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Packed key, id and the tick of its end, of each expectation of a batch."""
    size = _EXPECTATION_KEY.size
    found = numbers("expectation", "id", values), numbers("expectation", "expires", values)
    return zip([keys[at : at + size] for at in range(0, len(keys), size)], *found, strict=True)


def expectation_id(value: bytes) -> int:
    """Of a struct expectation."""
    return int(_EXPECTATION.unpack(value)[0])
