"""Written by `python -m algate.bpf.stub` from include/abi.h: don't edit."""

import ctypes
import enum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Self

from algate.bpf import layout

INCLUDE: Path
HEADER: layout.AbiHeader

class Layout(ctypes.Structure):
    FORMAT: str
    NAMES: tuple[str, ...]
    @classmethod
    def unpack(cls, raw: bytes | bytearray | memoryview, offset: int = 0) -> Self: ...

def be16(port: int) -> int: ...
def public_port(session: ctypes.Structure) -> int: ...
def ip_to_be32(address: IPv4Address | str) -> int: ...
def be32_to_ip(value: int) -> IPv4Address: ...
def reasons() -> dict[int, tuple[str, str]]: ...
def layout_hash() -> str: ...
def camel(name: str) -> str: ...
def attribute(name: str) -> str: ...
def members(description: layout.Enum) -> tuple[dict[str, int], dict[str, int]]: ...

TICK_SHIFT: int
MAX_PUBLIC: int
MAX_LANS: int
MAX_FORWARDS: int
MAX_CORRECTIONS: int
DIGEST_MAX: int
REPLACEMENT_MAX: int
PUNT_FRAME_MAX: int
CONTROL_BATCH: int
AGED_ROWS: int
PORTS_PER_ADDRESS: int
BITMAP_WORDS: int
BITMAP_BLOCK: int
PORT_REST: int
EXEMPT_ROW: int
BLOCK_UNIT: int
BLOCK_ROWS: int
BLOCK_WORDS: int
BLOCK_USABLE: int
BLOCKS_PER_HOST: int
CLASS_ALONE: int
CLASS_BEHIND: int
STAGES_SIX: int
HANDLE_IDLE: int
PIECE_WORDS: int
EXPECT_NAMED: int
EXPECT_NAMED_PORT: int
ADJUST_UNANSWERED: int
ADJUST_REMEMBERED: int
OPENING_MIXED: int
LINES_COMMANDS: int
LINES_REPLIES: int
LINES_COPIES: int
LINES_BYTES: int
LINE_MAX: int
LINE_SIZE_RETOLD: int
POOL_SESSIONS: int
POOL_HANDLES: int
POOL_FREED: int
POOL_ROWS: int
SHARE_WHOLE: int
SHARE_RANGE: int
SHARE_FLOOR: int
ASKERS_A_KIND: int
ASKER_ROWS: int

class Direction(enum.IntEnum):
    OUT = 0
    IN = 1

class ProtoClass(enum.IntEnum):
    TCP = 0
    UDP = 1
    ICMP = 2

class SessionState(enum.IntEnum):
    DEAD = 0
    NEW = 1
    ESTABLISHED = 2
    FIN_IN = 3
    FIN_OUT = 4
    CLOSING = 5
    TIME_WAIT = 6
    RESET = 7
    UNREPLIED = 8
    ACTIVE = 9

class StateBit(enum.IntFlag):
    SYN_OUT = 256
    SYN_IN = 512
    UNANSWERED = 1024
    LATE_OUT = 2048
    LATE_IN = 4096
    DOUBT = 8192
    FIN_OUT = 16384
    FIN_IN = 32768

class SessionFlag(enum.IntFlag):
    FORWARD = 1
    LOCAL = 2
    EXEMPT = 4
    EXPECTED = 8
    PEER = 64

class TimeoutKind(enum.IntEnum):
    TCP_OPENING = 0
    TCP_ESTABLISHED = 1
    TCP_CLOSING = 2
    TCP_RESET = 3
    UDP = 4
    ICMP = 5

TIMEOUT_COUNT: int

class PortKind(enum.IntEnum):
    FREE = 0
    MAPPING = 1
    FORWARD = 2
    RESERVED = 3
    LOCAL = 4
    HOME = 5
    SHARED = 6

class ForwardFlag(enum.IntFlag):
    USED = 1
    SOURCES = 2
    LIVE = 4

class ExpectationState(enum.IntEnum):
    PENDING = 1
    OPEN = 2
    USED = 3

class ExpectationFlag(enum.IntFlag):
    PERSISTENT = 1
    EARLY = 2

class AdjustFlag(enum.IntFlag):
    BYPASS = 1
    LINES = 2
    OWED = 4
    COPIES = 8
    BEGINS = 16
    SETTLES = 32

