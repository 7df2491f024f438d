"""What the engine is told and what it asks for: immutable values between the pure engine and the service.

The law of this file: plain ints, bytes and model values; no layout, no map, no behaviour. The helper turns each effect
into one system call and carries a list out in its order, since the order is the safety argument: expectation, adjust
record, decision, frame. Numbers are those of `bpf/include/abi.h` (a test compares them).

Addresses are packed (4 or 16 bytes, network order), ports, sequence numbers and sizes are ints in host order.
"""

from __future__ import annotations

from ipaddress import IPv6Network, ip_address
from typing import Final, final

from algate.alg.plugin.families import embedded
from algate.alg.plugin.fixed import Fixed
from algate.alg.plugin.model import Control, EndPoint, Event, Lines, Purpose

from .corrections import Correction

OUT: Final = 0  # enum direction
IN: Final = 1

INJECT_OUT: Final = 0x12  # enum inject_kind
INJECT_IN: Final = 0x22
INJECT_RAW_OUT: Final = 0x32
INJECT_RAW_IN: Final = 0x42
VERDICT_PASS: Final = 1  # enum verdict; DROP isn't used: what is refused stays undecided in the kernel
VERDICT_REPLACE: Final = 2
ADJUST_BYPASS: Final = 1  # enum adjust_flag
ADJUST_LINES: Final = 2
ADJUST_OWED: Final = 4
ADJUST_COPIES: Final = 8
ADJUST_BEGINS: Final = 16
ADJUST_SETTLES: Final = 32
ADJUST_UNANSWERED: Final = 8  # where these parts of the flags begin, 8 bits each
ADJUST_REMEMBERED: Final = 16
TRACK_UNTOUCHABLE: Final = 4
TRACK_TIMESTAMPS: Final = 1  # enum track_flag
TRACK_SYN_OUT: Final = 8
TRACK_SYN_IN: Final = 16
TRACK_FIN_OUT: Final = 32
TRACK_FIN_IN: Final = 64
EXPECT_PENDING: Final = 1  # enum expectation_state
EXPECT_OPEN: Final = 2
SESSION_FORWARD: Final = 1  # enum session_flag
DIGEST_MAX: Final = 1536
REPLACEMENT_MAX: Final = 1536
HELD_MAX: Final = 65536  # bytes that KeepHeld may carry


@final
class SessionKey(Fixed):
    """`struct session_key`: the 5-tuple as the inside end point sees it, an IPv6 address as the handle that the kernel
    has for it. What the address is, SessionInfo says."""

    __match_args__: Final = ("inside_ip", "inside_port", "remote_ip", "remote_port", "proto")

    def __init__(self, inside_ip: bytes, inside_port: int, remote_ip: bytes, remote_port: int, proto: int = 6) -> None:
        self.inside_ip: Final = inside_ip
        self.inside_port: Final = inside_port
        self.remote_ip: Final = remote_ip
        self.remote_port: Final = remote_port
        self.proto: Final = proto


