"""What the engine is told and what it asks for: immutable values between the pure engine and the service.

The law of this file: plain ints, bytes and model values; no layout, no map, no behaviour. The helper turns each effect
into one system call and carries a list out in its order, since the order is the safety argument: expectation, adjust
record, decision, frame. Numbers are those of `bpf/include/abi.h` (a test compares them).

Addresses are packed (4 or 16 bytes, network order), ports, sequence numbers and sizes are ints in host order.
"""

from __future__ import annotations

from ipaddress import IPv6Network, ip_address
from typing import NamedTuple

from algate.alg.plugin.families import embedded
from algate.alg.plugin.model import Control, EndPoint, Event, Lines, Purpose

from .corrections import Correction

OUT, IN = 0, 1  # enum direction

INJECT_OUT, INJECT_IN, INJECT_RAW_OUT, INJECT_RAW_IN = 0x12, 0x22, 0x32, 0x42  # enum inject_kind
VERDICT_PASS, VERDICT_REPLACE = 1, 2  # enum verdict; DROP isn't used: what is refused stays undecided in the kernel
ADJUST_BYPASS, ADJUST_LINES, ADJUST_OWED, ADJUST_COPIES, ADJUST_BEGINS = 1, 2, 4, 8, 16  # enum adjust_flag
ADJUST_UNANSWERED, ADJUST_REMEMBERED = 8, 16  # where these parts of the flags begin, 8 bits each
TRACK_UNTOUCHABLE = 4
TRACK_TIMESTAMPS, TRACK_SYN_OUT, TRACK_SYN_IN, TRACK_FIN_OUT, TRACK_FIN_IN = 1, 8, 16, 32, 64  # enum track_flag
EXPECT_PENDING, EXPECT_OPEN = 1, 2  # enum expectation_state
SESSION_FORWARD = 1  # enum session_flag
DIGEST_MAX = 1536
REPLACEMENT_MAX = 1536
HELD_MAX = 65536  # bytes that KeepHeld may carry


class SessionKey(NamedTuple):
    """`struct session_key`: the 5-tuple as the inside end point sees it, an IPv6 address as the handle that the kernel
    has for it. What the address is, SessionInfo says."""

    inside_ip: bytes
    inside_port: int
    remote_ip: bytes
    remote_port: int
    proto: int = 6


class SessionInfo(NamedTuple):
    """A control session as the kernel has it. `public_ip` all zero or empty: not translated. `inside6`, `remote6`: the
    address of which the key has a handle, empty: the key's is one of IPv4's; `prefix`: behind which an inside IPv6 host
    sees an IPv4 one (NAT64)."""

    session: int
    key: SessionKey
    public_ip: bytes
    public_port: int
    session_flags: int = 0
    alg: int = 1
    inside6: bytes = b""
    remote6: bytes = b""
    prefix: IPv6Network | None = None

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


class Segment(NamedTuple):
    """A held segment (PUNT_SEGMENT). `frame` as received; offsets from its start; `acked`, `lines` and `ts_recent` are
    those of struct track. `mtu`: what its way out takes, 0: not known; `too_big`: less than this, and nobody but its
    sender may cut it (PUNT_TOO_BIG). `copied`: it wasn't held, this is a copy of a line that passed (PUNT_COPY);
    `expectation`: what the kernel expects because of it, 0: nothing; `retold`: it went on in the other family's words
    (PUNT_RETOLD), and this is what its sender said."""

    info: SessionInfo
    direction: int
    seq: int
    frame: bytes
    ip_offset: int
    payload_offset: int
    payload_size: int
    tcp_flags: int
    acked: tuple[int, int]
    lines: int = 0
    mtu: int = 0
    too_big: bool = False
    ts_recent: tuple[int, int] = (0, 0)
    copied: bool = False
    expectation: int = 0
    retold: bool = False


class TrackView(NamedTuple):
    """`struct track`. Pairs are by direction of the segment, numbers are the sender's own.

    `ack_sent`: by direction of the data, the highest acknowledgement number as it stood in the receiver's segments
    (not mapped back), None if the kernel doesn't keep it. It alone tells whether an inserted answer has arrived.
    `ts_value` is of the latest segment, held or not; `ts_recent` what the receiver keeps of the lines that passed by
    themselves, 0: nothing.
    """

    isn: tuple[int, int]
    next: tuple[int, int]
    acked: tuple[int, int]
    window: tuple[int, int]
    ts_value: tuple[int, int]
    mss: tuple[int, int]
    flags: int
    ack_sent: tuple[int, int] | None = None
    lines: int = 0
    ts_recent: tuple[int, int] = (0, 0)