class Line(enum.IntEnum):
    HELD = 0
    PASSES = 1
    COPIED = 2
    TOLD = 3
    QUIET = 8
    AGREES = 16
    NAMES = 32
    RETOLD = 64
    SETTLES = 128

class TrackFlag(enum.IntFlag):
    TIMESTAMPS = 1
    SACK = 2
    UNTOUCHABLE = 4
    SYN_OUT = 8
    SYN_IN = 16
    FIN_OUT = 32
    FIN_IN = 64

class Verdict(enum.IntEnum):
    PASS = 1
    REPLACE = 2

class PuntKind(enum.IntEnum):
    SEGMENT = 1
    DATA_SYN = 2
    EXPECT_USED = 3
    OPENED = 4
    TAIL = 5
    REFUSED = 6
    TOO_BIG = 7
    UNSENT = 8
    PATH = 9
    COPY = 10
    RETOLD = 11

class NoticeKind(enum.IntEnum):
    NONE = 0
    MADE = 1
    ENDED = 2

class NoticeFlag(enum.IntFlag):
    PORT = 1
    SHARED = 2

class TellFlag(enum.IntFlag):
    SESSIONS = 1
    PORTS = 2
    WATCHED = 4
    TCP = 8
    UDP = 16
    ICMP = 32

class InjectKind(enum.IntEnum):
    OUT = 18
    IN = 34
    RAW_OUT = 50
    RAW_IN = 66

class ConfigFlag(enum.IntFlag):
    MAPPING_APDM = 1
    FILTER_EIF = 2
    FILTER_ADF = 4
    PARITY = 8
    HAIRPIN = 16
    FAIL_OPEN = 32
    ALLOW_LIST = 64
    EXEMPT = 256

class Counter(enum.IntEnum):
    PACKETS_OUT = 0
    PACKETS_IN = 1
    BYTES_OUT = 2
    BYTES_IN = 3
    SESSIONS_NEW = 4
    PUNTS = 5
    PUNTS_LOST = 6
    DECISIONS_PASS = 7
    DECISIONS_REPLACE = 8
    REINJECTED = 9
    EXPECTATIONS_USED = 10
    XDP_REDIRECTED = 11
    TC_REDIRECTED = 12
    TO_STACK = 13
    ICMP_ERRORS = 14
    FAIL_OPEN = 15
    SESSIONS_ENDED = 16
    ALG_SEGMENTS = 17
    PORT_TRIES_1 = 18
    PORT_TRIES_2 = 19
    PORT_TRIES_4 = 20
    PORT_TRIES_MORE = 21
    HAIRPINS = 22
    LINES_PASSED = 23
    TOO_BIG = 24
    LINES_COPIED = 25
    IGNORED = 26
    NOTICES = 27
    NOTICES_LOST = 28
    NOTICES_UNREAD = 29
    OTHER_PROTOCOLS = 30

COUNTER_COUNT: int

class HandleState(enum.IntEnum):
    LIVE = 1
    GONE = 2

class SixFlag(enum.IntFlag):
    FILTER = 1
    IPSEC_ANY = 2
    IPSEC_SPOKEN = 4
    HOST_64 = 8

class AdmissionFlag(enum.IntFlag):
    SOURCES = 1
    LIVE = 2
    HOST = 4

class Stage(enum.IntEnum):
    NEW_OUT = 0
    NEW_IN = 1
    ALG = 2
    ICMP = 3
    FRAGMENT = 4
    HAIRPIN = 5
    LEAVE = 6
    FRESH = 7
    PASS = 8
    FINISH = 9
    SHARE = 10
    WEIGH = 11
    REFUSE = 12
    JUDGE = 13
    BLOCK = 14
    BLOCK_CONTROL = 15
    TELL = 16
    BEGIN = 17
    ENTER_OUT = 18
    ENTER_IN = 19
    RAW = 20
    FROM6 = 21
    TURN_OUT = 22
    TURN_IN = 23
    TURN_ERROR_OUT = 24
    TURN_ERROR_IN = 25
    TELL6 = 26
    TELL4 = 27
    TURN_WANT = 28
    CUT6 = 29
    CUT4 = 30
    WAY = 31
    MAKE = 32
    ENDS = 33
    RETELL = 66

STAGE_COUNT: int

