"""RFC 4787: what a NAT does with UDP. One scenario per requirement."""

from __future__ import annotations

import asyncio

from algate.alg.config.sections import Timeouts
from tests.compliance import packet as pk
from tests.compliance.bed import SILENCE, Row
from tests.compliance.packet import FRAG_NEEDED, PORT_UNREACHABLE, UDP, UNREACHABLE, Packet
from tests.compliance.talk import map_udp, reaches, refused
from tests.compliance.verdict import MAY, MUST, SHOULD, need, requirement

MUST_NOT, RECOMMENDED = "MUST NOT", "RECOMMENDED"


@requirement("4787-1", MUST, "one socket keeps one external port, whomever it sends to")
async def endpoint_independent(row: Row) -> None:
    sport = row.port()
    first = await map_udp(row, row.lan1, sport, row.a1, 53)
    need(first == await map_udp(row, row.lan1, sport, row.a1, 54), "another port of the same host sees another mapping")
    need(first == await map_udp(row, row.lan1, sport, row.a2, 53), "another host sees another mapping")
    # To show that it isn't luck: a neighbour holds the port that would be kept.
    other = await map_udp(row, row.lan2, sport, row.a1, 53)
    need(other == await map_udp(row, row.lan2, sport, row.a2, 99), "a translated port differs by destination")
    need(other == await map_udp(row, row.lan2, sport, row.a1, 98), "a translated port differs by destination port")


@requirement("4787-3", MUST_NOT, "two hosts never share an external port, whatever their destinations")
async def no_overloading(row: Row) -> None:
    sport = row.port()
    one = await map_udp(row, row.lan1, sport, row.a1, 53)
    need(one != await map_udp(row, row.lan2, sport, row.a1, 53), "two hosts share a port towards one destination")
    lower = row.port()
    one = await map_udp(row, row.lan1, lower, row.a1, 53)
    need(one != await map_udp(row, row.lan2, lower, row.a2, 53), "two hosts share a port towards two destinations")


@requirement("4787-3a", RECOMMENDED, "ports 0-1023 map to 0-1023, others to 1024-65535")
async def port_class(row: Row) -> None:
    for sport, low in ((600, True), (40007, False)):
        for lan in (row.lan1, row.lan2):
            _, port = await map_udp(row, lan, sport, row.a1, 53)
            need((port < 1024) == low, f"port {sport} maps to the other class")


@requirement("4787-4", RECOMMENDED, "even ports map to even ones, odd to odd ones (optional)", config="parity")
async def parity(row: Row) -> None:
    for sport in range(30000, 30012):  # by chance, one time in 4096
        for lan in (row.lan1, row.lan2):
            _, port = await map_udp(row, lan, sport, row.a1, 53)
            need(port % 2 == sport % 2, "the parity of a translated port changes")


@requirement("4787-5", MUST, "a UDP mapping outlives two minutes without packets", config="timers")
async def udp_timer(row: Row) -> None:
    sport = row.port()
    public = await map_udp(row, row.lan1, sport, row.a1, 53)
    await asyncio.sleep(2.2)  # 132 s
    need(await reaches(row, row.a1, 53, public, row.lan1, sport), "a reply after 132 s (scaled) is lost")


@requirement("4787-5c", RECOMMENDED, "a UDP mapping lives five minutes, and ends", config="timers")
async def udp_timer_recommended(row: Row) -> None:
    if not row.kernel:
        need(Timeouts().udp >= 300, "the default is less than 300 s")
    sport, other = row.port(), row.port()
    public = await map_udp(row, row.lan1, sport, row.a1, 53)
    gone = await map_udp(row, row.lan1, other, row.a1, 53)
    await asyncio.sleep(4.4)  # 264 s
    need(await reaches(row, row.a1, 53, public, row.lan1, sport), "a reply after 264 s (scaled) is lost")
    await asyncio.sleep(1.4)
    need(await refused(row, row.a1, 53, gone, row.lan1, other), "it never ends")


