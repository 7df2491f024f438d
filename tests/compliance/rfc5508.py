"""RFC 5508: ICMP queries and errors. One scenario per requirement."""

from __future__ import annotations

import asyncio
import struct

from tests.compliance import packet as pk
from tests.compliance.bed import Ghost, Row
from tests.compliance.packet import ECHO, EXCEEDED, ICMP, PARAMETER, PORT_UNREACHABLE, TCP, UDP, UNREACHABLE, Ip
from tests.compliance.rfc4787 import MUST_NOT, restored
from tests.compliance.talk import connect, map_udp, ping, reaches
from tests.compliance.verdict import MAY, MUST, SHOULD, need, requirement

QUIET = 0.3


@requirement("5508-1", MUST, "an inside host can ping")
async def ping_out(row: Row) -> None:
    ident = row.port()
    await ping(row, row.lan1, row.a1, ident)
    await ping(row, row.lan2, row.a1, ident)


@requirement("5508-1-map", MUST_NOT, "two hosts' queries never share an identifier")
async def ping_apart(row: Row) -> None:
    ident = row.port()
    one = await ping(row, row.lan1, row.a1, ident)
    need(one != await ping(row, row.lan2, row.a1, ident), "two hosts have one identifier towards one destination")
    need(one != await ping(row, row.lan2, row.a2, ident), "two hosts have one identifier towards two destinations")


@requirement("5508-1a", SHOULD, "a query identifier maps to one, whatever the destination")
async def query_mapping(row: Row) -> None:
    ident = row.port()
    await ping(row, row.lan1, row.a1, ident)
    mapped = await ping(row, row.lan2, row.a1, ident)
    need(mapped == await ping(row, row.lan2, row.a2, ident), "the identifier differs by destination")


@requirement("5508-2", MUST_NOT, "a query's session outlives 60 s, and ends", config="timers")
async def query_timer(row: Row) -> None:
    ident, other = row.port(), row.port()
    seen = []
    for each in (ident, other):
        row.lan1.echo(row.a1.ip, each)
        got = await row.a1.get(proto=ICMP, kind=ECHO)
        need(got, "the request does not arrive")
        assert got is not None
        seen.append(got)
    await asyncio.sleep(1.6)  # 48 s
    row.a1.echo(seen[0].source, seen[0].sport, reply=True)
    need(await row.lan1.get(proto=ICMP, kind=0, sport=ident), "a reply after 48 s (scaled) is lost")
    await asyncio.sleep(0.8)
    row.a1.echo(seen[1].source, seen[1].sport, reply=True)
    need(await row.lan1.silent(proto=ICMP, kind=0, sport=other), "it never ends")


@requirement("5508-3", SHOULD, "an ICMP error with a wrong checksum is dropped")
async def bad_outer_sum(row: Row) -> None:
    sport = row.port()
    public = await map_udp(row, row.lan1, sport, row.a1, 53)
    row.a1.error(public[0], pk.udp(*public, row.a1.ip, 53, b"12345678"), size=None, bad_sum=True)
    need(await row.lan1.silent(QUIET, proto=ICMP), "it is passed on")


@requirement("5508-3a", SHOULD, "an ICMP error whose quoted IP header has a wrong checksum is dropped")
async def bad_inner_sum(row: Row) -> None:
    sport = row.port()
    public = await map_udp(row, row.lan1, sport, row.a1, 53)
    row.a1.error(public[0], pk.udp(*public, row.a1.ip, 53, b"12345678", Ip(bad_sum=True)), size=None)
    need(await row.lan1.silent(QUIET, proto=ICMP), "it is passed on")


@requirement("5508-3b", MUST, "IP options in a quoted packet are skipped")
async def inner_options(row: Row) -> None:
    sport = row.port()
    public = await map_udp(row, row.lan1, sport, row.a1, 53)
    head = Ip(options=bytes([7, 7, 4, 0, 0, 0, 0, 0]))  # record route, RFC 791
    row.a1.error(public[0], pk.udp(*public, row.a1.ip, 53, b"12345678", head), size=16)
    seen = await row.lan1.get(proto=ICMP)
    need(seen, "an error about a packet with options does not arrive")
    assert seen is not None
    restored(seen, pk.udp(row.lan1.ip, sport, row.a1.ip, 53, b"12345678", head), row.a1.ip)


@requirement("5508-3c", SHOULD, "a wrong transport checksum in the quote is nobody's business")
async def inner_transport_sum(row: Row) -> None:
    sport = row.port()
    public = await map_udp(row, row.lan1, sport, row.a1, 53)
    quoted = bytearray(pk.udp(*public, row.a1.ip, 53, b"12345678"))
    quoted[26:28] = b"\x12\x34"
    row.a1.error(public[0], bytes(quoted), size=None)
    need(await row.lan1.get(proto=ICMP), "the error does not arrive")


