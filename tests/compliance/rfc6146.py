"""NAT64: RFC 6146, 6052, 7915. IPv6 hosts inside, IPv4 hosts outside. The kernel has none, so its column says no; Tayga
keeps no sessions, and gives each inside host an IPv4 address of its own.

The law of this file: as scenarios.py's. That each packet is what the RFC says, byte by byte, tests/bpf shows.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Network

from tests.compliance import packet as pk
from tests.compliance import packet6 as p6
from tests.compliance import plan
from tests.compliance.bed import Ghost, Row
from tests.compliance.bed6 import Ghost6, Six
from tests.compliance.packet import ICMP, TCP, UDP, Ip, Packet
from tests.compliance.packet6 import EXCEEDED6, ICMP6, PARAMETER6, REPLY6, TOO_BIG, UNREACHABLE6, Ip6
from tests.compliance.verdict import MUST, SHOULD, need, requirement
from tests.rfc7915 import embed

PREFIX = IPv6Network(plan.NAT64)


def shown(host: Ghost | str) -> str:
    """How an IPv4 host looks from inside."""
    return str(embed(PREFIX, IPv4Address(host if isinstance(host, str) else host.ip)))


def turned(row: Row) -> Six:
    """The row's hosts; `row.public` is the first one's address outside."""
    need(not row.kernel, "the kernel has no NAT64")
    six = Six(row)
    row.public = public(row, six.lan1)
    return six


def public(row: Row, inside: Ghost6) -> str:
    """An inside host's address outside: of Tayga one of its own."""
    return str(row.bed.station.public(inside.ip)) if row.bed.name == "tayga" else row.public


async def out(row: Row, inside: Ghost6, sport: int, outside: Ghost, dport: int = 53, head: Ip6 | None = None) -> Packet:
    """A datagram from inside, as the outside host gets it."""
    tag = row.tag()
    inside.udp(sport, shown(outside), dport, tag, head)
    seen = await outside.get(proto=UDP, data=tag)
    need(seen, "a UDP packet from inside does not arrive outside")
    assert seen is not None
    need((seen.source, seen.dport) == (public(row, inside), dport), "it arrives with other ends")
    return seen


async def back(row: Row, outside: Ghost, sport: int, port: int, inside: Ghost6, own: int) -> bool:
    """Whether a datagram from outside to a public port arrives, under the prefix."""
    tag = row.tag()
    outside.udp(sport, public(row, inside), port, tag)
    seen = await inside.get(proto=UDP, data=tag)
    if seen is not None:
        need((seen.source, seen.sport, seen.dport) == (shown(outside), sport, own), "it arrives with other ends")
    return seen is not None


@requirement("64-1", MUST, "an IPv6 host reaches IPv4 servers, and is answered: UDP, TCP, echo", config="nat64")
async def reached(row: Row) -> None:
    six, sport = turned(row), row.port()
    seen = await out(row, six.lan1, sport, row.a1)
    need(await back(row, row.a1, 53, seen.sport, six.lan1, sport), "a UDP answer does not come back")
    six.lan1.tcp(sport, shown(row.a1), 80, "S", seq=1)
    syn = await row.a1.get(proto=TCP, dport=80)
    need(syn, "a SYN does not arrive")
    assert syn is not None
    row.a1.tcp(80, row.public, syn.sport, "SA", seq=5, ack=2)
    need(await six.lan1.get(proto=TCP, source=shown(row.a1), sport=80, dport=sport), "its answer does not come back")
    six.lan1.echo(shown(row.a1), sport, data=b"ping64")
    asked = await row.a1.get(proto=ICMP, kind=8, data=b"ping64")
    need(asked, "an echo does not arrive")
    assert asked is not None
    row.a1.echo(row.public, asked.sport, data=b"ping64", reply=True)
    need(await six.lan1.get(proto=ICMP6, kind=REPLY6, sport=sport), "its reply does not come back")