class AdjustRecord(NamedTuple):
    """`struct adjust`. `corrections` by direction, oldest first, at most MAX_CORRECTIONS each. `agrees`: id of the
    expectation that is to open when the next line is one of `Lines.agreeing`."""

    session: int
    decided: tuple[int, int]
    base: tuple[int, int]
    corrections: tuple[tuple[Correction, ...], tuple[Correction, ...]]
    flags: int = 0
    interest: int = 0
    lines: int = 0
    agrees: int = 0


class Expectation(NamedTuple):
    """A row of `expectations`, key and value. `from_ip` empty: anybody. `expires` on the clock of `now`, seconds.

    Direction IN: `to` is the reserved public end point and `inside` where the connection goes, from the reservation
    whose first port is `reserved`. Direction OUT: `to` is outside, `inside` and `reserved` are None. `ports`, if not 0:
    so many adjacent ones from `to` on are meant. `from_port` 0: any. `early`: its peer is known to connect before it
    agrees, so a pending one admits it, too.
    """

    id: int
    session: int
    control_key: SessionKey
    alg: int
    direction: int
    proto: int
    from_ip: bytes
    to: EndPoint
    inside: EndPoint | None
    reserved: EndPoint | None
    state: int
    persistent: bool
    expires: float
    from_port: int = 0
    ports: int = 0
    early: bool = False


class PutExpectation(NamedTuple):
    """Create the row, pending or open. The public port is reserved already."""

    expectation: Expectation


class OpenExpectation(NamedTuple):
    """Set the row's state to open, unless the kernel has used it."""

    expectation: Expectation


class KnownExpectation(NamedTuple):
    """The kernel has made the row itself, and it is this one."""

    expectation: Expectation


class DeleteExpectation(NamedTuple):
    """Remove the row. `outcome`: used, expired, withdrawn or replaced. `heir`: whose row it becomes instead."""

    expectation: Expectation
    outcome: str
    reason: str = ""
    heir: Expectation | None = None


class ReleasePort(NamedTuple):
    """Give a reservation back if it is still the owner's. `used`: a data session stands on it. `shared`: one share."""

    proto: int
    public: EndPoint
    inside: EndPoint
    ports: int
    used: bool
    shared: bool = False


class PutAdjust(NamedTuple):
    """Replace the session's adjust record whole."""

    record: AdjustRecord


class PutLines(NamedTuple):
    """Write down what `interest` stands for, before a record names it."""

    interest: int
    lines: Lines


class PutDecision(NamedTuple):
    """Decide a range. REPLACE: write `new` to `replacements` under the same key first."""

    session: int
    direction: int
    seq: int
    size: int
    verdict: int
    digest: int
    new: bytes | None
    sum_change: int


class DropDecisions(NamedTuple):
    """Delete decisions that the receiver has acknowledged: (direction, seq, size, whether it replaced) of each."""

    session: int
    ranges: tuple[tuple[int, int, int, bool], ...]


class Inject(NamedTuple):
    """Write the frame to the TAP device. Checksums are finished, the first byte of the destination MAC is `kind`."""

    kind: int
    frame: bytes


class KeepHeld(NamedTuple):
    """Store what a restart must know of a direction (at most HELD_MAX bytes), instead of what was stored before."""

    session: int
    direction: int
    data: bytes


class DropHeld(NamedTuple):
    """Forget what KeepHeld stored."""

    session: int
    direction: int


class Announce(NamedTuple):
    """Something for `follow`, log and metrics. `error`: algate's own fault, whose traceback the log shows."""

    session: int
    control: Control | None
    event: Event
    error: Exception | None = None


class Describe(NamedTuple):
    """What the connection of a tag is for, for the audit of transfers."""

    session: int
    control: Control
    purpose: Purpose


class Admitted(NamedTuple):
    """The kernel made the session `data` from the expectation of a tag."""

    session: int
    control: Control
    tag: int
    data: SessionInfo


class View(NamedTuple):
    """A control session's dialogue, for `explain`. `unfinished`: bytes of client and server without a verdict."""

    phase: str
    unanswered: int
    bypassed: bool
    unfinished: tuple[int, int]


class BypassSession(NamedTuple):
    """Nothing is looked at any more. The adjust record with ADJUST_BYPASS was written; `shifted`: it must stay.

    It stays also for a session with expectations, which the kernel and a later helper know by it.
    """

    session: int
    key: SessionKey
    shifted: bool


class ResetSession(NamedTuple):
    """Remove the session from the kernel; the RSTs were injected before."""

    session: int
    key: SessionKey
    reason: str


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
