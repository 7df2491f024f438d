"""The sweep: finds what looks expired in a walk over the sessions, and lets the kernel check and delete it.

The law of this file: user space only proposes. A session that was refreshed meanwhile is kept by the control program.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Iterator, Sequence

from algate.alg.listing import WRAP, now_tick, timeout_kind
from algate.alg.settings import ticks
from algate.bpf import abi
from algate.bpf.control import AGED_ROWS, Control
from algate.bpf.loader import Gateway

KEY = 16
_AT = {name: getattr(abi.Session, name).offset for name in ("state", "last_seen", "related", "id", "alg")}
STATE_AT, SEEN_AT, RELATED_AT, ID_AT, ALG_AT = _AT.values()
VALUE = ctypes.sizeof(abi.Session)
FULL = 0.9  # of max_sessions: from here on sessions without an answer are reclaimed
EMBRYONIC = (int(abi.SessionState.NEW),)
EMBRYONIC_IDLE = ticks(0.1)  # far below a SYN's first repetition after 1 s (RFC 6298 section 2.1), which makes it anew


class Sweep:
    """One sweep in slices: `for _ in sweep.run(): <let others work>`. What it found is in the attributes afterwards."""

    def __init__(self, gateway: Gateway, control: Control) -> None:
        self._gateway = gateway
        self._control = control
        self.seen = 0
        self.deleted = 0
        self.live_parents: set[int] = set()
        self.control_ids: dict[int, bytes] = {}
        self.by_state: Counter[int] = Counter()
        self.full = False
        self.reclaimed = 0
        self._embryonic: list[tuple[int, bytes]] = []

    def run(self) -> Iterator[None]:
        """Yield after each batch of entries."""
        timeouts: Sequence[int] = list(self._gateway.configs[0].timeouts)
        limits = {
            (proto, state): timeouts[timeout_kind(proto, state)]
            for proto in (1, 6, 17)
            for state in range(max(abi.SessionState) + 1)
        }
        for keys, values, count in self._gateway.sessions.chunks():
            expired = self._judge(keys, values, count, limits)
            self.seen += count
            if expired:
                self.deleted += self._control.keys(abi.ControlOp.SWEEP, expired)
            yield
        self._refresh_parents()
        self.full = self.seen - self.deleted > FULL * self._gateway.max_sessions
        if self.full:
            self._reclaim()

    def _reclaim(self) -> None:
        """Make room: sessions that nobody ever answered go first, the longest idle before the others."""
        wanted = max(1, self._gateway.max_sessions // 4)
        oldest = sorted(self._embryonic, reverse=True)[:wanted]
        self.reclaimed = self._control.keys(abi.ControlOp.KILL, [key for _, key in oldest])

    def _judge(self, keys: bytes, values: bytes, count: int, limits: dict[tuple[int, int], int]) -> list[bytes]:
        now = now_tick()
        expired = []
        for place in range(count):
            at = place * VALUE
            proto, state = keys[place * KEY + 12], values[at + STATE_AT]
            seen = int.from_bytes(values[at + SEEN_AT : at + SEEN_AT + 4], "little")
            idle = (now - seen) % WRAP
            if limits.get((proto, state), 0) <= idle < WRAP // 2:
                expired.append(keys[place * KEY : place * KEY + KEY])
                continue
            self.by_state[state] += 1
            if state in EMBRYONIC and idle > EMBRYONIC_IDLE:
                self._embryonic.append((idle, keys[place * KEY : place * KEY + KEY]))
            related = values[at + RELATED_AT : at + RELATED_AT + 8]
            if related != bytes(8):
                self.live_parents.add(int.from_bytes(related, "little"))
            if values[at + ALG_AT]:
                identity = int.from_bytes(values[at + ID_AT : at + ID_AT + 8], "little")
                self.control_ids[identity] = keys[place * KEY : place * KEY + KEY]
        return expired

    def age_ports(self) -> Iterator[None]:
        """Have the kernel look at every group of ports of which the bitmap says that some are taken."""
        groups: set[int] = set()
        words = AGED_ROWS // 64
        for keys, values, count in self._gateway.port_bits.chunks():
            for place in range(count):
                if values[place * 8 : place * 8 + 8] != bytes(8):
                    at = int.from_bytes(keys[place * 4 : place * 4 + 4], "little")
                    block, word = divmod(at, abi.BITMAP_BLOCK)
                    if word < abi.BITMAP_WORDS:
                        groups.add((block << 16) + word // words * AGED_ROWS)
            yield
        for number, row in enumerate(sorted(groups)):
            self._control.age_ports(row)
            if number % 32 == 31:
                yield

    def _refresh_parents(self) -> None:
        """A control session lives as long as one of its data connections does (FTP-73)."""
        keys = [self.control_ids[one] for one in self.live_parents if one in self.control_ids]
        if keys:
            self._control.keys(abi.ControlOp.REFRESH, keys)