@requirement("64-2", MUST, "a source within the prefix is dropped; nothing else is translated", config="nat64")
async def loop(row: Row) -> None:
    six = turned(row)
    six.lan1.raw(p6.udp6(shown(row.a2), row.port(), shown(row.a1), 53, b"loop"))
    six.lan1.raw(p6.udp6(six.lan1.ip, row.port(), shown("127.0.0.1"), 53, b"loop"))
    six.lan1.raw(p6.udp6("2001:db8:dead::1", row.port(), shown(row.a1), 53, b"loop"))
    need(await row.a1.silent(data=b"loop"), "it passes")


@requirement("64-3", MUST, "endpoint-independent mapping; no two hosts share a public port", config="nat64")
async def mapping(row: Row) -> None:
    six, sport = turned(row), row.port()
    first = await out(row, six.lan1, sport, row.a1)
    need((await out(row, six.lan1, sport, row.a2)).sport == first.sport, "another destination gets another port")
    other = await out(row, six.lan2, sport, row.a1)
    row.lan1.udp(sport, row.a1.ip, 53, b"four")
    four = await row.a1.get(proto=UDP, data=b"four")
    need(four, "an IPv4 host's packet does not arrive")
    assert four is not None
    ends = {(one.source, one.sport) for one in (first, other, four)}
    need(len(ends) == 3, "two hosts have one public port")
    need(await back(row, row.a1, 53, other.sport, six.lan2, sport), "the second host gets no answer")


@requirement("64-3-filter", MUST, "filtering as configured: another peer is kept out", config="nat64")
async def filtering(row: Row) -> None:
    six, sport = turned(row), row.port()
    seen = await out(row, six.lan1, sport, row.a1)
    row.a2.udp(53, row.public, seen.sport, b"stray")
    row.a1.udp(54, row.public, seen.sport, b"stray")
    need(await six.lan1.silent(data=b"stray"), "it gets in")


@requirement("64-4-syn", MUST, "an unsolicited SYN meets silence for 6 s", config="nat64")
async def unsolicited(row: Row) -> None:
    six, sport = turned(row), row.port()
    six.lan1.tcp(sport, shown(row.a1), 80, "S", seq=1)
    syn = await row.a1.get(proto=TCP, dport=80)
    need(syn, "a SYN does not arrive")
    assert syn is not None
    row.a2.tcp(4444, row.public, syn.sport, "S", seq=77)
    need(await six.lan1.silent(proto=TCP, sport=4444), "it gets in")
    need(await row.a2.silent(6.2), "it is answered")


@requirement("64-5", SHOULD, "another protocol is answered by ICMPv6 1/4, of the gateway's own address", config="nat64")
async def protocols(row: Row) -> None:
    six = turned(row)
    six.lan1.raw(p6.ip6(six.lan1.ip, shown(row.a1), 47, bytes(20)))
    told = await six.lan1.get(proto=ICMP6, kind=UNREACHABLE6, code=4)
    need(told, "nobody says so")
    assert told is not None
    need(told.source == row.bed.lab.plan.inside6.split("::")[0] + "::1", "it comes from another address")


@requirement(
    "64-6", MUST, "hairpin: two IPv6 hosts by the prefix, the source shown as prefix and public address", config="nat64"
)
async def hairpin(row: Row) -> None:
    six, port, sport = turned(row), row.port(), row.port()
    first, tag = await out(row, six.lan2, port, row.a1), row.tag()
    own = await out(row, six.lan1, sport, row.a1)
    await out(row, six.lan2, port, row.a1)
    one, two = (shown(public(row, host)) for host in (six.lan1, six.lan2))
    six.lan2.udp(port, one, own.sport, tag)
    need(await six.lan1.silent(data=tag), "filtering doesn't hold for inside hosts")
    six.lan1.udp(sport, two, first.sport, b"open")
    six.lan2.udp(port, one, own.sport, tag)
    seen = await six.lan1.get(proto=UDP, data=tag)
    need(seen and (seen.source, seen.sport) == (two, first.sport), "it does not arrive as from outside")


