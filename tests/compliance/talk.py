"""Conversations through the gateway, from both ends: UDP and echo exchanges, TCP connections with true numbers.

The law of this file: it sends, and reports what arrived and how it was translated; it raises No only when a step that
every row needs (a mapping, a handshake) fails.
"""

from __future__ import annotations

from tests.compliance.bed import ARRIVE, SILENCE, Ghost, Row
from tests.compliance.packet import ICMP, TCP, UDP, Packet
from tests.compliance.verdict import No, need


async def map_udp(row: Row, inside: Ghost, sport: int, outside: Ghost, dport: int) -> tuple[str, int]:
    """One packet out; the public end point that the outside host saw."""
    tag = row.tag()
    inside.udp(sport, outside.ip, dport, tag)
    seen = await outside.get(proto=UDP, data=tag)
    need(seen, "a UDP packet from inside does not arrive outside")
    assert seen is not None
    need(seen.dport == dport, "the destination port changed on the way")
    return seen.source, seen.sport


PORTS_TO_TRY = 3  # another row's mapping may have got this port by the NAT's random choice; not three times in a row


async def kept_udp(row: Row, inside: Ghost, outside: Ghost) -> int:
    """Find a port that an inside host keeps as its public one."""
    for _ in range(PORTS_TO_TRY):
        sport = row.port()
        if (await map_udp(row, inside, sport, outside, 53))[1] == sport:
            return sport
    raise No("a free port is not kept")


async def reaches(row: Row, outside: Ghost, sport: int, public: tuple[str, int], inside: Ghost, port: int,
                  timeout: float = ARRIVE) -> bool:  # fmt: skip
    """Whether a UDP packet from outside to the public end point arrives at the inside one, from where it was sent."""
    tag = row.tag()
    outside.udp(sport, *public, tag)
    seen = await inside.get(timeout, proto=UDP, data=tag)
    if seen is None:
        return False
    need(
        (seen.source, seen.sport, seen.dport) == (outside.ip, sport, port), "an inbound packet arrives with other ends"
    )
    return True


async def refused(row: Row, outside: Ghost, sport: int, public: tuple[str, int], inside: Ghost, port: int) -> bool:
    return not await reaches(row, outside, sport, public, inside, port, SILENCE)


async def ping(row: Row, inside: Ghost, outside: Ghost, ident: int) -> int:
    """One echo request out and its reply back; the identifier that the outside host saw."""
    tag = row.tag()
    inside.echo(outside.ip, ident, data=tag)
    seen = await outside.get(proto=ICMP, kind=8, data=tag)
    need(seen, "an echo request does not arrive outside")
    assert seen is not None
    outside.echo(seen.source, seen.sport, data=tag, reply=True)
    back = await inside.get(proto=ICMP, kind=0, data=tag)
    need(back and back.sport == ident and back.source == outside.ip, "the echo reply does not come back")
    return seen.sport


class Connection:
    """A TCP connection between a ghost inside and one outside; `public` is how the outside knows the inside end."""

    def __init__(self, row: Row, inside: Ghost, sport: int, outside: Ghost, dport: int) -> None:
        self.row = row
        self.inside, self.sport = inside, sport
        self.outside, self.dport = outside, dport
        self.public = ("", 0)
        self.seq = [1000, 5000]  # next of the inside, next of the outside

    async def out(self, flags: str, data: bytes = b"", *, seq: int | None = None, ack: int | None = None,
                  timeout: float = ARRIVE) -> Packet | None:  # fmt: skip
        """A segment from inside; what arrived outside. Counts what it carries."""
        at = self.seq[0] if seq is None else seq
        reply = (self.seq[1] if ack is None else ack) if "A" in flags else 0
        self.inside.tcp(self.sport, self.outside.ip, self.dport, flags, seq=at, ack=reply, data=data)
        if seq is None:
            self.seq[0] += len(data) + ("S" in flags) + ("F" in flags)
        return await self.outside.get(timeout, proto=TCP, dport=self.dport, seq=at, data=data,
                                      flags=lambda f: set(f) == set(flags))  # fmt: skip

    async def back(self, flags: str, data: bytes = b"", *, seq: int | None = None, ack: int | None = None,
                   timeout: float = ARRIVE) -> Packet | None:  # fmt: skip
        """A segment from outside to the public end point; what arrived inside."""
        at = self.seq[1] if seq is None else seq
        reply = (self.seq[0] if ack is None else ack) if "A" in flags else 0
        self.outside.tcp(self.dport, *self.public, flags, seq=at, ack=reply, data=data)
        if seq is None:
            self.seq[1] += len(data) + ("S" in flags) + ("F" in flags)
        return await self.inside.get(timeout, proto=TCP, dport=self.sport, source=self.outside.ip, seq=at, data=data,
                                     flags=lambda f: set(f) == set(flags))  # fmt: skip

    async def syn(self) -> Connection:
        seen = await self.out("S")
        need(seen, "a SYN from inside does not arrive outside")
        assert seen is not None
        self.public = (seen.source, seen.sport)
        return self

    async def open(self) -> Connection:
        """The three-way handshake."""
        await self.syn()
        need(await self.back("SA"), "the SYN-ACK does not come back")
        need(await self.out("A"), "the handshake's last ACK does not arrive")
        return self

    async def works(self, timeout: float = ARRIVE) -> bool:
        """Data passes in both directions."""
        tag = self.row.tag()
        sent = await self.out("PA", tag, timeout=timeout)
        return bool(sent and (sent.source, sent.sport) == self.public and await self.back("PA", tag, timeout=timeout))

    async def inbound(self, timeout: float = ARRIVE) -> bool:
        """Whether data from outside still gets in (not counted: it may be lost)."""
        return await self.back("PA", self.row.tag(), seq=self.seq[1], timeout=timeout) is not None


async def connect(row: Row, inside: Ghost, outside: Ghost, dport: int = 80, sport: int = 0) -> Connection:
    return await Connection(row, inside, sport or row.port(), outside, dport).open()
