"""Several inside devices, one without Ethernet headers: all are translated, and none can send as another."""

from __future__ import annotations

from tests.compliance import packet as pk
from tests.compliance.bed import Ghost, Row
from tests.compliance.packet import ICMP, TCP, UDP
from tests.compliance.talk import Connection, map_udp, ping, reaches
from tests.compliance.verdict import MUST, SHOULD, need, requirement


def _others(row: Row) -> tuple[Ghost, Ghost]:
    """A host on the second LAN device, and one on the bare device."""
    return row.bed.host_second(), row.bed.host_bare()


@requirement("S-lans", MUST, "hosts of several LAN devices are translated, one without Ethernet headers among them")
async def several(row: Row) -> None:
    sport, used = row.port(), set()
    for host in (row.lan1, *_others(row)):
        public = await map_udp(row, host, sport, row.a1, 53)
        need(public[0] == row.public, "the source is not the public address")
        used.add(public)
        need(await reaches(row, row.a1, 53, public, host, sport), "an answer doesn't come back")
        await ping(row, host, row.a1, sport)
        connection = await Connection(row, host, sport, row.a1, 80).open()
        need(connection.public[0] == row.public, "a connection shows another source")
    need(len(used) == 3, "hosts of two LANs share a port")


@requirement("S-lans-between", MUST, "LANs reach each other, forwarded and untranslated")
async def between(row: Row) -> None:
    second, bare = _others(row)
    for one, other in ((row.lan1, second), (second, bare), (bare, row.lan1)):
        for here, there in ((one, other), (other, one)):
            here.udp(4000, there.ip, 4001, b"over")
            seen = await there.get(proto=UDP, data=b"over")
            need(seen, "a datagram doesn't arrive")
            assert seen is not None
            need((seen.source, seen.sport, seen.ttl) == (here.ip, 4000, 63), "it was translated, or not forwarded")
            here.tcp(4000, there.ip, 4002, "S", seq=1)
            syn = await there.get(proto=TCP)
            need(syn and syn.source == here.ip and syn.sport == 4000, "a SYN doesn't arrive as it was sent")
            there.tcp(4002, here.ip, 4000, "SA", seq=9, ack=2)
            need(await here.get(proto=TCP, source=there.ip), "its answer doesn't come back")
            here.echo(there.ip, 77, data=b"over")
            need(await there.get(proto=ICMP, kind=8, source=here.ip), "a ping doesn't arrive")


@requirement("S-lans-spoof", MUST, "no LAN device sends outside with a source of another LAN")
async def spoof(row: Row) -> None:
    second, bare = _others(row)
    for device, owner in ((row.lan1, second), (second, bare), (bare, row.lan1), (second, row.lan1)):
        device.raw(pk.udp(owner.ip, row.port(), row.a1.ip, 53, b"spoofed"))
        device.raw(pk.tcp(owner.ip, row.port(), row.a1.ip, 80, "S"))
    need(await row.a1.silent(), "a packet with another LAN's source goes out")


@requirement("S-lans-hairpin", MUST, "a host of one LAN reaches another LAN's host by its public end", config="eif")
async def hairpin(row: Row) -> None:
    for host in _others(row):
        sport = row.port()
        public = await map_udp(row, row.lan1, sport, row.a1, 53)
        host.udp(sport + 1, *public, b"pin")
        seen = await row.lan1.get(proto=UDP, data=b"pin")
        need(seen and seen.source == row.public, "it doesn't arrive with the public source")
        assert seen is not None
        row.lan1.udp(sport, seen.source, seen.sport, b"back")
        need(await host.get(proto=UDP, data=b"back"), "its answer doesn't come back")


@requirement("S-bare-error", MUST, "errors about what a bare device sent come back to it, its own go out")
async def errors(row: Row) -> None:
    _, bare = _others(row)
    sport = row.port()
    bare.udp(sport, row.a1.ip, 53, b"12345678")
    sent = await row.a1.get(proto=UDP, data=b"12345678")
    need(sent, "a datagram doesn't arrive")
    assert sent is not None
    row.a2.error(sent.source, sent)
    need(await bare.get(proto=ICMP, kind=3), "an error doesn't come in")
    row.a1.udp(53, sent.source, sent.sport, b"answer")
    answer = await bare.get(proto=UDP, data=b"answer")
    need(answer, "the answer doesn't arrive")
    assert answer is not None
    bare.error(row.a1.ip, answer)
    error = await row.a1.get(proto=ICMP, kind=3)
    need(error and error.source == row.public, "its own error doesn't go out")


@requirement("S-bare-fragments", SHOULD, "fragments to and from a bare device pass")
async def fragments(row: Row) -> None:
    _, bare = _others(row)
    sport, load = row.port(), bytes(range(256)) * 12
    for part in pk.fragments(pk.udp(bare.ip, sport, row.a1.ip, 53, load), 1200):
        bare.raw(part)
    seen = await row.a1.whole(proto=UDP, source=row.public)
    need(seen and seen.data == load, "it doesn't arrive whole outside")
    assert seen is not None
    for part in pk.fragments(pk.udp(row.a1.ip, 53, row.public, seen.sport, load), 1200):
        row.a1.raw(part)
    back = await bare.whole(proto=UDP, source=row.a1.ip)
    need(back and back.data == load, "it doesn't arrive whole inside")
