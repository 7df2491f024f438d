"""One host's sessions without a walk through everybody's: by the keys that the last sweep saw.

The law of this file: it never guesses. What it gives is all that the host has, since as many sessions were found alive
as the kernel counts for the host at this moment; if not, it gives nothing and says so. It costs 16 bytes a session.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from algate.bpf import abi, syscall
from algate.bpf.loader import Gateway
from algate.bpf.packing import native, spot

MOST = 65536  # sessions of a host that are looked up one by one: more are found as fast by a walk
TURN = 512  # lookups without a pause: a millisecond
KEY = abi.HEADER.structs["session_key"].size
HOST, _ = spot("session_key", "inside_ip")
STATE, _ = spot("session", "state")  # its low byte: above it are bits
DEAD = int(abi.SessionState.DEAD)


class Whereabouts:
    """Keys by part of the table, each part as it was read."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def sessions(self, gateway: Gateway, host: int) -> Iterator[list[tuple[bytes, bytes, int]] | None]:
        """None as often as others may have a turn; then all sessions of a host (as in struct session_key) in chunks of
        keys, values, number; or nothing if they aren't all known."""
        if not 0 <= self._count(gateway, host) <= MOST:
            return
        found: list[bytes] = []
        for number, part in enumerate(self.parts):
            found += keys_of(part, native(host, 4))
            if number % 64 == 63:
                yield None
        chunks, alive = [], 0
        for start in range(0, len(found), TURN):
            some = list(_alive(gateway, found[start : start + TURN]))
            alive += len(some)
            if some:
                chunks.append((b"".join([key for key, _ in some]), b"".join([value for _, value in some]), len(some)))
            yield None
        if self._count(gateway, host) == alive:
            yield chunks

    @staticmethod
    def _count(gateway: Gateway, host: int) -> int:
        """As the kernel counts them; -1: it doesn't, for this host alone."""
        counts = gateway.hosts.get(abi.MappingKey(inside_ip=host))
        return -1 if counts is None or counts.sessions >> 63 else counts.sessions


def _alive(gateway: Gateway, keys: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of those that are still there."""
    state = STATE
    for key, value in syscall.lookups(gateway.sessions.fd, keys, gateway.sessions.value.size):
        if value[state] != DEAD:
            yield key, value


def keys_of(part: bytes, host: bytes) -> Iterator[bytes]:
    """The keys with this inside address, packed: found as bytes, at the place where a key has it."""
    at = part.find(host)
    while at >= 0:
        start, off = divmod(at - HOST, KEY)
        if off == 0:
            yield part[start * KEY : start * KEY + KEY]
            at = part.find(host, at + KEY)
        else:
            at = part.find(host, at + 1)
