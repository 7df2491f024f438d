"""What the kernel has counted for one session, and how long it may idle.

The law of this file: one value of the table, judged; thousands of sessions are looked at twice a second, so this is
compiled. Rows for people are in listing.py.
"""

from __future__ import annotations

from typing import Final, Protocol

from algate.alg.audit.transfers import Counters
from algate.alg.gateway import records
from algate.alg.gateway.records import SessionValue
from algate.bpf import abi, syscall, ticks
from algate.bpf.packing import native
from algate.bpf.tables import Table

_S, _K = abi.SessionState, abi.TimeoutKind
RUNNING: Final = frozenset(map(int, (_S.NEW, _S.ESTABLISHED, _S.FIN_IN, _S.FIN_OUT, _S.UNREPLIED, _S.ACTIVE)))
_TCP, _ICMP = 6, 1
_RESET: Final = int(_S.RESET)
_OF_STATE: Final = {
    int(_S.NEW): int(_K.TCP_OPENING), int(_S.RESET): int(_K.TCP_RESET),
    **dict.fromkeys(map(int, (_S.ESTABLISHED, _S.FIN_IN, _S.FIN_OUT)), int(_K.TCP_ESTABLISHED)),
}  # fmt: skip
_OTHERWISE: Final = int(_K.TCP_CLOSING)
_OF_ICMP: Final = int(_K.ICMP)
_OF_UDP: Final = int(_K.UDP)
_BOTH: Final = frozenset(map(int, (_S.CLOSING, _S.TIME_WAIT)))
_FIN_OUT, _FIN_IN = int(_S.FIN_OUT), int(_S.FIN_IN)
_LATE_OUT, _LATE_IN = int(abi.StateBit.LATE_OUT), int(abi.StateBit.LATE_IN)


class Sessions(Protocol):
    """Of a loaded gateway."""

    @property
    def sessions(self) -> Table[abi.SessionKey, abi.Session]: ...

    @property
    def beginnings(self) -> Table[int, abi.Beginning]: ...


def timeout_kind(proto: int, state: int) -> int:
    """Index into config.timeouts, the same choice as state_timeout in session.h."""
    if proto == _TCP:
        return _OF_STATE.get(state, _OTHERWISE)
    return _OF_ICMP if proto == _ICMP else _OF_UDP  # others too, which only IPv6 has


def counters(gateway: Sessions, key: bytes, begins: bool = False) -> Counters | None:
    """What the kernel has counted for one session, by its packed key; `begins`: and where its data begins."""
    table = gateway.sessions
    raw = syscall.lookup(table.fd, key, table.value.size)
    if raw is None:
        return None
    value = records.unpack_session(raw)
    state = value.state
    ended = "" if state in RUNNING else "reset" if state == _RESET else "closed"
    lasted = ticks.whole(value.last_seen, ticks.count()) - ticks.of(value.id)  # it may be older than a wrap
    first = syscall.lookup(gateway.beginnings.fd, native(value.id, 8), records.BEGINNING_SIZE) if begins else None
    return tuple.__new__(Counters, (
        value.id, value.packets, value.octets, max(0, lasted) * ticks.SECONDS, ended, records.proto_of(key),
        (value.next_out, value.next_in), fins(value), None if first is None else records.unpack_beginning(first),
    ))  # fmt: skip


def fins(value: SessionValue) -> tuple[bool, bool]:
    """By direction, whether the number that its receiver expects next counts a FIN. Of a session that was reset nobody
    knows."""
    state, word = value.state, value.word
    both = state in _BOTH
    return (
        both or state == _FIN_OUT or bool(word & _LATE_OUT),
        both or state == _FIN_IN or bool(word & _LATE_IN),
    )