class ControlOp(enum.IntEnum):
    SWEEP = 1
    RESERVE = 2
    RELEASE = 3
    KILL = 4
    REFRESH = 5
    BYPASS = 6
    AGE_PORTS = 7
    CLAIM = 8
    PEERS = 9
    OLDEST = 10
    RECLAIM = 11
    UNBLOCK = 12
    AGREE = 13

class HandleOp(enum.IntEnum):
    INTERN = 32
    FREE = 33

class ReserveFlag(enum.IntFlag):
    TIRED = 1

class SessionKey(Layout):
    inside_ip: int
    remote_ip: int
    inside_port: int
    remote_port: int
    proto: int
    pad: ctypes.Array[ctypes.c_uint8]
    def __init__(
        self,
        *,
        inside_ip: int = ...,
        remote_ip: int = ...,
        inside_port: int = ...,
        remote_port: int = ...,
        proto: int = ...,
        pad: ctypes.Array[ctypes.c_uint8] | tuple[int, ...] = ...,
    ) -> None: ...

class Session(Layout):
    id: int
    bytes: ctypes.Array[ctypes.c_uint64]
    packets: ctypes.Array[ctypes.c_uint32]
    acked: ctypes.Array[ctypes.c_uint32]
    next: ctypes.Array[ctypes.c_uint32]
    state: int
    alg: int
    flags: int
    last_seen: int
    port_index: int
    public_ip: int
    def __init__(
        self,
        *,
        id: int = ...,
        bytes: ctypes.Array[ctypes.c_uint64] | tuple[int, ...] = ...,
        packets: ctypes.Array[ctypes.c_uint32] | tuple[int, ...] = ...,
        acked: ctypes.Array[ctypes.c_uint32] | tuple[int, ...] = ...,
        next: ctypes.Array[ctypes.c_uint32] | tuple[int, ...] = ...,
        state: int = ...,
        alg: int = ...,
        flags: int = ...,
        last_seen: int = ...,
        port_index: int = ...,
        public_ip: int = ...,
    ) -> None: ...

class PortSlot(Layout):
    owner: int
    sessions: int
    away: int
    stamp: int
    last_host: int
    forward_id: int
    block: int
    def __init__(
        self,
        *,
        owner: int = ...,
        sessions: int = ...,
        away: int = ...,
        stamp: int = ...,
        last_host: int = ...,
        forward_id: int = ...,
        block: int = ...,
    ) -> None: ...

class PortBlock(Layout):
    holder: int
    assigned: int
    stamp: int
    size: int
    def __init__(
        self,
        *,
        holder: int = ...,
        assigned: int = ...,
        stamp: int = ...,
        size: int = ...,
    ) -> None: ...

class BlockList(Layout):
    rows: ctypes.Array[ctypes.c_uint64]
    def __init__(
        self,
        *,
        rows: ctypes.Array[ctypes.c_uint64] | tuple[int, ...] = ...,
    ) -> None: ...

class BlockNetwork(Layout):
    first: int
    mask: int
    def __init__(
        self,
        *,
        first: int = ...,
        mask: int = ...,
    ) -> None: ...

class ShareKey(Layout):
    port_index: int
    remote_ip: int
    remote_port: int
    pad: int
    def __init__(
        self,
        *,
        port_index: int = ...,
        remote_ip: int = ...,
        remote_port: int = ...,
        pad: int = ...,
    ) -> None: ...

class Share(Layout):
    owner: int
    stamp: int
    pad: int
    def __init__(
        self,
        *,
        owner: int = ...,
        stamp: int = ...,
        pad: int = ...,
    ) -> None: ...

class Beginning(Layout):
    seq: ctypes.Array[ctypes.c_uint32]
    def __init__(
        self,
        *,
        seq: ctypes.Array[ctypes.c_uint32] | tuple[int, ...] = ...,
    ) -> None: ...

class Finished(Layout):
    key: SessionKey
    id: int
    def __init__(
        self,
        *,
        key: SessionKey = ...,
        id: int = ...,
    ) -> None: ...

class MappingKey(Layout):
    inside_ip: int
    inside_port: int
    proto: int
    pad: int
    def __init__(
        self,
        *,
        inside_ip: int = ...,
        inside_port: int = ...,
        proto: int = ...,
        pad: int = ...,
    ) -> None: ...

class Mapping(Layout):
    port_index: int
    pad: int
    def __init__(
        self,
        *,
        port_index: int = ...,
        pad: int = ...,
    ) -> None: ...