@requirement(
    "64-7", MUST, "a static entry: the IPv4 side opens, and the host's port is that one outward", config="nat64"
)
async def static(row: Row) -> None:
    six = turned(row)
    server, port = six.fixed(plan.NAT64_TO), plan.NAT64_PORT
    if row.bed.name == "tayga":  # each of its hosts is mapped by the configuration, with all ports
        server, port = six.lan1, 53
    row.a1.udp(4444, row.public, port, b"knock")
    seen = await server.get(proto=UDP, data=b"knock")
    need(seen and (seen.source, seen.dport) == (shown(row.a1), 53), "it does not arrive")
    need((await out(row, server, 53, row.a2)).sport == port, "outward it has another port")


@requirement(
    "64-8", MUST, "header: hop limit down by one, traffic class kept, flow label gone, options dropped", config="nat64"
)
async def header(row: Row) -> None:
    six, sport = turned(row), row.port()
    head = Ip6(hops=40, kind=0xB8, flow=0x12345, chain=((p6.DSTOPTS, p6.PAD),))
    seen = await out(row, six.lan1, sport, row.a1, head=head)
    need((seen.raw[0], seen.raw[1]) == (0x45, 0xB8), "the traffic class is another, or options are there")
    need(seen.ttl == 38, "the hops don't count")
    row.a1.udp(53, row.public, seen.sport, b"answer", Ip(ttl=40))
    got = await six.lan1.get(proto=UDP, data=b"answer")
    need(got and got.raw[:4] == bytes((0x60, 0, 0, 0)) and got.ttl == 38, "inward the header is another")


@requirement("64-8-route", MUST, "segments left in a routing header: parameter problem there", config="nat64")
async def segments(row: Row) -> None:
    six, tag = turned(row), row.tag()
    for left, kind in ((0, 2), (1, 2), (1, 4)):
        chain = ((p6.HOPOPTS, p6.PAD), (p6.ROUTING, bytes((0, 2, kind, left)) + bytes(20)))
        await out(row, six.lan1, row.port(), row.a1, head=Ip6(chain=chain[:1]))
        six.lan1.udp(row.port(), shown(row.a1), 53, tag, Ip6(chain=chain))
        if not left:
            need(await row.a1.get(proto=UDP, data=tag), "one at its end does not pass")
            continue
        told = await six.lan1.get(proto=ICMP6, kind=PARAMETER6, code=0)
        need(told and told.raw[44:48] == bytes((0, 0, 0, 51)), "nobody says so, or points elsewhere")
        need(await row.a1.silent(data=tag), "it passes")


@requirement("64-9", MUST, "fragments in any order, both ways", config="nat64")
async def fragments(row: Row) -> None:
    six, sport = turned(row), row.port()
    seen = await out(row, six.lan1, sport, row.a1)
    data = row.tag() * 200
    for order in (1, -1):
        whole = p6.udp6(six.lan1.ip, sport, shown(row.a1), 53, data)
        for one in p6.fragments6(whole, 1024, row.port())[::order]:
            six.lan1.raw(one)
        got = await row.a1.whole(proto=UDP)
        need(got and (got.data, got.source, got.sport) == (data, row.public, seen.sport), "outward they are lost")
        for piece in pk.fragments(pk.udp(row.a1.ip, 53, row.public, seen.sport, data, Ip(ident=row.port())), 1024)[
            ::order
        ]:
            row.a1.raw(piece)
        back6 = await six.lan1.whole(proto=UDP)
        need(back6 and (back6.data, back6.source, back6.dport) == (data, shown(row.a1), sport), "inward they are lost")


@requirement("64-10", MUST, "path MTU: 20 bytes more inside, plateau values where a router names none", config="nat64")
async def path(row: Row) -> None:
    six, sport = turned(row), row.port()
    seen = await out(row, six.lan1, sport, row.a1)
    for told, wanted in ((1400, 1420), (0, 1280), (600, 1280)):
        row.a2.raw(pk.error(row.a2.ip, row.public, seen.raw, 3, 4, mtu=told))
        got = await six.lan1.get(proto=ICMP6, kind=TOO_BIG)
        need(got and (got.source, got.mtu) == (shown(row.a2), wanted), f"{told} outside is not {wanted} inside")


