"""RFC 5382: what a NAT does with TCP. One scenario per requirement."""

from __future__ import annotations

import asyncio

from algate.alg.config.sections import Timeouts
from tests.compliance import packet as pk
from tests.compliance.bed import SILENCE, Row
from tests.compliance.packet import EXCEEDED, FRAG_NEEDED, ICMP, PORT_UNREACHABLE, TCP, UNREACHABLE
from tests.compliance.rfc4787 import MUST_NOT, RECOMMENDED, restored
from tests.compliance.talk import Connection, connect
from tests.compliance.verdict import MUST, SHOULD, need, requirement


@requirement("5382-1", MUST, "one inside port keeps one external port, whomever it connects to")
async def endpoint_independent(row: Row) -> None:
    sport = row.port()
    for lan in (row.lan1, row.lan2):  # the second can't keep its port
        first = await connect(row, lan, row.a1, 80, sport)
        for outside, dport in ((row.a1, 81), (row.a2, 80)):
            other = await connect(row, lan, outside, dport, sport)
            need(other.public == first.public, "the external port differs by destination")


@requirement("5382-2", MUST, "every valid way to open a connection works: handshake")
async def handshake(row: Row) -> None:
    conversation = await connect(row, row.lan1, row.a1)
    need(await conversation.works(), "data does not pass")


async def mapped(row: Row, sport: int) -> tuple[str, int]:
    """A mapping of lan1's port, made by a connection to a2."""
    return (await connect(row, row.lan1, row.a2, 99, sport)).public


@requirement("5382-2-simultaneous", MUST, "simultaneous open works")
async def simultaneous(row: Row) -> None:
    sport = row.port()
    public = await mapped(row, sport)
    c = await Connection(row, row.lan1, sport, row.a1, 80).syn()
    need(c.public == public, "the mapping differs by destination")
    need(await c.back("S"), "the crossing SYN does not arrive inside")
    need(await c.out("SA", seq=1000, ack=5001), "the SYN-ACK from inside does not arrive")
    need(await c.back("SA", seq=5000, ack=1001), "the SYN-ACK from outside does not arrive")
    need(await c.out("A"), "the ACK from inside does not arrive")
    need(await c.works(), "data does not pass")


async def unsolicited(row: Row, outside: str, inside_port: int, public: tuple[str, int]) -> bool:
    """Whether a SYN from outside arrives inside."""
    host = row.a2 if outside == "a2" else row.a1
    host.tcp(4444, *public, "S", seq=77)
    return await row.lan1.get(SILENCE, proto=TCP, dport=inside_port, seq=77) is not None


@requirement("5382-3", RECOMMENDED, "filtering by address and port keeps strangers out (default)")
async def filter_apdf(row: Row) -> None:
    c = await connect(row, row.lan1, row.a1)
    need(not await unsolicited(row, "a1", c.sport, c.public), "a SYN from another port of the peer gets in")
    need(not await unsolicited(row, "a2", c.sport, c.public), "a SYN of a stranger gets in")


@requirement("5382-3-adf", RECOMMENDED, "filtering by address is selectable", config="adf")
async def filter_adf(row: Row) -> None:
    c = await connect(row, row.lan1, row.a1)
    need(not await unsolicited(row, "a2", c.sport, c.public), "a SYN of a stranger gets in")
    need(await unsolicited(row, "a1", c.sport, c.public), "a SYN from another port of the peer is kept out")


@requirement("5382-3-eif", RECOMMENDED, "endpoint-independent filtering is selectable", config="eif")
async def filter_eif(row: Row) -> None:
    c = await connect(row, row.lan1, row.a1)
    need(await unsolicited(row, "a2", c.sport, c.public), "a SYN of a stranger is kept out")


@requirement("5382-4", MUST_NOT, "an unsolicited SYN meets silence for 6 s")
async def silent_syn(row: Row) -> None:
    c = await connect(row, row.lan1, row.a1)
    row.a2.tcp(4444, *c.public, "S", seq=77)
    row.a2.tcp(4444, row.public, row.port(), "S", seq=77)  # to a port that nobody holds
    need(await row.a2.silent(6.2), "it is answered (RST or ICMP)")


@requirement("5382-4a", MUST, "the SYN that was kept out is forgotten when an inside SYN to that peer comes within 6 s")
async def crossing_syn(row: Row) -> None:
    sport = row.port()
    public = await mapped(row, sport)
    row.a1.tcp(80, *public, "S", seq=77)
    await asyncio.sleep(3)
    need(not row.a1.inbox, "the SYN is answered")
    c = await connect(row, row.lan1, row.a1, 80, sport)
    need(c.public == public and await c.works(), "data does not pass afterwards")


@requirement("5382-5", MUST_NOT, "an established connection outlives 2 h 4 min of silence", config="timers")
async def established_timer(row: Row) -> None:
    if not row.kernel:
        need(Timeouts().tcp_established >= 7440, "the default is less than 2 h 4 min")
    c = await connect(row, row.lan1, row.a1)
    await asyncio.sleep(5.4)
    need(await c.works(), "it ended after 1 h 52 min (scaled)")


@requirement("5382-5-transitory", MUST_NOT, "a half-open or closing connection outlives 4 min", config="timers")
async def transitory_timer(row: Row) -> None:
    if not row.kernel:
        times = Timeouts()
        need(min(times.tcp_opening, times.tcp_closing, times.tcp_reset) >= 240, "a default is less than 4 min")
    opening = await Connection(row, row.lan1, row.port(), row.a1, 80).syn()
    closing = await connect(row, row.lan1, row.a1, 81)
    await closing.out("FA")
    await closing.back("FA")
    await asyncio.sleep(1.6)
    need(await opening.back("SA"), "a SYN-ACK after 128 s (kernel's scale; 192 s algate's) is lost")
    await asyncio.sleep(0.9)
    need(await closing.back("A"), "a segment 200 s (scaled) after both FINs is lost")