class Forward(Layout):
    to_ip: int
    to_port: int
    wan_first: int
    wan_last: int
    proto: int
    alg: int
    flags: int
    hits: int
    def __init__(
        self,
        *,
        to_ip: int = ...,
        to_port: int = ...,
        wan_first: int = ...,
        wan_last: int = ...,
        proto: int = ...,
        alg: int = ...,
        flags: int = ...,
        hits: int = ...,
    ) -> None: ...

class ForwardSourceKey(Layout):
    prefix_len: int
    forward_id: int
    address: int
    def __init__(
        self,
        *,
        prefix_len: int = ...,
        forward_id: int = ...,
        address: int = ...,
    ) -> None: ...

class ServiceKey(Layout):
    port: int
    proto: int
    pad: int
    def __init__(
        self,
        *,
        port: int = ...,
        proto: int = ...,
        pad: int = ...,
    ) -> None: ...

class ExpectationKey(Layout):
    from_: int
    to: int
    to_port: int
    proto: int
    dir: int
    def __init__(
        self,
        *,
        from_: int = ...,
        to: int = ...,
        to_port: int = ...,
        proto: int = ...,
        dir: int = ...,
    ) -> None: ...

class Expectation(Layout):
    id: int
    control_id: int
    control_key: SessionKey
    state: int
    inside_ip: int
    inside_port: int
    alg: int
    flags: int
    port_index: int
    expires: int
    from_port: int
    first: int
    last: int
    pad: int
    def __init__(
        self,
        *,
        id: int = ...,
        control_id: int = ...,
        control_key: SessionKey = ...,
        state: int = ...,
        inside_ip: int = ...,
        inside_port: int = ...,
        alg: int = ...,
        flags: int = ...,
        port_index: int = ...,
        expires: int = ...,
        from_port: int = ...,
        first: int = ...,
        last: int = ...,
        pad: int = ...,
    ) -> None: ...

class Correction(Layout):
    start: int
    end: int
    before: int
    after: int
    def __init__(
        self,
        *,
        start: int = ...,
        end: int = ...,
        before: int = ...,
        after: int = ...,
    ) -> None: ...

class Opening(Layout):
    flags: int
    interest: int
    lasts: int
    def __init__(
        self,
        *,
        flags: int = ...,
        interest: int = ...,
        lasts: int = ...,
    ) -> None: ...

class Adjust(Layout):
    id: int
    decided: ctypes.Array[ctypes.c_uint32]
    base: ctypes.Array[ctypes.c_int32]
    count: ctypes.Array[ctypes.c_uint32]
    flags: int
    interest: int
    lines: int
    agrees: int
    agrees_key: ExpectationKey
    pad: int
    at: ctypes.Array[Correction]
    def __init__(
        self,
        *,
        id: int = ...,
        decided: ctypes.Array[ctypes.c_uint32] | tuple[int, ...] = ...,
        base: ctypes.Array[ctypes.c_int32] | tuple[int, ...] = ...,
        count: ctypes.Array[ctypes.c_uint32] | tuple[int, ...] = ...,
        flags: int = ...,
        interest: int = ...,
        lines: int = ...,
        agrees: int = ...,
        agrees_key: ExpectationKey = ...,
        pad: int = ...,
        at: ctypes.Array[Correction] = ...,
    ) -> None: ...