@final
class SessionInfo(Fixed):
    """A control session as the kernel has it. `public_ip` all zero or empty: not translated. `inside6`, `remote6`: the
    address of which the key has a handle, empty: the key's is one of IPv4's; `prefix`: behind which an inside IPv6 host
    sees an IPv4 one (NAT64)."""

    __match_args__: Final = (
        "session", "key", "public_ip", "public_port", "session_flags", "alg", "inside6", "remote6", "prefix",
    )  # fmt: skip

    def __init__(
        self, session: int, key: SessionKey, public_ip: bytes, public_port: int, session_flags: int = 0,
        alg: int = 1, inside6: bytes = b"", remote6: bytes = b"", prefix: IPv6Network | None = None,
    ) -> None:  # fmt: skip
        self.session: Final = session
        self.key: Final = key
        self.public_ip: Final = public_ip
        self.public_port: Final = public_port
        self.session_flags: Final = session_flags
        self.alg: Final = alg
        self.inside6: Final = inside6
        self.remote6: Final = remote6
        self.prefix: Final = prefix

    def beside(self, inside6: bytes, remote6: bytes, prefix: IPv6Network | None) -> SessionInfo:
        """The same with its addresses beside the handles. As all of these, not by `_replace`, which takes ten times as
        long: of NAT64 each session comes by here several times."""
        return SessionInfo(
            self.session, self.key, self.public_ip, self.public_port, self.session_flags, self.alg, inside6, remote6,
            prefix,
        )  # fmt: skip

    @property
    def translated(self) -> bool:
        """Whether it has a public address."""
        return any(byte for byte in self.public_ip)

    @property
    def inside_ip(self) -> bytes:
        """The inside end's own address."""
        return self.inside6 or self.key.inside_ip

    @property
    def remote_ip(self) -> bytes:
        """The outside end's own address."""
        return self.remote6 or self.key.remote_ip

    @property
    def inner_ip(self) -> bytes:
        """The inside end's address in the packets that the helper gets and writes: under NAT64, where they are of IPv4
        and the kernel turns them, its handle."""
        return self.key.inside_ip if self.inside6 and not self.remote6 else self.inside_ip

    @property
    def seen_ip(self) -> bytes:
        """The outside end's address as the inside end knows it."""
        shown = embedded(self.prefix, ip_address(self.remote_ip)) if self.inside6 and not self.remote6 else None
        return self.remote_ip if shown is None else shown.packed


@final
class Segment(Fixed):
    """A held segment (PUNT_SEGMENT). `frame` as received; offsets from its start; `acked`, `lines` and `ts_recent` are
    those of struct track. `mtu`: what its way out takes, 0: not known; `too_big`: less than this, and nobody but its
    sender may cut it (PUNT_TOO_BIG). `copied`: it wasn't held, this is a copy of a line that passed (PUNT_COPY);
    `expectation`: what the kernel expects because of it, 0: nothing; `retold`: it went on in the other family's words
    (PUNT_RETOLD), and this is what its sender said."""

    __match_args__: Final = (
        "info", "direction", "seq", "frame", "ip_offset", "payload_offset", "payload_size", "tcp_flags", "acked",
        "lines", "mtu", "too_big", "ts_recent", "copied", "expectation", "retold",
    )  # fmt: skip

    def __init__(
        self, info: SessionInfo, direction: int, seq: int, frame: bytes, ip_offset: int, payload_offset: int,
        payload_size: int, tcp_flags: int, acked: tuple[int, int], lines: int = 0, mtu: int = 0,
        too_big: bool = False, ts_recent: tuple[int, int] = (0, 0), copied: bool = False, expectation: int = 0,
        retold: bool = False,
    ) -> None:  # fmt: skip
        self.info: Final = info
        self.direction: Final = direction
        self.seq: Final = seq
        self.frame: Final = frame
        self.ip_offset: Final = ip_offset
        self.payload_offset: Final = payload_offset
        self.payload_size: Final = payload_size
        self.tcp_flags: Final = tcp_flags
        self.acked: Final = acked
        self.lines: Final = lines
        self.mtu: Final = mtu
        self.too_big: Final = too_big
        self.ts_recent: Final = ts_recent
        self.copied: Final = copied
        self.expectation: Final = expectation
        self.retold: Final = retold

    def framed(self, frame: bytes) -> Segment:
        """The same with another frame: nearly all come with an unfinished one on a host."""
        return self._with(self.info, frame)

    def of(self, info: SessionInfo) -> Segment:
        """The same of what is known of its session."""
        return self._with(info, self.frame)

    def _with(self, info: SessionInfo, frame: bytes) -> Segment:
        return Segment(
            info, self.direction, self.seq, frame, self.ip_offset, self.payload_offset, self.payload_size,
            self.tcp_flags, self.acked, self.lines, self.mtu, self.too_big, self.ts_recent, self.copied,
            self.expectation, self.retold,
        )  # fmt: skip