@requirement("5508-4", MUST, "inbound errors are restored: UDP, TCP, echo; 8 and 128 bytes quoted")
async def errors_in(row: Row) -> None:
    for size in (8, 128, None):
        for quote in (_quote_udp, _quote_plain_udp, _quote_tcp, _quote_echo):
            await quote(row, size)


async def _quote_udp(row: Row, size: int | None, no_sum: bool = False) -> None:
    sport = row.port()
    public = await map_udp(row, row.lan1, sport, row.a1, 53)
    data = b"d" * 160
    inner = pk.udp(*public, row.a1.ip, 53, data, no_sum=no_sum)
    await _returns(row, inner, pk.udp(row.lan1.ip, sport, row.a1.ip, 53, data, no_sum=no_sum), size, "UDP")


async def _quote_plain_udp(row: Row, size: int | None) -> None:
    await _quote_udp(row, size, no_sum=True)


async def _quote_tcp(row: Row, size: int | None) -> None:
    conversation = await connect(row, row.lan1, row.a1)
    data = b"d" * 160
    inner = pk.tcp(*conversation.public, row.a1.ip, 80, "PA", conversation.seq[0], conversation.seq[1], data)
    sent = pk.tcp(row.lan1.ip, conversation.sport, row.a1.ip, 80, "PA", conversation.seq[0], conversation.seq[1], data)
    await _returns(row, inner, sent, size, "TCP")


async def _quote_echo(row: Row, size: int | None) -> None:
    ident = row.port()
    mapped = await ping(row, row.lan1, row.a1, ident)
    data = b"d" * 160
    await _returns(row, pk.echo(row.public, row.a1.ip, mapped, data=data),
                   pk.echo(row.lan1.ip, row.a1.ip, ident, data=data), size, "echo")  # fmt: skip


async def _returns(row: Row, inner: bytes, sent: bytes, size: int | None, what: str) -> None:
    row.a2.error(row.public, inner, size=size)
    seen = await row.lan1.get(proto=ICMP, kind=UNREACHABLE)
    words = f"{what} with {size or 'all'} bytes quoted"
    need(seen, f"an error about {words} does not arrive")
    assert seen is not None and seen.quote is not None
    restored(seen, sent, row.a2.ip)
    need(seen.quote.raw == sent[: len(seen.quote.raw)], f"the quote of {words} is not the packet that was sent")


@requirement("5508-4-none", SHOULD, "an error about no session is dropped")
async def error_without_session(row: Row) -> None:
    port = row.port()
    row.a1.error(row.public, pk.udp(row.public, port, row.a1.ip, 53, b"12345678"))
    need(await row.lan1.silent(QUIET, proto=ICMP), "it goes inside")
    public = await map_udp(row, row.lan1, row.port(), row.a1, 53)
    row.a2.error(row.public, pk.udp(*public, row.a2.ip, 53, b"12345678"))
    need(
        await row.lan1.silent(QUIET, proto=ICMP), "an error about a packet that was never sent to that host goes inside"
    )


@requirement("5508-5", MUST, "errors of inside hosts are translated outwards")
async def errors_out(row: Row) -> None:
    sport = row.port()
    public = await map_udp(row, row.lan1, sport, row.a1, 53)
    for size in (8, 128):
        sent = row.a1.udp(53, *public, b"d" * 160)
        got = await row.lan1.get(proto=UDP, data=b"d" * 160)
        need(got, "a reply does not arrive")
        assert got is not None
        row.lan1.error(row.a1.ip, got, size=size)
        seen = await row.a1.get(proto=ICMP)
        need(seen, "an error from inside does not arrive outside")
        assert seen is not None
        need((seen.kind, seen.code) == (UNREACHABLE, PORT_UNREACHABLE), "type or code changed")
        restored(seen, sent, row.public)
    conversation = await connect(row, row.lan1, row.a1)
    row.a1.tcp(80, *conversation.public, "PA", seq=conversation.seq[1], ack=conversation.seq[0], data=b"data")
    got = await row.lan1.get(proto=TCP, data=b"data")
    assert got is not None
    row.lan1.error(row.a1.ip, got, code=13)
    seen = await row.a1.get(proto=ICMP, code=13)
    need(seen and seen.source == row.public and seen.quote, "an error about TCP from inside does not arrive outside")
    need(seen and seen.quote and (seen.quote.destination, seen.quote.dport) == conversation.public,
         "its quote is not restored")  # fmt: skip