class Track(Layout):
    id: int
    isn: ctypes.Array[ctypes.c_uint32]
    next: ctypes.Array[ctypes.c_uint32]
    acked: ctypes.Array[ctypes.c_uint32]
    ack_sent: ctypes.Array[ctypes.c_uint32]
    window: ctypes.Array[ctypes.c_uint32]
    ts_value: ctypes.Array[ctypes.c_uint32]
    mss: ctypes.Array[ctypes.c_uint16]
    window_scale: ctypes.Array[ctypes.c_uint8]
    flags: int
    opening: int
    lines: int
    line_seq: ctypes.Array[ctypes.c_uint32]
    line_size: ctypes.Array[ctypes.c_uint16]
    ts_recent: ctypes.Array[ctypes.c_uint32]
    punted: ctypes.Array[ctypes.c_uint64]
    punted_at: ctypes.Array[ctypes.c_uint32]
    punted_count: ctypes.Array[ctypes.c_uint16]
    syn: int
    agreed: int
    asked: int
    settled: int
    def __init__(
        self,
        *,
        id: int = ...,
        isn: ctypes.Array[ctypes.c_uint32] | tuple[int, ...] = ...,
        next: ctypes.Array[ctypes.c_uint32] | tuple[int, ...] = ...,
        acked: ctypes.Array[ctypes.c_uint32] | tuple[int, ...] = ...,
        ack_sent: ctypes.Array[ctypes.c_uint32] | tuple[int, ...] = ...,
        window: ctypes.Array[ctypes.c_uint32] | tuple[int, ...] = ...,
        ts_value: ctypes.Array[ctypes.c_uint32] | tuple[int, ...] = ...,
        mss: ctypes.Array[ctypes.c_uint16] | tuple[int, ...] = ...,
        window_scale: ctypes.Array[ctypes.c_uint8] | tuple[int, ...] = ...,
        flags: int = ...,
        opening: int = ...,
        lines: int = ...,
        line_seq: ctypes.Array[ctypes.c_uint32] | tuple[int, ...] = ...,
        line_size: ctypes.Array[ctypes.c_uint16] | tuple[int, ...] = ...,
        ts_recent: ctypes.Array[ctypes.c_uint32] | tuple[int, ...] = ...,
        punted: ctypes.Array[ctypes.c_uint64] | tuple[int, ...] = ...,
        punted_at: ctypes.Array[ctypes.c_uint32] | tuple[int, ...] = ...,
        punted_count: ctypes.Array[ctypes.c_uint16] | tuple[int, ...] = ...,
        syn: int = ...,
        agreed: int = ...,
        asked: int = ...,
        settled: int = ...,
    ) -> None: ...

class PassableKey(Layout):
    interest: int
    reply: int
    pad: ctypes.Array[ctypes.c_uint8]
    word: ctypes.Array[ctypes.c_uint8]
    def __init__(
        self,
        *,
        interest: int = ...,
        reply: int = ...,
        pad: ctypes.Array[ctypes.c_uint8] | tuple[int, ...] = ...,
        word: ctypes.Array[ctypes.c_uint8] | tuple[int, ...] = ...,
    ) -> None: ...

class DecisionKey(Layout):
    id: int
    seq: int
    size: int
    dir: int
    pad: int
    def __init__(
        self,
        *,
        id: int = ...,
        seq: int = ...,
        size: int = ...,
        dir: int = ...,
        pad: int = ...,
    ) -> None: ...

class Decision(Layout):
    digest: int
    sum_change: int
    new_size: int
    verdict: int
    pad: int
    def __init__(
        self,
        *,
        digest: int = ...,
        sum_change: int = ...,
        new_size: int = ...,
        verdict: int = ...,
        pad: int = ...,
    ) -> None: ...

class Replacement(Layout):
    bytes: ctypes.Array[ctypes.c_uint8]
    def __init__(
        self,
        *,
        bytes: ctypes.Array[ctypes.c_uint8] | tuple[int, ...] = ...,
    ) -> None: ...

class Punt(Layout):
    time: int
    id: int
    expectation_id: int
    key: SessionKey
    acked: ctypes.Array[ctypes.c_uint32]
    frame_size: int
    seq: int
    payload_offset: int
    ip_offset: int
    payload_size: int
    kind: int
    dir: int
    alg: int
    tcp_flags: int
    session_flags: int
    pad: ctypes.Array[ctypes.c_uint8]
    public_ip: int
    public_port: int
    mtu: int
    lines: int
    ts_recent: ctypes.Array[ctypes.c_uint32]
    def __init__(
        self,
        *,
        time: int = ...,
        id: int = ...,
        expectation_id: int = ...,
        key: SessionKey = ...,
        acked: ctypes.Array[ctypes.c_uint32] | tuple[int, ...] = ...,
        frame_size: int = ...,
        seq: int = ...,
        payload_offset: int = ...,
        ip_offset: int = ...,
        payload_size: int = ...,
        kind: int = ...,
        dir: int = ...,
        alg: int = ...,
        tcp_flags: int = ...,
        session_flags: int = ...,
        pad: ctypes.Array[ctypes.c_uint8] | tuple[int, ...] = ...,
        public_ip: int = ...,
        public_port: int = ...,
        mtu: int = ...,
        lines: int = ...,
        ts_recent: ctypes.Array[ctypes.c_uint32] | tuple[int, ...] = ...,
    ) -> None: ...