@final
class TrackView(Fixed):
    """`struct track`. Pairs are by direction of the segment, numbers are the sender's own.

    `ack_sent`: by direction of the data, the highest acknowledgement number as it stood in the receiver's segments
    (not mapped back), None if the kernel doesn't keep it. It alone tells whether an inserted answer has arrived.
    `ts_value` is of the latest segment, held or not; `ts_recent` what the receiver keeps of the lines that passed by
    themselves, 0: nothing.
    """

    __match_args__: Final = (
        "isn",
        "next",
        "acked",
        "window",
        "ts_value",
        "mss",
        "flags",
        "ack_sent",
        "lines",
        "ts_recent",
    )

    def __init__(
        self, isn: tuple[int, int], next: tuple[int, int], acked: tuple[int, int], window: tuple[int, int],
        ts_value: tuple[int, int], mss: tuple[int, int], flags: int, ack_sent: tuple[int, int] | None = None,
        lines: int = 0, ts_recent: tuple[int, int] = (0, 0),
    ) -> None:  # fmt: skip
        self.isn: Final = isn
        self.next: Final = next
        self.acked: Final = acked
        self.window: Final = window
        self.ts_value: Final = ts_value
        self.mss: Final = mss
        self.flags: Final = flags
        self.ack_sent: Final = ack_sent
        self.lines: Final = lines
        self.ts_recent: Final = ts_recent


@final
class AdjustRecord(Fixed):
    """`struct adjust`. `corrections` by direction, oldest first, at most MAX_CORRECTIONS each. `agrees`: id of the
    expectation that is to open when the next line is one of `Lines.agreeing`."""

    __match_args__: Final = ("session", "decided", "base", "corrections", "flags", "interest", "lines", "agrees")

    def __init__(
        self, session: int, decided: tuple[int, int], base: tuple[int, int],
        corrections: tuple[tuple[Correction, ...], tuple[Correction, ...]], flags: int = 0, interest: int = 0,
        lines: int = 0, agrees: int = 0,
    ) -> None:  # fmt: skip
        self.session: Final = session
        self.decided: Final = decided
        self.base: Final = base
        self.corrections: Final = corrections
        self.flags: Final = flags
        self.interest: Final = interest
        self.lines: Final = lines
        self.agrees: Final = agrees


@final
class Expectation(Fixed):
    """A row of `expectations`, key and value. `from_ip` empty: anybody. `expires` on the clock of `now`, seconds.

    Direction IN: `to` is the reserved public end point and `inside` where the connection goes, from the reservation
    whose first port is `reserved`. Direction OUT: `to` is outside, `inside` and `reserved` are None. `ports`, if not 0:
    so many adjacent ones from `to` on are meant. `from_port` 0: any. `early`: its peer is known to connect before it
    agrees, so a pending one admits it, too.
    """

    __match_args__: Final = (
        "id", "session", "control_key", "alg", "direction", "proto", "from_ip", "to", "inside", "reserved", "state",
        "persistent", "expires", "from_port", "ports", "early",
    )  # fmt: skip

    def __init__(
        self, id: int, session: int, control_key: SessionKey, alg: int, direction: int, proto: int, from_ip: bytes,
        to: EndPoint, inside: EndPoint | None, reserved: EndPoint | None, state: int, persistent: bool,
        expires: float, from_port: int = 0, ports: int = 0, early: bool = False,
    ) -> None:  # fmt: skip
        self.id: Final = id
        self.session: Final = session
        self.control_key: Final = control_key
        self.alg: Final = alg
        self.direction: Final = direction
        self.proto: Final = proto
        self.from_ip: Final = from_ip
        self.to: Final = to
        self.inside: Final = inside
        self.reserved: Final = reserved
        self.state: Final = state
        self.persistent: Final = persistent
        self.expires: Final = expires
        self.from_port: Final = from_port
        self.ports: Final = ports
        self.early: Final = early

    def opened(self) -> Expectation:
        """The same, open."""
        return Expectation(
            self.id, self.session, self.control_key, self.alg, self.direction, self.proto, self.from_ip, self.to,
            self.inside, self.reserved, EXPECT_OPEN, self.persistent, self.expires, self.from_port, self.ports,
            self.early,
        )  # fmt: skip

    def named(self, number: int, expires: float) -> Expectation:
        """The same under another id, until another moment."""
        return Expectation(
            number, self.session, self.control_key, self.alg, self.direction, self.proto, self.from_ip, self.to,
            self.inside, self.reserved, self.state, self.persistent, expires, self.from_port, self.ports,
            self.early,
        )  # fmt: skip

    def between(
        self, from_ip: bytes, to: EndPoint, inside: EndPoint | None, reserved: EndPoint | None
    ) -> Expectation:  # fmt: skip
        """The same with other words for its ends."""
        return Expectation(
            self.id, self.session, self.control_key, self.alg, self.direction, self.proto, from_ip, to, inside,
            reserved, self.state, self.persistent, self.expires, self.from_port, self.ports, self.early,
        )  # fmt: skip


