"""RFC 7857: updates to the NAT requirements: TCP states, timers, separate protocols, unguessable ports."""

from __future__ import annotations

import asyncio
import itertools
import statistics

from tests.compliance import packet as pk
from tests.compliance.bed import SILENCE, Row
from tests.compliance.packet import ICMP, TCP, UDP
from tests.compliance.talk import PORTS_TO_TRY, Connection, connect, kept_udp, map_udp, reaches, refused
from tests.compliance.verdict import MAY, MUST, SHOULD, No, need, requirement


@requirement("7857-2", SHOULD, "a half-closed connection still carries data for long", config="timers")
async def half_closed(row: Row) -> None:
    inside, outside = await connect(row, row.lan1, row.a1), await connect(row, row.lan1, row.a1, 81)
    need(await inside.out("FA") and await inside.back("A"), "FIN from inside does not pass")
    need(await outside.back("FA") and await outside.out("A"), "FIN from outside does not pass")
    await asyncio.sleep(4.5)  # longer than any transitory timer here
    need(await inside.back("PA", b"late download"), "data to the side that closed is lost after a while")
    need(await outside.out("PA", b"late upload"), "data from the side that did not close is lost after a while")


@requirement("7857-2.1", SHOULD, "opening and closing have timers of their own", config="timers")
async def separate_timers(row: Row) -> str | None:
    if row.kernel:
        return "one sysctl a state"
    opening, closing = (
        await Connection(row, row.lan1, row.port(), row.a1, 80).syn(),
        await connect(row, row.lan1, row.a1),
    )
    need(await closing.out("FA") and await closing.back("FA") and await closing.out("A"), "closing does not pass")
    await asyncio.sleep(2.5)  # opening 2, closing 3
    need(await closing.inbound(), "closing ended by the opening timer")
    need(await opening.back("SA", timeout=SILENCE) is None, "opening outlives its timer")
    return None


@requirement("7857-2.1-ends", SHOULD, "a closed connection ends, and late segments don't get in", config="timers")
async def closing_ends(row: Row) -> None:
    c = await connect(row, row.lan1, row.a1)
    need(await c.out("FA") and await c.back("FA") and await c.out("A"), "closing does not pass")
    await asyncio.sleep(3.8)
    need(not await c.inbound(SILENCE), "a segment gets in after the closing timer")


@requirement("7857-2.2", MUST, "a RST is translated and the session stays 4 min", config="timers")
async def rst_keeps(row: Row) -> None:
    for outwards in (True, False):
        c = await connect(row, row.lan1, row.a1, 80 + outwards)
        need(await (c.out("RA") if outwards else c.back("RA")), "the RST does not pass")
        await asyncio.sleep(2.2)  # scaled: kernel 176 s, algate 132 s of 240
        need(await c.inbound(), "the session was gone within 3 min")


@requirement("7857-2.2-revive", SHOULD, "data after a RST revives the session", config="timers")
async def rst_revive(row: Row) -> None:
    c = await connect(row, row.lan1, row.a1)
    need(await c.back("RA"), "the RST does not pass")
    await asyncio.sleep(0.5)
    need(await c.works(), "data after a RST is lost")
    await asyncio.sleep(4.8)  # longer than the RST timer, shorter than the established one
    need(await c.inbound(), "it ended by the RST timer although data had revived it")


@requirement("7857-2.2-ends", SHOULD, "a reset session ends after its own timer", config="timers")
async def rst_ends(row: Row) -> None:
    c = await connect(row, row.lan1, row.a1)
    need(await c.back("RA"), "the RST does not pass")
    await asyncio.sleep(4.8)
    need(not await c.inbound(SILENCE), "it is still there")


@requirement("7857-2.2-blind", SHOULD, "a blind RST (out of window) ends nothing")
async def rst_blind(row: Row) -> None:
    c = await connect(row, row.lan1, row.a1)
    await c.back("R", seq=0x7F000000, timeout=SILENCE)
    need(await c.works(), "data is lost afterwards")


@requirement("7857-3", MAY, "external ports overlap where destinations differ", config="apdm")
async def overlap(row: Row) -> None:
    for _ in range(PORTS_TO_TRY):
        sport = row.port()
        if await map_udp(row, row.lan1, sport, row.a1, 53) == await map_udp(row, row.lan2, sport, row.a2, 53):
            return
    raise No("every session has a port of its own")


@requirement("7857-3-apdm", MAY, "address-and-port-dependent mapping is selectable", config="apdm")
async def apdm(row: Row) -> None:
    sport = row.port()
    seen = {await map_udp(row, row.lan1, sport, host, port) for host in (row.a1, row.a2) for port in (53, 54)}
    need(len(seen) == 4, "one mapping serves several destinations")