class Notice(Layout):
    time: int
    related: int
    key: SessionKey
    session: Session
    since: int
    kind: int
    flags: int
    pad: int
    def __init__(
        self,
        *,
        time: int = ...,
        related: int = ...,
        key: SessionKey = ...,
        session: Session = ...,
        since: int = ...,
        kind: int = ...,
        flags: int = ...,
        pad: int = ...,
    ) -> None: ...

class Config(Layout):
    secret: int
    wan: int
    flags: int
    public_count: int
    public_ip: ctypes.Array[ctypes.c_uint32]
    lan: ctypes.Array[ctypes.c_uint32]
    wan_mac: ctypes.Array[ctypes.c_uint8]
    lan_mac: ctypes.Array[ctypes.c_uint8]
    timeouts: ctypes.Array[ctypes.c_uint32]
    port_first: int
    port_last: int
    mss_clamp: int
    pad: int
    helper_timeout: int
    hold_down: int
    max_sessions_per_host: int
    max_ports_per_host: int
    new_sessions_per_second: int
    max_unanswered_per_host: int
    share_own: int
    share_free: int
    max_sessions: int
    port_block: int
    block_idle: int
    block_first: int
    block_count: int
    tell: int
    tell_net: int
    tell_mask: int
    gone_at: int
    new_until: int
    def __init__(
        self,
        *,
        secret: int = ...,
        wan: int = ...,
        flags: int = ...,
        public_count: int = ...,
        public_ip: ctypes.Array[ctypes.c_uint32] | tuple[int, ...] = ...,
        lan: ctypes.Array[ctypes.c_uint32] | tuple[int, ...] = ...,
        wan_mac: ctypes.Array[ctypes.c_uint8] | tuple[int, ...] = ...,
        lan_mac: ctypes.Array[ctypes.c_uint8] | tuple[int, ...] = ...,
        timeouts: ctypes.Array[ctypes.c_uint32] | tuple[int, ...] = ...,
        port_first: int = ...,
        port_last: int = ...,
        mss_clamp: int = ...,
        pad: int = ...,
        helper_timeout: int = ...,
        hold_down: int = ...,
        max_sessions_per_host: int = ...,
        max_ports_per_host: int = ...,
        new_sessions_per_second: int = ...,
        max_unanswered_per_host: int = ...,
        share_own: int = ...,
        share_free: int = ...,
        max_sessions: int = ...,
        port_block: int = ...,
        block_idle: int = ...,
        block_first: int = ...,
        block_count: int = ...,
        tell: int = ...,
        tell_net: int = ...,
        tell_mask: int = ...,
        gone_at: int = ...,
        new_until: int = ...,
    ) -> None: ...

class Host(Layout):
    sessions: int
    ports: int
    credit: int
    stamp: int
    refused: int
    unanswered: int
    pad: int
    held: ctypes.Array[ctypes.c_uint32]
    def __init__(
        self,
        *,
        sessions: int = ...,
        ports: int = ...,
        credit: int = ...,
        stamp: int = ...,
        refused: int = ...,
        unanswered: int = ...,
        pad: int = ...,
        held: ctypes.Array[ctypes.c_uint32] | tuple[int, ...] = ...,
    ) -> None: ...

class Pool(Layout):
    used: int
    pad: ctypes.Array[ctypes.c_uint64]
    def __init__(
        self,
        *,
        used: int = ...,
        pad: ctypes.Array[ctypes.c_uint64] | tuple[int, ...] = ...,
    ) -> None: ...

class PeerKey(Layout):
    inside_ip: int
    remote_ip: int
    inside_port: int
    proto: int
    pad: int
    def __init__(
        self,
        *,
        inside_ip: int = ...,
        remote_ip: int = ...,
        inside_port: int = ...,
        proto: int = ...,
        pad: int = ...,
    ) -> None: ...

class ExemptKey(Layout):
    prefix_len: int
    address: int
    def __init__(
        self,
        *,
        prefix_len: int = ...,
        address: int = ...,
    ) -> None: ...

class FragmentKey(Layout):
    source: int
    destination: int
    ip_id: int
    proto: int
    dir: int
    def __init__(
        self,
        *,
        source: int = ...,
        destination: int = ...,
        ip_id: int = ...,
        proto: int = ...,
        dir: int = ...,
    ) -> None: ...

class Fragment(Layout):
    source: int
    destination: int
    expires: int
    ip_id: int
    pad: int
    def __init__(
        self,
        *,
        source: int = ...,
        destination: int = ...,
        expires: int = ...,
        ip_id: int = ...,
        pad: int = ...,
    ) -> None: ...