@requirement("5382-5-ends", SHOULD, "an idle established connection ends some day", config="timers")
async def established_ends(row: Row) -> None:
    c = await connect(row, row.lan1, row.a1)
    await asyncio.sleep(6.8)
    need(not await c.inbound(SILENCE), "it is still there" + (" (its default is five days)" if row.kernel else ""))


@requirement("5382-6", RECOMMENDED, "ALGs are off but for FTP, which can be switched", config="off")
async def ftp_switch(row: Row) -> str | None:
    if not row.kernel:
        plugins = row.bed.station.ask("status")["plugins"]
        need(not any(one["enabled"] for one in plugins), "the FTP ALG is not switched off by reload")
    c = await connect(row, row.lan1, row.a1, 21 if not row.kernel else 2121)
    line = f"PORT {row.lan1.ip.replace('.', ',')},200,1\r\n".encode()
    need(await c.out("PA", line), "with the ALG off the control channel does not pass untouched")
    return "by helper assignment rules" if row.kernel else None


@requirement("5382-6-on", RECOMMENDED, "the FTP ALG is on by default and mends PORT")
async def ftp_on(row: Row) -> None:
    c = await connect(row, row.lan1, row.a1, 21)
    need(await c.back("PA", b"220 ready\r\n"), "the greeting does not arrive")
    need(await c.out("PA", b"USER x\r\n") and await c.back("PA", b"230 in\r\n"), "the login does not pass")
    line = f"PORT {row.lan1.ip.replace('.', ',')},200,1\r\n".encode()
    row.lan1.tcp(c.sport, row.a1.ip, 21, "PA", seq=c.seq[0], ack=c.seq[1], data=line)
    seen = await row.a1.get(2.0, proto=TCP, dport=21, flags="PA")
    need(seen, "PORT does not arrive")
    assert seen is not None
    need(seen.data.startswith(b"PORT " + row.public.replace(".", ",").encode()), "PORT still names the inside address")


@requirement("5382-7", MUST_NOT, "two hosts never share an external port, whatever their destinations")
async def no_overloading(row: Row) -> None:
    sport = row.port()
    one = await connect(row, row.lan1, row.a1, 80, sport)
    need(
        one.public != (await connect(row, row.lan2, row.a1, 80, sport)).public,
        "two hosts share a port, one destination",
    )
    lower = row.port()
    one = await connect(row, row.lan1, row.a1, 80, lower)
    need(one.public != (await connect(row, row.lan2, row.a2, 80, lower)).public, "two hosts share a port")


@requirement(
    "5382-8", MUST, "hairpin: inside hosts connect to each other's external ends, external source shown", config="eif"
)
async def hairpin(row: Row) -> None:
    one, two = row.port(), row.port()
    p1 = (await connect(row, row.lan1, row.a1, 80, one)).public
    p2 = (await connect(row, row.lan2, row.a1, 80, two)).public
    row.lan1.tcp(one, *p2, "S", seq=1)
    seen = await row.lan2.get(proto=TCP, flags="S")
    need(seen, "the SYN does not arrive")
    assert seen is not None
    need((seen.source, seen.sport, seen.dport) == (*p1, two), "the SYN has other ends than the external source")
    row.lan2.tcp(two, *p1, "SA", seq=9, ack=2)
    back = await row.lan1.get(proto=TCP, flags="SA")
    need(back and (back.source, back.sport) == p2, "the SYN-ACK does not come back from the external end")
    row.lan1.tcp(one, *p2, "PA", seq=2, ack=10, data=b"through the hairpin")
    need(await row.lan2.get(proto=TCP, data=b"through the hairpin"), "data does not pass")
    row.lan2.tcp(two, *p1, "PA", seq=10, ack=21, data=b"and back")
    need(await row.lan1.get(proto=TCP, data=b"and back"), "data does not pass back")


@requirement("5382-9", SHOULD, "ICMP errors about a connection are translated")
async def icmp_error(row: Row) -> None:
    c = await connect(row, row.lan1, row.a1)
    sent = pk.tcp(row.lan1.ip, c.sport, row.a1.ip, 80, "PA", c.seq[0], c.seq[1], b"x" * 40)
    quoted = pk.tcp(*c.public, row.a1.ip, 80, "PA", c.seq[0], c.seq[1], b"x" * 40)
    row.a2.error(row.public, quoted, code=FRAG_NEEDED, mtu=1280, size=None)
    seen = await row.lan1.get(proto=ICMP)
    need(seen, "it does not arrive")
    assert seen is not None
    need(seen.mtu == 1280, "the MTU in it changed")
    restored(seen, sent, row.a2.ip)


@requirement("5382-10", MUST_NOT, "an ICMP error ends neither a connection nor its mapping")
async def icmp_keeps(row: Row) -> None:
    c = await connect(row, row.lan1, row.a1)
    for kind, code in ((UNREACHABLE, PORT_UNREACHABLE), (UNREACHABLE, 1), (EXCEEDED, 0), (UNREACHABLE, pk.PROHIBITED)):
        quoted = pk.tcp(*c.public, row.a1.ip, 80, "PA", c.seq[0], c.seq[1])
        row.a2.error(row.public, quoted, kind=kind, code=code)
        await row.lan1.get(proto=ICMP)
        need(await c.works(), f"type {kind} code {code} ended it")
    half = await Connection(row, row.lan1, row.port(), row.a1, 81).syn()
    row.a2.error(row.public, pk.tcp(*half.public, row.a1.ip, 81, "S", 1000))
    await row.lan1.get(proto=ICMP)
    need(await half.back("SA"), "an error ended a half-open connection")
