"""A row's hosts of IPv6: two inside, two outside, and one on the link between gateway and router.

The law of this file: as bed.py's. Without translation each end sees the other's own address.
"""

from __future__ import annotations

import itertools
from contextlib import suppress
from typing import Any

from algate.cli.lab.lab import LabPlan
from tests.compliance import packet6 as p6
from tests.compliance.bed import ARRIVE, Ghost, Row
from tests.compliance.packet import Packet
from tests.compliance.packet6 import ICMP6, Ip6
from tests.compliance.verdict import need

ETHERTYPE = b"\x86\xdd"
FIRST = 0x100  # of the rows' numbers
_numbers = itertools.count(FIRST)


class Ghost6(Ghost):
    """A host of IPv6; all that it sends has IPv6 headers."""

    def raw(self, packet: bytes, *, to_mac: bytes | None = None, tag: bytes = b"") -> bytes:
        self.wire.send((to_mac or self.hop) + self.mac + tag + ETHERTYPE + packet)
        return packet

    def udp(self, sport: int, to: str, dport: int, data: bytes = b"", head: Any = None, **more: Any) -> bytes:
        return self.raw(p6.udp6(self.ip, sport, to, dport, data, head, **more))

    def tcp(self, sport: int, to: str, dport: int, flags: str, **more: Any) -> bytes:
        return self.raw(p6.tcp6(self.ip, sport, to, dport, flags, **more))

    def echo(self, to: str, ident: int, **more: Any) -> bytes:
        return self.raw(p6.echo6(self.ip, to, ident, **more))

    def error(self, to: str, about: Packet | bytes, **more: Any) -> bytes:
        return self.raw(p6.error6(self.ip, to, about if isinstance(about, bytes) else about.raw, **more))

    async def whole(self, timeout: float = ARRIVE, **want: Any) -> Packet | None:
        """A packet reassembled from the fragments that arrive within `timeout` s."""
        first = await self.get(timeout, **want)
        parts = [first] if first else []
        while first is not None and first.fragment:
            made = p6.joined6(parts)
            more = made or await self.get(timeout, **want)
            if made or more is None:
                return made
            parts.append(more)
        return first


def inside_host(plan: LabPlan, letter: str, number: int) -> str:
    """The first ("a") or second ("b") of row `number`."""
    return f"{plan.inside6.split('::')[0]}::{letter}:{number:x}"


class Six:
    """The hosts of one row. `lan1`, `lan2` inside, `a1`, `a2` outside, `near` next to the gateway outside."""

    def __init__(self, row: Row) -> None:
        plan, bed, number = row.bed.lab.plan, row.bed, next(_numbers)
        outside, link = (text.split("::")[0] for text in (plan.servers6[0], plan.wan6))
        self.row = row
        self.lan1 = Ghost6(bed.inside[0], inside_host(plan, "a", number), bed.lan_mac)
        self.lan2 = Ghost6(bed.inside[1], inside_host(plan, "b", number), bed.lan_mac)
        self.a1 = Ghost6(bed.outside, f"{outside}::c:{number:x}", bed.router_mac)
        self.a2 = Ghost6(bed.outside, f"{outside}::d:{number:x}", bed.router_mac)
        self.near = Ghost6(bed.link, f"{link}::e:{number:x}", bed.wan_mac)
        row.ghosts += [self.lan1, self.lan2, self.a1, self.a2, self.near]

    def port(self) -> int:
        return self.row.port()

    def fixed(self, address: str) -> Ghost6:
        """The inside host with this address, as the configuration names it: the same for all rows."""
        wire = self.row.bed.inside[0]
        known = wire.ghosts.get(address)
        return known if isinstance(known, Ghost6) else Ghost6(wire, address, self.row.bed.lan_mac)

    async def passes(self, packet: bytes, sender: Ghost6, receiver: Ghost6, what: str, hops: int = 1) -> Packet:
        """It arrives as it was sent, but for the hop limit: `hops` further."""
        sender.raw(packet)
        wanted = packet
        for _ in range(hops):
            wanted = p6.hop_further(wanted)
        seen = await receiver.get(raw=lambda raw: raw[8:] == wanted[8:])
        need(seen, f"{what} does not arrive")
        assert seen is not None
        need(seen.raw == wanted, f"{what} arrives with another header")
        return seen

    async def stays(self, packet: bytes, sender: Ghost6, receiver: Ghost6, what: str) -> None:
        """It doesn't arrive, and nobody answers it."""
        sender.raw(packet)
        seen = await receiver.get(0.3, raw=lambda raw: raw[8:] == packet[8:])
        need(seen is None, f"{what} passes")
        with suppress(AttributeError):
            need(not sender.take(proto=ICMP6, kind=lambda kind: kind in range(1, 5)), f"{what} is answered")

    def datagram(self, sender: Ghost6, sport: int, receiver: Ghost6, dport: int, data: bytes = b"",
                 head: Ip6 | None = None) -> bytes:  # fmt: skip
        return p6.udp6(sender.ip, sport, receiver.ip, dport, data or self.row.tag(), head)

    async def ask(self, sport: int, dport: int = 53) -> None:
        """A UDP session of lan1's with a1 that has been answered."""
        await self.passes(self.datagram(self.lan1, sport, self.a1, dport), self.lan1, self.a1, "a UDP packet", 2)
        await self.passes(self.datagram(self.a1, dport, self.lan1, sport), self.a1, self.lan1, "its answer", 2)