class FragmentIdKey(Layout):
    source: int
    destination: int
    ip_id: int
    proto: int
    pad: int
    def __init__(
        self,
        *,
        source: int = ...,
        destination: int = ...,
        ip_id: int = ...,
        proto: int = ...,
        pad: int = ...,
    ) -> None: ...

class Address6(Layout):
    bytes: ctypes.Array[ctypes.c_uint8]
    def __init__(
        self,
        *,
        bytes: ctypes.Array[ctypes.c_uint8] | tuple[int, ...] = ...,
    ) -> None: ...

class Interned(Layout):
    bytes: ctypes.Array[ctypes.c_uint8]
    word: int
    host: int
    askers: ctypes.Array[ctypes.c_uint16]
    def __init__(
        self,
        *,
        bytes: ctypes.Array[ctypes.c_uint8] | tuple[int, ...] = ...,
        word: int = ...,
        host: int = ...,
        askers: ctypes.Array[ctypes.c_uint16] | tuple[int, ...] = ...,
    ) -> None: ...

class Config6(Layout):
    flags: int
    mss_clamp: int
    mss_turned: int
    prefix: ctypes.Array[ctypes.c_uint8]
    prefix_bits: int
    address: ctypes.Array[ctypes.c_uint8]
    lowest_mtu: int
    rest: ctypes.Array[ctypes.c_uint32]
    def __init__(
        self,
        *,
        flags: int = ...,
        mss_clamp: int = ...,
        mss_turned: int = ...,
        prefix: ctypes.Array[ctypes.c_uint8] | tuple[int, ...] = ...,
        prefix_bits: int = ...,
        address: ctypes.Array[ctypes.c_uint8] | tuple[int, ...] = ...,
        lowest_mtu: int = ...,
        rest: ctypes.Array[ctypes.c_uint32] | tuple[int, ...] = ...,
    ) -> None: ...

class AdmissionKey(Layout):
    to: ctypes.Array[ctypes.c_uint8]
    port: int
    proto: int
    pad: int
    def __init__(
        self,
        *,
        to: ctypes.Array[ctypes.c_uint8] | tuple[int, ...] = ...,
        port: int = ...,
        proto: int = ...,
        pad: int = ...,
    ) -> None: ...

class Admission(Layout):
    id: int
    flags: int
    hits: int
    def __init__(
        self,
        *,
        id: int = ...,
        flags: int = ...,
        hits: int = ...,
    ) -> None: ...

class AdmissionSourceKey(Layout):
    prefix_len: int
    id: int
    address: ctypes.Array[ctypes.c_uint8]
    def __init__(
        self,
        *,
        prefix_len: int = ...,
        id: int = ...,
        address: ctypes.Array[ctypes.c_uint8] | tuple[int, ...] = ...,
    ) -> None: ...

class PieceKey(Layout):
    source: int
    destination: int
    id: int
    dir: int
    def __init__(
        self,
        *,
        source: int = ...,
        destination: int = ...,
        id: int = ...,
        dir: int = ...,
    ) -> None: ...

class Pieces(Layout):
    seen: ctypes.Array[ctypes.c_uint64]
    expires: int
    pad: int
    def __init__(
        self,
        *,
        seen: ctypes.Array[ctypes.c_uint64] | tuple[int, ...] = ...,
        expires: int = ...,
        pad: int = ...,
    ) -> None: ...

class HandleRequest(Layout):
    op: int
    count: int
    handle: int
    error: int
    idle: int
    pad: int
    bytes: ctypes.Array[ctypes.c_uint8]
    def __init__(
        self,
        *,
        op: int = ...,
        count: int = ...,
        handle: int = ...,
        error: int = ...,
        idle: int = ...,
        pad: int = ...,
        bytes: ctypes.Array[ctypes.c_uint8] | tuple[int, ...] = ...,
    ) -> None: ...

class Control(Layout):
    op: int
    count: int
    port_index: int
    error: int
    owner: int
    flags: int
    age: int
    keys: ctypes.Array[SessionKey]
    def __init__(
        self,
        *,
        op: int = ...,
        count: int = ...,
        port_index: int = ...,
        error: int = ...,
        owner: int = ...,
        flags: int = ...,
        age: int = ...,
        keys: ctypes.Array[SessionKey] = ...,
    ) -> None: ...