@final
class PutExpectation(Fixed):
    """Create the row, pending or open. The public port is reserved already."""

    __match_args__: Final = ("expectation",)

    def __init__(self, expectation: Expectation) -> None:
        self.expectation: Final = expectation


@final
class OpenExpectation(Fixed):
    """Set the row's state to open, unless the kernel has used it."""

    __match_args__: Final = ("expectation",)

    def __init__(self, expectation: Expectation) -> None:
        self.expectation: Final = expectation


@final
class KnownExpectation(Fixed):
    """The kernel has made the row itself, and it is this one."""

    __match_args__: Final = ("expectation",)

    def __init__(self, expectation: Expectation) -> None:
        self.expectation: Final = expectation


@final
class DeleteExpectation(Fixed):
    """Remove the row. `outcome`: used, expired, withdrawn or replaced. `heir`: whose row it becomes instead."""

    __match_args__: Final = ("expectation", "outcome", "reason", "heir")

    def __init__(
        self, expectation: Expectation, outcome: str, reason: str = "", heir: Expectation | None = None,
    ) -> None:  # fmt: skip
        self.expectation: Final = expectation
        self.outcome: Final = outcome
        self.reason: Final = reason
        self.heir: Final = heir


@final
class ReleasePort(Fixed):
    """Give a reservation back if it is still the owner's. `used`: a data session stands on it. `shared`: one share."""

    __match_args__: Final = ("proto", "public", "inside", "ports", "used", "shared")

    def __init__(
        self, proto: int, public: EndPoint, inside: EndPoint, ports: int, used: bool, shared: bool = False,
    ) -> None:  # fmt: skip
        self.proto: Final = proto
        self.public: Final = public
        self.inside: Final = inside
        self.ports: Final = ports
        self.used: Final = used
        self.shared: Final = shared


@final
class PutAdjust(Fixed):
    """Replace the session's adjust record whole."""

    __match_args__: Final = ("record",)

    def __init__(self, record: AdjustRecord) -> None:
        self.record: Final = record


@final
class PutLines(Fixed):
    """Write down what `interest` stands for, before a record names it."""

    __match_args__: Final = ("interest", "lines")

    def __init__(self, interest: int, lines: Lines) -> None:
        self.interest: Final = interest
        self.lines: Final = lines


@final
class PutDecision(Fixed):
    """Decide a range. REPLACE: write `new` to `replacements` under the same key first."""

    __match_args__: Final = ("session", "direction", "seq", "size", "verdict", "digest", "new", "sum_change")

    def __init__(
        self, session: int, direction: int, seq: int, size: int, verdict: int, digest: int, new: bytes | None,
        sum_change: int,
    ) -> None:  # fmt: skip
        self.session: Final = session
        self.direction: Final = direction
        self.seq: Final = seq
        self.size: Final = size
        self.verdict: Final = verdict
        self.digest: Final = digest
        self.new: Final = new
        self.sum_change: Final = sum_change