@requirement("4787-6", MUST, "outbound packets refresh a mapping", config="timers")
async def outbound_refresh(row: Row) -> None:
    sport = row.port()
    public = await map_udp(row, row.lan1, sport, row.a1, 53)
    for _ in range(5):
        await asyncio.sleep(1.5)
        need(public == await map_udp(row, row.lan1, sport, row.a1, 53), "the mapping changed under a one-way stream")
    need(await reaches(row, row.a1, 53, public, row.lan1, sport), "a reply after a one-way stream is lost")


@requirement("4787-6a", MAY, "inbound packets refresh a mapping", config="timers")
async def inbound_refresh(row: Row) -> None:
    sport = row.port()
    public = await map_udp(row, row.lan1, sport, row.a1, 53)
    for _ in range(5):
        await asyncio.sleep(1.5)
        alive = await reaches(row, row.a1, 53, public, row.lan1, sport, SILENCE)
        need(alive, "they don't: strangers could keep it alive")


@requirement("4787-8", RECOMMENDED, "filtering by address and port keeps strangers out (default)")
async def filter_apdf(row: Row) -> None:
    sport = row.port()
    public = await map_udp(row, row.lan1, sport, row.a1, 53)
    need(await reaches(row, row.a1, 53, public, row.lan1, sport), "the peer itself is kept out")
    need(await refused(row, row.a1, 54, public, row.lan1, sport), "another port of the peer gets in")
    need(await refused(row, row.a2, 53, public, row.lan1, sport), "a stranger gets in")


@requirement("4787-8-adf", RECOMMENDED, "filtering by address is selectable", config="adf")
async def filter_adf(row: Row) -> None:
    sport = row.port()
    public = await map_udp(row, row.lan1, sport, row.a1, 53)
    need(await refused(row, row.a2, 53, public, row.lan1, sport), "a stranger gets in")
    need(await reaches(row, row.a1, 54, public, row.lan1, sport), "another port of the peer is kept out")
    need(await reaches(row, row.a1, 55, public, row.lan1, sport), "a third port of the peer is kept out")


@requirement("4787-8-eif", RECOMMENDED, "endpoint-independent filtering is selectable", config="eif")
async def filter_eif(row: Row) -> None:
    sport = row.port()
    public = await map_udp(row, row.lan1, sport, row.a1, 53)
    need(await reaches(row, row.a2, 99, public, row.lan1, sport), "a stranger is kept out")
    tag = row.tag()
    row.lan1.udp(sport, row.a2.ip, 99, tag)
    seen = await row.a2.get(proto=UDP, data=tag)
    need(seen and (seen.source, seen.sport) == public, "the answer to a stranger leaves by another port")


@requirement("4787-9", MUST, "hairpin: inside hosts meet at their external ends", config="eif")
async def hairpin(row: Row) -> None:
    await hairpin_udp(row, punch=False)


@requirement("4787-9-filter", MUST, "hairpin under the default filtering, both sides sending")
async def hairpin_filtered(row: Row) -> None:
    await hairpin_udp(row, punch=True)


async def hairpin_udp(row: Row, *, punch: bool) -> None:
    """From lan1 to lan2's mapping, with the external source shown (9a); with `punch` lan2 sends first."""
    one, two = row.port(), row.port()
    p1 = await map_udp(row, row.lan1, one, row.a1, 53)
    p2 = await map_udp(row, row.lan2, two, row.a1, 53)
    if punch:
        row.lan2.udp(two, *p1, b"punch")
        await asyncio.sleep(0.1)
    tag = row.tag()
    row.lan1.udp(one, *p2, tag)
    seen = await row.lan2.get(proto=UDP, data=tag)
    need(seen, "a packet to the other's mapping does not arrive")
    assert seen is not None
    need((seen.source, seen.sport) == p1, f"it arrives from {'the inside' if seen.source != p1[0] else 'another port'}")
    need(seen.dport == two, "it arrives at another port")
    tag = row.tag()
    row.lan2.udp(two, seen.source, seen.sport, tag)
    back = await row.lan1.get(proto=UDP, data=tag)
    need(back and (back.source, back.sport) == p2 and back.dport == one, "the answer does not come back")


