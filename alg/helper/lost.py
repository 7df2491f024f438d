"""Connections that ended because their public address is no longer ours: their inside ends are told.

A gateway doesn't know the sequence numbers of a connection that it doesn't watch. But its inside end does: a segment
outside its window makes it say where it stands (RFC 9293 section 3.10.7.4), and that answer, of no session by now, is
answered with RST (refusals.py). So a client that only waits learns of it too. The outside end can't be told: whatever
it sends goes to an address that isn't ours.

Only these are answered. Another segment of no session may belong to a connection that never was ours: one through a VPN
whose route is away for a second, or one that began before the gateway did.

The law of this file: bytes and a queue; others tell it what ended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from algate.alg.gateway import records
from algate.alg.helper.segments import TCP, segment

MOST = 65536  # connections that may wait for their turn; others learn of it at their next segment
A_TICK = 4  # questions: the kernel passes on a hundred answers per second
ACK = 16


class Lost:
    """`tick` asks a few inside ends where they stand. `write`: to the TAP."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._waiting: deque[bytes] = deque(maxlen=MOST)
        self._gone: dict[tuple[bytes, int, bytes, int], None] = {}

    def note(self, keys: Iterable[bytes]) -> None:
        """Packed keys of sessions that were ended; those that aren't TCP have no end to be told."""
        for packed in keys:
            key = records.unpack_key(packed)
            if key.proto != TCP or not (key.inside_ip[0] and key.remote_ip[0]):  # IPv6 loses prefixes, not a mapping
                continue
            self._waiting.append(packed)
            self._gone[key.inside_ip, key.inside_port, key.remote_ip, key.remote_port] = None
            if len(self._gone) > MOST:
                del self._gone[next(iter(self._gone))]

    def gone(self, inside_ip: bytes, inside_port: int, remote_ip: bytes, remote_port: int) -> bool:
        """Whether such a connection was ended so."""
        return (inside_ip, inside_port, remote_ip, remote_port) in self._gone

    def tick(self) -> None:
        """Call it about every 50 ms."""
        for _ in range(min(A_TICK, len(self._waiting))):
            key = records.unpack_key(self._waiting.popleft())
            # Numbers that are in nobody's window but by a chance of 1 in thousands; the answer is the same then.
            self._write(segment(key.remote_ip, key.remote_port, key.inside_ip, key.inside_port, bytes(8), ACK))