@final
class DropDecisions(Fixed):
    """Delete decisions that the receiver has acknowledged: (direction, seq, size, whether it replaced) of each."""

    __match_args__: Final = ("session", "ranges")

    def __init__(self, session: int, ranges: tuple[tuple[int, int, int, bool], ...]) -> None:
        self.session: Final = session
        self.ranges: Final = ranges


@final
class Inject(Fixed):
    """Write the frame to the TAP device. Checksums are finished, the first byte of the destination MAC is `kind`."""

    __match_args__: Final = ("kind", "frame")

    def __init__(self, kind: int, frame: bytes) -> None:
        self.kind: Final = kind
        self.frame: Final = frame


@final
class KeepHeld(Fixed):
    """Store what a restart must know of a direction (at most HELD_MAX bytes), instead of what was stored before."""

    __match_args__: Final = ("session", "direction", "data")

    def __init__(self, session: int, direction: int, data: bytes) -> None:
        self.session: Final = session
        self.direction: Final = direction
        self.data: Final = data


@final
class DropHeld(Fixed):
    """Forget what KeepHeld stored."""

    __match_args__: Final = ("session", "direction")

    def __init__(self, session: int, direction: int) -> None:
        self.session: Final = session
        self.direction: Final = direction


@final
class Announce(Fixed):
    """Something for `follow`, log and metrics. `error`: algate's own fault, whose traceback the log shows."""

    __match_args__: Final = ("session", "control", "event", "error")

    def __init__(self, session: int, control: Control | None, event: Event, error: Exception | None = None) -> None:
        self.session: Final = session
        self.control: Final = control
        self.event: Final = event
        self.error: Final = error


@final
class Describe(Fixed):
    """What the connection of a tag is for, for the audit of transfers."""

    __match_args__: Final = ("session", "control", "purpose")

    def __init__(self, session: int, control: Control, purpose: Purpose) -> None:
        self.session: Final = session
        self.control: Final = control
        self.purpose: Final = purpose


@final
class Admitted(Fixed):
    """The kernel made the session `data` from the expectation of a tag."""

    __match_args__: Final = ("session", "control", "tag", "data")

    def __init__(self, session: int, control: Control, tag: int, data: SessionInfo) -> None:
        self.session: Final = session
        self.control: Final = control
        self.tag: Final = tag
        self.data: Final = data


@final
class View(Fixed):
    """A control session's dialogue, for `explain`. `unfinished`: bytes of client and server without a verdict."""

    __match_args__: Final = ("phase", "unanswered", "bypassed", "unfinished")

    def __init__(self, phase: str, unanswered: int, bypassed: bool, unfinished: tuple[int, int]) -> None:
        self.phase: Final = phase
        self.unanswered: Final = unanswered
        self.bypassed: Final = bypassed
        self.unfinished: Final = unfinished


@final
class BypassSession(Fixed):
    """Nothing is looked at any more. The adjust record with ADJUST_BYPASS was written; `shifted`: it must stay.

    It stays also for a session with expectations, which the kernel and a later helper know by it.
    """

    __match_args__: Final = ("session", "key", "shifted")

    def __init__(self, session: int, key: SessionKey, shifted: bool) -> None:
        self.session: Final = session
        self.key: Final = key
        self.shifted: Final = shifted


@final
class ResetSession(Fixed):
    """Remove the session from the kernel; the RSTs were injected before."""

    __match_args__: Final = ("session", "key", "reason")

    def __init__(self, session: int, key: SessionKey, reason: str) -> None:
        self.session: Final = session
        self.key: Final = key
        self.reason: Final = reason


Effect = (
    PutExpectation
    | KnownExpectation
    | OpenExpectation
    | DeleteExpectation
    | ReleasePort
    | PutAdjust
    | PutLines
    | PutDecision
    | DropDecisions
    | Inject
    | KeepHeld
    | DropHeld
    | Announce
    | Describe
    | Admitted
    | BypassSession
    | ResetSession
)