@requirement("4787-9a", MUST, "a hairpinned packet shows the external source, and its TTL went down", config="eif")
async def hairpin_source(row: Row) -> None:
    one, two = row.port(), row.port()
    p1 = await map_udp(row, row.lan1, one, row.a1, 53)
    p2 = await map_udp(row, row.lan2, two, row.a1, 53)
    row.lan1.udp(one, *p2, b"look")
    seen = await row.lan2.get(proto=UDP, data=b"look")
    need(seen and (seen.source, seen.sport) == p1, "no packet with the external source")
    need(seen and seen.ttl == 63, "its TTL did not go down by one")


@requirement("4787-10", SHOULD, "payloads of UDP are left alone")
async def no_udp_alg(row: Row) -> None:
    words = f"REGISTER sip:{row.lan1.ip} PORT {row.lan1.ip.replace('.', ',')},4,1".encode()
    for dport in (69, 5060, 137):
        row.lan1.udp(row.port(), row.a1.ip, dport, words)
        need(await row.a1.get(proto=UDP, dport=dport, data=words), "a payload was changed")


async def survives_icmp(row: Row, kind: int, code: int, mtu: int = 0) -> None:
    sport = row.port()
    public = await map_udp(row, row.lan1, sport, row.a1, 53)
    quoted = pk.udp(*public, row.a1.ip, 53, b"quoted bytes")
    row.a1.error(public[0], quoted, kind=kind, code=code, mtu=mtu)
    await row.lan1.get(proto=pk.ICMP)
    need(public == await map_udp(row, row.lan1, sport, row.a1, 53), "the mapping changed")
    need(await reaches(row, row.a1, 53, public, row.lan1, sport), "the session ended")


@requirement("4787-12", MUST_NOT, "an ICMP error ends no mapping")
async def icmp_keeps_mapping(row: Row) -> None:
    for kind, code, mtu in ((UNREACHABLE, PORT_UNREACHABLE, 0), (UNREACHABLE, FRAG_NEEDED, 1280), (pk.EXCEEDED, 0, 0),
                            (UNREACHABLE, pk.PROHIBITED, 0), (pk.QUENCH, 0, 0)):  # fmt: skip
        await survives_icmp(row, kind, code, mtu)


@requirement("4787-12a", SHOULD, "ICMP errors of any router on the path are translated")
async def icmp_from_router(row: Row) -> None:
    sport = row.port()
    public = await map_udp(row, row.lan1, sport, row.a1, 53)
    sent = pk.udp(row.lan1.ip, sport, row.a1.ip, 53, b"quoted bytes")
    for kind, code in ((UNREACHABLE, 1), (UNREACHABLE, FRAG_NEEDED), (pk.EXCEEDED, 0)):
        quoted = pk.udp(*public, row.a1.ip, 53, b"quoted bytes", pk.Ip(ttl=61))
        row.a2.error(public[0], quoted, kind=kind, code=code, size=None)
        seen = await row.lan1.get(proto=pk.ICMP, kind=kind, code=code)
        need(seen, f"type {kind} code {code} from a router does not arrive")
        assert seen is not None
        restored(seen, sent, row.a2.ip)


def restored(seen: Packet, sent: bytes, source: str) -> None:
    """An error quotes the packet that the receiver sent (but for TTL and checksums); its checksums are right."""
    need(seen.source == source, "the error's own source changed")
    quote, original = seen.quote, pk.parse(sent)
    need(quote is not None, "the error quotes nothing")
    assert quote is not None
    need((quote.source, quote.sport) == (original.source, original.sport), "the quoted source is not restored")
    need((quote.destination, quote.dport) == (original.destination, original.dport), "the quoted destination changed")
    need(not quote.wrong, "the quoted IP header's checksum is wrong")
    size = len(quote.raw)
    head = (sent[0] & 15) * 4
    need(quote.raw[head : head + 8] == sent[head : head + 8] or quote.proto == pk.TCP or size < head + 8,
         "the quoted transport header (its checksum) is not restored")  # fmt: skip


@requirement("4787-12b", SHOULD, "ICMP errors don't depend on the filtering")
async def icmp_through_filter(row: Row) -> None:
    await icmp_from_router(row)
