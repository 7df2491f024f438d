"""Fragments in any order, both directions, every protocol; floods of them; hairpinned ones."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

from tests.compliance import packet as pk
from tests.compliance.bed import Ghost, Row
from tests.compliance.packet import ICMP, UDP, Ip, Packet
from tests.compliance.talk import connect, map_udp, ping
from tests.compliance.verdict import MUST, need, requirement

Order = Callable[[list[bytes]], list[bytes]]
LOAD = bytes(range(256)) * 10
IDENTS = itertools.count(100)


def in_order(parts: list[bytes]) -> list[bytes]:
    return parts


def backwards(parts: list[bytes]) -> list[bytes]:
    return parts[::-1]


def tail_first(parts: list[bytes]) -> list[bytes]:
    return [parts[-1], *parts[:-1]]


def doubled(parts: list[bytes]) -> list[bytes]:
    return [part for part in parts for _ in range(2)]


async def through(row: Row, packet: bytes, sender: Ghost, receiver: Ghost, order: Order, what: str) -> Packet:
    """Send in pieces; returns the packet that the receiver reassembled, with checksums verified."""
    for part in order(pk.fragments(packet, 1000 // 8 * 8)):
        sender.raw(part)
    seen = await receiver.whole(1.2, proto=packet[9])
    need(seen, f"{what} does not arrive whole")
    assert seen is not None
    need(not seen.wrong, f"{what}: wrong checksum")
    receiver.inbox.clear()
    return seen


async def both_ways(row: Row, order: Order) -> None:
    """UDP, echo and TCP, out and in."""
    await udp_ways(row, order)
    ident = row.port()
    mapped = await ping(row, row.lan1, row.a1, ident)
    echo = pk.echo(row.lan1.ip, row.a1.ip, ident, data=LOAD, head=Ip(ident=next(IDENTS)))
    seen = await through(row, echo, row.lan1, row.a1, order, "an echo request from inside")
    need(seen.sport == mapped and seen.data == LOAD, "an echo request from inside arrives changed")
    reply = pk.echo(row.a1.ip, row.public, mapped, data=LOAD, reply=True, head=Ip(ident=next(IDENTS)))
    seen = await through(row, reply, row.a1, row.lan1, order, "an echo reply")
    need(seen.sport == ident and seen.data == LOAD, "an echo reply arrives changed")
    c = await connect(row, row.lan1, row.a1)
    head = Ip(ident=next(IDENTS))
    segment = pk.tcp(row.lan1.ip, c.sport, row.a1.ip, 80, "PA", c.seq[0], c.seq[1], LOAD, head)
    seen = await through(row, segment, row.lan1, row.a1, order, "a TCP segment from inside")
    need((seen.source, seen.sport) == c.public and seen.data == LOAD, "a TCP segment arrives changed")
    segment = pk.tcp(row.a1.ip, 80, *c.public, "PA", c.seq[1], c.seq[0] + len(LOAD), LOAD, head)
    seen = await through(row, segment, row.a1, row.lan1, order, "a TCP segment from outside")
    need(seen.dport == c.sport and seen.data == LOAD, "a TCP segment arrives changed")


async def udp_ways(row: Row, order: Order) -> None:
    sport = row.port()
    public = await map_udp(row, row.lan1, sport, row.a1, 53)
    sent = pk.udp(row.lan1.ip, sport, row.a1.ip, 53, LOAD, Ip(ident=next(IDENTS)))
    seen = await through(row, sent, row.lan1, row.a1, order, "a UDP packet from inside")
    need((seen.source, seen.sport) == public and seen.data == LOAD, "a UDP packet from inside arrives changed")
    answer = pk.udp(row.a1.ip, 53, *public, LOAD, Ip(ident=next(IDENTS)))
    seen = await through(row, answer, row.a1, row.lan1, order, "a UDP packet from outside")
    need(seen.dport == sport and seen.data == LOAD, "a UDP packet from outside arrives changed")


@requirement("4787-14", MUST, "fragments in order pass: UDP, TCP, echo, both directions")
async def ordered(row: Row) -> None:
    await both_ways(row, in_order)


@requirement("4787-14-reverse", MUST, "fragments in reverse order pass")
async def reversed_order(row: Row) -> None:
    await both_ways(row, backwards)


@requirement("4787-14-tail", MUST, "fragments with the last one first pass")
async def last_first(row: Row) -> None:
    await both_ways(row, tail_first)


@requirement("4787-14-double", MUST, "duplicated fragments pass, both directions")
async def duplicated(row: Row) -> None:
    await udp_ways(row, doubled)


@requirement("4787-14-first", MUST, "a session may begin with a fragmented packet, in any order")
async def first_packet(row: Row) -> None:
    for order in (in_order, backwards):
        sport = row.port()
        sent = pk.udp(row.lan1.ip, sport, row.a1.ip, 53, LOAD, Ip(ident=next(IDENTS)))
        seen = await through(row, sent, row.lan1, row.a1, order, f"a first packet, fragments {order.__name__}")
        need(seen.source == row.public, "it leaves untranslated")


@requirement("4787-14-overlap", MUST, "overlapping fragments do no harm: nothing leaves untranslated")
async def overlapping(row: Row) -> None:
    sport = row.port()
    await map_udp(row, row.lan1, sport, row.a1, 53)
    sent = pk.udp(row.lan1.ip, sport, row.a1.ip, 53, LOAD, Ip(ident=next(IDENTS)))
    parts = pk.fragments(sent, 1000)
    seen = pk.parse(sent)
    evil = pk.ip(row.lan1.ip, row.a1.ip, UDP, b"\xff" * 64, Ip(ident=seen.ident, mf=True, offset=0))
    for part in (parts[0], evil, *parts[1:]):
        row.lan1.raw(part)
    await asyncio.sleep(0.3)
    need(all(one.source == row.public for one in row.a1.inbox), "a fragment leaves untranslated")
    whole = await row.a1.whole(0.05, proto=UDP)
    need(whole is None or (whole.sport == sport and whole.dport == 53), "ports of a whole packet changed")
    row.a1.inbox.clear()
    await udp_ways(row, in_order)


@requirement("4787-14-hairpin", MUST, "fragmented packets are hairpinned, in any order", config="eif")
async def hairpinned(row: Row) -> None:
    one, two = row.port(), row.port()
    p1 = await map_udp(row, row.lan1, one, row.a1, 53)
    p2 = await map_udp(row, row.lan2, two, row.a1, 53)
    for order in (in_order, backwards):
        sent = pk.udp(row.lan1.ip, one, *p2, LOAD, Ip(ident=next(IDENTS)))
        seen = await through(row, sent, row.lan1, row.lan2, order, f"a hairpinned packet, fragments {order.__name__}")
        need((seen.source, seen.sport, seen.dport) == (*p1, two) and seen.data == LOAD, "it arrives with other ends")


@requirement("4787-14a", MUST, "a flood of lone tails disturbs nobody", alone=True)
async def flood(row: Row) -> None:
    c = await connect(row, row.lan1, row.a1)
    sport = row.port()
    public = await map_udp(row, row.lan1, sport, row.a1, 53)
    for number in range(8000):
        head = Ip(ident=number & 0xFFFF, offset=1480)
        row.lan2.raw(pk.ip(f"10.77.{64 + number // 4096}.{number % 250 + 1}", row.a1.ip, UDP, bytes(32), head))
        if number % 2 == 0:
            row.a2.raw(pk.ip(row.a2.ip, row.public, UDP, bytes(32), head))
        if number % 400 == 0:
            need(await c.works(), "a running connection loses segments")
    sent = pk.udp(row.lan1.ip, sport, row.a1.ip, 53, LOAD, Ip(ident=next(IDENTS)))
    row.a1.inbox.clear()
    seen = await through(row, sent, row.lan1, row.a1, in_order, "a true fragmented packet after the flood")
    need((seen.source, seen.sport) == public, "a true fragmented packet arrives changed")
    seen = await through(row, pk.udp(row.lan1.ip, sport, row.a1.ip, 53, LOAD, Ip(ident=next(IDENTS))), row.lan1, row.a1,
                         backwards, "a true packet with its fragments in reverse after the flood")  # fmt: skip
    need(await c.works(), "the running connection died")


@requirement("4787-14-own", MUST, "a long ping of the gateway itself is answered, whichever fragment comes first")
async def own(row: Row) -> None:
    for ident, order in ((1, slice(None)), (2, slice(None, None, -1))):
        load = bytes(range(256)) * 12
        for part in pk.fragments(pk.echo(row.a1.ip, row.public, ident, data=load, head=Ip(ident=next(IDENTS))), 1200)[
            order
        ]:
            row.a1.raw(part)
        reply = await row.a1.whole(3.0, proto=ICMP, source=row.public)
        need(reply and reply.data == load, "no answer" if ident == 1 else "no answer to one whose last part came first")