@requirement("7857-5", SHOULD, "mappings are separate per protocol")
async def protocols_apart(row: Row) -> None:
    for _ in range(PORTS_TO_TRY):
        sport = await kept_udp(row, row.lan1, row.a1)
        if (await connect(row, row.lan2, row.a1, 80, sport)).public[1] == sport:
            return
    raise No("a UDP mapping takes the TCP port")


@requirement("7857-6", SHOULD, "a UDP mapping lets no TCP in", config="eif")
async def filters_apart(row: Row) -> None:
    sport = row.port()
    public = await map_udp(row, row.lan1, sport, row.a1, 53)
    row.a1.tcp(53, *public, "S", seq=1)
    need(await row.lan1.silent(proto=TCP), "a SYN gets in through a UDP mapping")
    c = await connect(row, row.lan2, row.a1)
    need(await refused(row, row.a1, 80, c.public, row.lan2, c.sport), "UDP gets in through a TCP mapping")


@requirement("7857-7", SHOULD, "inbound packets alone don't keep a mapping alive", config="timers")
async def inbound_ages(row: Row) -> None:
    sport = row.port()
    public = await map_udp(row, row.lan1, sport, row.a1, 53)
    need(await reaches(row, row.a1, 53, public, row.lan1, sport), "a reply is lost")
    for _ in range(12):
        await asyncio.sleep(0.5)
        row.a1.udp(53, *public, b"junk")
    need(await refused(row, row.a1, 53, public, row.lan1, sport), "inbound packets keep it alive")


@requirement("7857-7.1", SHOULD, "errors that answer inbound packets don't keep a mapping alive", config="timers")
async def errors_age(row: Row) -> None:
    sport = row.port()
    public = await map_udp(row, row.lan1, sport, row.a1, 53)
    need(await reaches(row, row.a1, 53, public, row.lan1, sport), "a reply is lost")
    for _ in range(12):
        await asyncio.sleep(0.5)
        row.a1.udp(53, *public, b"junk")
        junk = await row.lan1.get(0.2, proto=UDP, data=b"junk")
        if junk is not None:
            row.lan1.error(row.a1.ip, junk)
    need(await refused(row, row.a1, 53, public, row.lan1, sport), "its own errors keep it alive")


@requirement("7857-9", SHOULD, "a port that can't be kept is replaced by one hard to guess")
async def random_ports(row: Row) -> None:
    sport = row.port()
    await map_udp(row, row.lan1, sport, row.a1, 53)
    got: list[int] = []
    for number in range(48):
        source = f"10.77.200.{number + 1}"
        row.lan2.raw(pk.udp(source, sport, row.a1.ip, 53, b"%d" % number))
        seen = await row.a1.get(proto=UDP, data=b"%d" % number)
        need(seen, "a packet from a further host does not arrive")
        assert seen is not None
        got.append(seen.sport)
    need(len(set(got)) == len(got), "two hosts have one port")
    steps = [abs(b - a) for a, b in itertools.pairwise(got)]
    need(statistics.median(steps) > 2000 and max(got) - min(got) > 30000, "the ports are near each other")
    need(len(set(steps)) > 40, "the ports go by steps")


@requirement("7857-10", SHOULD, "fragments of two hosts with one IP id don't mix behind the NAT")
async def ip_ids(row: Row) -> None:
    parts = []
    for lan in (row.lan1, row.lan2):
        packet = pk.udp(lan.ip, row.port(), row.a1.ip, 53, lan.ip.encode() * 150, pk.Ip(ident=4242))
        parts.append((lan, pk.fragments(packet, 1400)))
    for one, two in zip(parts[0][1], parts[1][1], strict=True):
        parts[0][0].raw(one)
        parts[1][0].raw(two)
    await asyncio.sleep(0.4)
    seen = [one for one in row.a1.inbox if one.proto == UDP]
    need(len(seen) >= 4, "fragments are lost")
    heads = {one.ident for one in seen if one.offset == 0}
    need(len(heads) == 2, "both leave with one IP id and one address")


@requirement("7857-2-late", SHOULD, "a late FIN, RST or ACK without a session makes none")
async def late_segments(row: Row) -> None:
    for flags in ("FA", "R", "A", "SA", "PA"):
        row.lan1.tcp(row.port(), row.a1.ip, 80, flags, seq=1, ack=1)
        need(await row.a1.silent(proto=TCP), f"{flags} from inside goes out")
        row.a1.tcp(80, row.public, row.port(), flags, seq=1, ack=1)
        need(await row.lan1.silent(0.1, proto=TCP), f"{flags} from outside goes in")
    row.lan1.raw(pk.echo(row.lan1.ip, row.a1.ip, row.port(), reply=True))
    need(await row.a1.silent(proto=ICMP), "an echo reply without a request goes out")