@requirement("64-11", MUST, "ICMP errors both ways, with the packet that they quote", config="nat64")
async def errors(row: Row) -> None:
    six, sport = turned(row), row.port()
    seen = await out(row, six.lan1, sport, row.a1)
    row.a1.error(row.public, seen.raw)
    got = await six.lan1.get(proto=ICMP6, kind=UNREACHABLE6, code=4)
    need(got and got.quote and (got.quote.sport, got.quote.destination) == (sport, shown(row.a1)), "inward it is lost")
    row.a1.udp(53, row.public, seen.sport, b"answer")
    answer = await six.lan1.get(proto=UDP, data=b"answer")
    need(answer, "an answer does not arrive")
    assert answer is not None
    six.lan1.error(shown(row.a1), answer)
    told = await row.a1.get(proto=ICMP, kind=3, code=3)
    need(told and told.quote and (told.quote.dport, told.source) == (seen.sport, row.public), "outward it is lost")


@requirement(
    "64-11-extension", MUST, "what errors carry behind their quote is kept in shape (RFC 4884)", config="nat64"
)
async def extensions(row: Row) -> None:
    six, sport = turned(row), row.port()
    seen = await out(row, six.lan1, sport, row.a1)
    label = bytes.fromhex("20000000 00080101 000641ff")
    for size in (8, 200):
        seen = await out(row, six.lan1, sport, row.a1) if size == 8 else await long_out(row, six, sport, size)
        quote = seen.raw[:160].ljust(128, b"\0")
        row.a2.raw(pk.icmp(row.a2.ip, row.public, 11, 0, bytes((0, len(quote) // 4, 0, 0)), quote + label))
        got = await six.lan1.get(proto=ICMP6, kind=EXCEEDED6)
        need(got and got.source == shown(row.a2), "inward it is lost")
        assert got is not None
        padded = max(128, -(-min(len(seen.raw) + 20, 180) // 8) * 8)
        need(got.raw[44] == padded // 8 and got.raw[48 + padded :] == label, "inward it has another shape")
    row.a1.udp(53, row.public, seen.sport, bytes(200))
    answer = await six.lan1.get(proto=UDP, source=shown(row.a1))
    need(answer, "an answer does not arrive")
    assert answer is not None
    six.lan1.raw(p6.icmp6(six.lan1.ip, shown(row.a1), EXCEEDED6, 0, bytes((18, 0, 0, 0)), answer.raw[:144] + label))
    told = await row.a1.get(proto=ICMP, kind=11)
    need(told and told.source == row.public, "outward it is lost")
    assert told is not None
    need((told.raw[25], told.raw[28 + 128 :]) == (32, label), "outward it has another shape")


async def long_out(row: Row, six: Six, sport: int, size: int) -> Packet:
    """A datagram of so many bytes, as the outside host gets it."""
    six.lan1.udp(sport, shown(row.a1), 53, bytes(size))
    seen = await row.a1.get(proto=UDP, data=bytes(size))
    need(seen, "a UDP packet from inside does not arrive outside")
    assert seen is not None
    return seen


@requirement("64-13", SHOULD, "where hops end, the gateway answers of its own addresses", config="nat64")
async def hops(row: Row) -> None:
    six, sport = turned(row), row.port()
    six.lan1.udp(sport, shown(row.a1), 53, b"far", Ip6(hops=1))
    got = await six.lan1.get(proto=ICMP6, kind=EXCEEDED6)
    need(got and got.source == row.bed.lab.plan.inside6.split("::")[0] + "::1", "nobody says so inside")
    seen = await out(row, six.lan1, sport, row.a1)
    row.a1.udp(53, row.public, seen.sport, b"far", Ip(ttl=2))
    told = await row.a1.get(proto=ICMP, kind=11)
    need(told and told.source == row.public, "nobody says so outside")