@requirement("5508-6", MUST_NOT, "an error about a query neither refreshes nor ends it", config="timers")
async def error_leaves_timer(row: Row) -> None:
    early, late = row.port(), row.port()
    for ident in (early, late):
        row.lan1.echo(row.a1.ip, ident)
    seen = [await row.a1.get(proto=ICMP, kind=ECHO) for _ in range(2)]
    need(all(seen), "a request does not arrive")
    await asyncio.sleep(1.3)
    for got in seen:
        assert got is not None
        row.a2.error(row.public, pk.echo(row.public, row.a1.ip, got.sport))
    need(await row.lan1.get(proto=ICMP, kind=UNREACHABLE), "the error does not arrive")
    assert seen[0] is not None and seen[1] is not None
    row.a1.echo(row.public, seen[0].sport, reply=True)
    need(await row.lan1.get(proto=ICMP, kind=0), "the error ended the session")
    await asyncio.sleep(1.1)
    row.a1.echo(row.public, seen[1].sport, reply=True)
    need(await row.lan1.silent(proto=ICMP, kind=0), "the error kept the session alive")


@requirement("5508-7", MUST, "errors about hairpinned packets come back", config="eif")
async def hairpin_error(row: Row) -> None:
    one, two = row.port(), row.port()
    p1 = await map_udp(row, row.lan1, one, row.a1, 53)
    p2 = await map_udp(row, row.lan2, two, row.a1, 53)
    sent = row.lan1.udp(one, *p2, b"hairpin!")
    got = await row.lan2.get(proto=UDP, data=b"hairpin!")
    need(got and (got.source, got.sport) == p1, "the hairpinned packet does not arrive")
    assert got is not None
    row.lan2.error(got.source, got)
    seen = await row.lan1.get(proto=ICMP)
    need(seen, "the error does not come back")
    assert seen is not None
    restored(seen, sent, row.public)


@requirement("5508-10", MUST, "unreachable, time exceeded, parameter problem and echo are supported")
async def kinds(row: Row) -> None:
    sport = row.port()
    public = await map_udp(row, row.lan1, sport, row.a1, 53)
    for kind, code in [(UNREACHABLE, code) for code in (0, 1, 2, 3, 4, 5, 9, 10, 13)] + [(EXCEEDED, 0), (EXCEEDED, 1),
                                                                                        (PARAMETER, 0)]:  # fmt: skip
        row.a2.error(public[0], pk.udp(*public, row.a1.ip, 53, b"12345678"), kind=kind, code=code)
        need(await row.lan1.get(proto=ICMP, kind=kind, code=code), f"type {kind} code {code} does not arrive")
    need(await reaches(row, row.a1, 53, public, row.lan1, sport), "the session ended")


@requirement("5508-10-trace", MUST, "traceroute (UDP, ICMP, TCP) works and shows the gateway as a hop")
async def traceroute(row: Row) -> None:
    hops = {1: row.bed.lab.plan.gateway, 2: row.bed.lab.plan.next_hop}
    for send in (_trace_udp, _trace_icmp, _trace_tcp):
        for ttl in (1, 2, 3):
            sent, arrived = await send(row, row.lan1, ttl)
            if ttl == 3:
                need(arrived, f"{send.__name__[7:]}: TTL 3 does not reach the host")
                continue
            need(not arrived, f"{send.__name__[7:]}: TTL {ttl} reaches the host: a hop does not count")
            seen = await row.lan1.get(proto=ICMP, kind=EXCEEDED)
            need(seen, f"{send.__name__[7:]}: no answer from hop {ttl}")
            assert seen is not None
            restored(seen, sent, hops[ttl])


async def _arrives(row: Row, ttl: int, **want: int) -> bool:
    return await row.a1.get(1.0 if ttl == 3 else 0.2, **want) is not None


async def _trace_udp(row: Row, lan: Ghost, ttl: int) -> tuple[bytes, bool]:
    sent = lan.udp(row.port(), row.a1.ip, 33434 + ttl, b"trace", Ip(ttl=ttl))
    return sent, await _arrives(row, ttl, proto=UDP, dport=33434 + ttl)


async def _trace_icmp(row: Row, lan: Ghost, ttl: int) -> tuple[bytes, bool]:
    sent = lan.echo(row.a1.ip, row.port(), head=Ip(ttl=ttl))
    return sent, await _arrives(row, ttl, proto=ICMP, kind=ECHO)


async def _trace_tcp(row: Row, lan: Ghost, ttl: int) -> tuple[bytes, bool]:
    sent = lan.tcp(row.port(), row.a1.ip, 80, "S", seq=1, head=Ip(ttl=ttl))
    return sent, await _arrives(row, ttl, proto=TCP, dport=80)


@requirement("5508-10-opt", MAY, "other queries (timestamp) work")
async def timestamp(row: Row) -> None:
    row.lan1.raw(pk.icmp(row.lan1.ip, row.a1.ip, 13, 0, struct.pack("!HH", 7, 1), bytes(12)))
    need(await row.a1.get(0.4, proto=ICMP, kind=13), "timestamp requests are not translated")
