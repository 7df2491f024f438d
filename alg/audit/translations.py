"""What was translated to what, and when: the record that answers "who was behind this public port at that time".

The law of this file: pure types. Who makes such records, and where they go, is elsewhere; a place where they go is a
TranslationSink. Nothing here holds a byte that somebody sent: addresses, ports, counters and names of algate's own
alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple, Protocol

PROTOS = {6: "tcp", 17: "udp", 1: "icmp"}


class TranslationKind(StrEnum):
    """What happened. Of a mapping the public port was taken for an inside end point, or is free again."""

    SESSION_CREATED = "session-created"
    SESSION_ENDED = "session-ended"
    MAPPING_CREATED = "mapping-created"
    MAPPING_ENDED = "mapping-ended"
    BLOCK_ASSIGNED = "block-assigned"
    BLOCK_RELEASED = "block-released"

    __hash__ = str.__hash__  # that of Enum takes several times as long, and each record is looked up by its kind


class PackedEnd(NamedTuple):
    """An end point: a packed address, and a port in host order (ICMP: an id; of a host alone: 0)."""

    ip: bytes
    port: int

    def __str__(self) -> str:
        return f"{text_of(self.ip)}:{self.port}" if len(self.ip) == 4 else f"[{text_of(self.ip)}]:{self.port}"


@dataclass(frozen=True, slots=True)
class Translation:
    """One record. `time`: seconds since the epoch; `since`: when what ended had begun, 0 if that isn't known.

    `proto` is IANA's number, 0 of a block for all protocols. `public` is None of a session that isn't translated;
    `remote` is None of a mapping that serves every remote end point, and of a block. `session`: its id, 0 of what is no
    session. `alg`: the plug-in that watches it; `related`: the id of its control session, or 0. Of what ended, by
    direction (out, in): `octets` of IP packets and `packets`; `duration`: seconds from first to last packet; `state` as
    `sessions` has it. A block: `inside` is the host and `public` the address, each with port 0; `ports`: its first
    and last port.
    """

    kind: TranslationKind
    time: float
    proto: int
    inside: PackedEnd
    public: PackedEnd | None
    remote: PackedEnd | None = None
    session: int = 0
    alg: str | None = None
    related: int = 0
    since: float = 0.0
    octets: tuple[int, int] = (0, 0)
    packets: tuple[int, int] = (0, 0)
    duration: float = 0.0
    state: str = ""
    ports: tuple[int, int] = (0, 0)

    @property
    def proto_name(self) -> str:
        """As rows have it; "any" of a block for all protocols."""
        return PROTOS.get(self.proto) or (str(self.proto) if self.proto else "any")


class TranslationSink(Protocol):
    """Where records go. Its methods are called in the daemon's loop: they wait for nothing and raise nothing."""

    def take(self, translations: Sequence[Translation]) -> None:
        """Some records, in the order in which they happened; a sink passes over what it doesn't keep."""

    def lost(self, number: int) -> None:
        """So many records never came here: what a sink keeps has a gap at this place."""

    def close(self) -> None:
        """No more will come: write out what is kept back, within a moment."""


@lru_cache(maxsize=65536)
def text_of(ip: bytes) -> str:
    """A packed address as text."""
    return str(ip_address(ip))
