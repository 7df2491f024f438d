"""IPv6 without translation (RFC 6092, 4890): what comes in, and what of the headers. One scenario per requirement."""

from __future__ import annotations

import asyncio
import struct

from algate.alg.config.sections import Timeouts
from algate.cli.lab.lab import ip
from tests.compliance import packet6 as p6
from tests.compliance import plan
from tests.compliance.bed import SILENCE, Row
from tests.compliance.bed6 import Ghost6, Six
from tests.compliance.packet import TCP, UDP
from tests.compliance.packet6 import ESP, ICMP6, Ip6
from tests.compliance.rfc4787 import MUST_NOT
from tests.compliance.talk import Connection, connect
from tests.compliance.verdict import MUST, SHOULD, need, requirement

SHOWN = Ip6(kind=0xB8, flow=0x12345)
GRE = 47


@requirement("6-A1", MUST, "inside reaches outside and is answered: all as it was but the hop limit", config="six")
async def unchanged(row: Row) -> None:
    six, sport = Six(row), row.port()
    out = p6.udp6(six.lan1.ip, sport, six.a1.ip, 53, row.tag(), SHOWN)
    await six.passes(out, six.lan1, six.a1, "a UDP packet", 2)
    back = p6.udp6(six.a1.ip, 53, six.lan1.ip, sport, row.tag(), SHOWN)
    await six.passes(back, six.a1, six.lan1, "a UDP answer", 2)
    syn = p6.tcp6(six.lan1.ip, sport, six.a1.ip, 80, "S", 1, head=SHOWN)
    await six.passes(syn, six.lan1, six.a1, "a SYN", 2)
    answer = p6.tcp6(six.a1.ip, 80, six.lan1.ip, sport, "SA", 7, 2, head=SHOWN)
    await six.passes(answer, six.a1, six.lan1, "a SYN-ACK", 2)
    data = p6.tcp6(six.lan1.ip, sport, six.a1.ip, 80, "PA", 2, 8, row.tag(), head=SHOWN)
    await six.passes(data, six.lan1, six.a1, "a segment", 2)


@requirement("6-A2", MUST, "what nobody asked for is refused without a word: TCP, UDP, other protocols", config="six")
async def unsolicited(row: Row) -> None:
    six, sport = Six(row), row.port()
    await six.ask(sport)
    for packet in (
        p6.tcp6(six.a2.ip, 80, six.lan1.ip, sport, "S", 1),
        p6.tcp6(six.a2.ip, 80, six.lan1.ip, sport, "A", 1, 1),
        p6.udp6(six.a2.ip, 53, six.lan1.ip, sport, row.tag()),
        p6.udp6(six.a1.ip, 54, six.lan1.ip, sport, row.tag()),
        p6.ip6(six.a2.ip, six.lan1.ip, GRE, b"\0\0\x86\xdd" + bytes(16)),
    ):
        await six.stays(packet, six.a2 if six.a2.ip == p6.parse6(packet).source else six.a1, six.lan1, "it")


@requirement("6-A2-silent", MUST, "an unsolicited SYN meets silence for 6 s, and is counted", config="six")
async def silent_syn(row: Row) -> None:
    six = Six(row)
    before = 0.0 if row.kernel else row.bed.station.dropped("unsolicited")
    six.a1.tcp(4444, six.lan1.ip, row.port(), "S", seq=77)
    need(await six.a1.silent(6.2), "it is answered (RST or ICMPv6)")
    need(row.kernel or row.bed.station.dropped("unsolicited") > before, "it isn't counted")


@requirement("6-A2-crossing", MUST, "two SYNs that cross make a connection (RFC 6092 REC-31)", config="six")
async def crossing(row: Row) -> None:
    six, sport = Six(row), row.port()
    await six.passes(p6.tcp6(six.lan1.ip, sport, six.a1.ip, 80, "S", 1), six.lan1, six.a1, "a SYN", 2)
    await six.passes(p6.tcp6(six.a1.ip, 80, six.lan1.ip, sport, "S", 7), six.a1, six.lan1, "the other SYN", 2)
    out = p6.tcp6(six.lan1.ip, sport, six.a1.ip, 80, "SA", 1, 8)
    await six.passes(out, six.lan1, six.a1, "its answer", 2)
    back = p6.tcp6(six.a1.ip, 80, six.lan1.ip, sport, "SA", 7, 2)
    await six.passes(back, six.a1, six.lan1, "the other answer", 2)


async def admitted(six: Six, sender: Ghost6, server: Ghost6, port: int) -> bool:
    sport = six.port()
    sender.tcp(sport, server.ip, port, "S", seq=1)
    return await server.get(SILENCE, proto=TCP, sport=sport, dport=port) is not None


@requirement("6-A2-allow", MUST, "named services of named hosts are let in, from named sources", config="six")
async def allowed(row: Row) -> None:
    six = Six(row)
    server = six.fixed(plan.SERVICE_TO)
    need(await admitted(six, six.a1, server, plan.SERVICE), "a named service is kept out")
    need(not await admitted(six, six.a1, server, plan.SERVICE + 1), "another port is let in")
    need(not await admitted(six, six.a1, six.lan1, plan.SERVICE), "another host's port is let in")
    friend = Ghost6(row.bed.outside, plan.FRIEND, row.bed.router_mac)
    need(await admitted(six, friend, server, plan.FRIENDS_SERVICE), "a named source is kept out")
    need(not await admitted(six, six.a1, server, plan.FRIENDS_SERVICE), "another source is let in")


@requirement("6-A2-live", MUST, "services are named and taken back while it runs", config="six")
async def live(row: Row) -> str | None:
    if row.kernel:
        return "nft add rule"
    six, port = Six(row), row.port()
    entry = {"proto": "tcp", "port": str(port), "to": six.lan2.ip}
    need(not await admitted(six, six.a1, six.lan2, port), "it is let in before it is named")
    row.bed.station.ask("allow-add", entry)
    need(await admitted(six, six.a1, six.lan2, port), "it is kept out")
    row.bed.station.ask("allow-del", entry)
    need(not await admitted(six, six.a1, six.lan2, port), "it is let in afterwards")
    return None


@requirement("6-A3-udp", MUST, "UDP outlives two minutes, five by default, and ends", config="six")
async def udp_timer(row: Row) -> None:
    six = Six(row)
    sports = [row.port() for _ in range(3)]
    if not row.kernel:
        need(Timeouts().udp >= 300, "the default is less than five minutes")
    for sport in sports:
        await six.ask(sport)
    for sport, wait, lives in zip(sports, (2.2, 2.2, 1.6), (True, True, False), strict=True):
        await asyncio.sleep(wait)
        six.a1.udp(53, six.lan1.ip, sport, tag := row.tag())
        seen = await six.lan1.get(SILENCE * 2, proto=UDP, data=tag)
        need(bool(seen) is lives, "it never ends" if seen else f"an answer {'132' if wait else '264'} s later is lost")


@requirement("6-A3-tcp", MUST, "an established connection outlives 2 h 4 min, a transitory one 4 min", config="six")
async def tcp_timers(row: Row) -> None:
    six = Six(row)
    c = await connect(row, six.lan1, six.a1)
    opening = await Connection(row, six.lan1, row.port(), six.a1, 80).syn()
    closing = await connect(row, six.lan1, six.a1, 81)
    await closing.out("FA")
    await closing.back("FA")
    await asyncio.sleep(1.6)
    need(await opening.back("SA"), "a SYN-ACK after 128 s (scaled) is lost")
    await asyncio.sleep(0.9)
    need(await closing.back("A"), "a segment 200 s (scaled) after both FINs is lost")
    await asyncio.sleep(2.9)
    need(await c.works(), "an established one ended after 1 h 52 min (scaled)")


async def strangers(row: Row) -> tuple[bool, bool]:
    """Whether another port of the peer, and another host, reach an end point that has spoken: UDP and TCP alike."""
    six, sport = Six(row), row.port()
    await six.ask(sport)
    c = await connect(row, six.lan1, six.a1)
    seen = []
    for ghost in (six.a1, six.a2):
        ghost.udp(9999, six.lan1.ip, sport, tag := row.tag())
        udp = await six.lan1.get(SILENCE, proto=UDP, data=tag) is not None
        ghost.tcp(9999, six.lan1.ip, c.sport, "S", seq=5)
        tcp = await six.lan1.get(SILENCE, proto=TCP, sport=9999, dport=c.sport) is not None
        need(udp == tcp, "UDP and TCP are filtered differently")
        seen.append(udp)
    return seen[0], seen[1]


@requirement("6-A3-apdf", MUST, "filtering by address and port keeps strangers out (default)", config="six")
async def by_both(row: Row) -> None:
    need(await strangers(row) == (False, False), "a stranger is let in")


@requirement("6-A3-adf", MUST, "filtering by address is selectable", config="six-adf")
async def by_address(row: Row) -> None:
    need(await strangers(row) == (True, False), "it is not by address")


@requirement("6-A3-eif", MUST, "endpoint-independent filtering is selectable", config="six-eif")
async def by_nothing(row: Row) -> None:
    need(await strangers(row) == (True, True), "a stranger is kept out")


@requirement("6-A4-echo", MUST, "an echo request is a session: answered, and nobody else answers it", config="six")
async def echo(row: Row) -> None:
    six, ident = Six(row), row.port()
    await six.passes(p6.echo6(six.lan1.ip, six.a1.ip, ident), six.lan1, six.a1, "an echo request", 2)
    await six.passes(p6.echo6(six.a1.ip, six.lan1.ip, ident, reply=True), six.a1, six.lan1, "its reply", 2)
    await six.stays(p6.echo6(six.a1.ip, six.lan1.ip, ident + 1, reply=True), six.a1, six.lan1, "another reply")
    await six.stays(p6.echo6(six.a2.ip, six.lan1.ip, ident), six.a2, six.lan1, "a request from outside")


@requirement("6-A4-errors", MUST, "errors about a session pass both ways and change nothing of it", config="six")
async def errors(row: Row) -> None:
    six, sport = Six(row), row.port()
    sent = six.datagram(six.lan1, sport, six.a1, 53)
    await six.passes(sent, six.lan1, six.a1, "a UDP packet", 2)
    c = await connect(row, six.lan1, six.a1)
    segment = p6.tcp6(six.lan1.ip, c.sport, six.a1.ip, 80, "A", c.seq[0], c.seq[1])
    for quoted in (sent, segment):
        for kind in range(1, 5):
            error = p6.error6(six.near.ip, six.lan1.ip, quoted, kind, 0, 1400)
            await six.passes(error, six.near, six.lan1, f"an error of type {kind}")
    back = six.datagram(six.a1, 53, six.lan1, sport)
    await six.passes(back, six.a1, six.lan1, "an answer", 2)
    await six.passes(p6.error6(six.lan1.ip, six.a1.ip, back), six.lan1, six.a1, "an error of the inside's", 2)
    need(await c.works(), "a connection ended by an error")


@requirement("6-A4-none", MUST, "errors about nothing, forged or cut are refused; too-big passes", config="six")
async def errors_about_nothing(row: Row) -> None:
    six, sport = Six(row), row.port()
    await six.ask(sport)
    c = await connect(row, six.lan1, six.a1)
    other = six.datagram(six.lan1, sport + 1, six.a1, 53)
    theirs = six.datagram(six.lan2, sport, six.a1, 53)
    far = p6.tcp6(six.lan1.ip, c.sport, six.a1.ip, 80, "A", c.seq[0] + 9_000_000, c.seq[1])
    nothing = ((other, "one about no session"), (theirs, "one about another's packet"), (b"", "an empty one"))
    for quoted, what in nothing:
        await six.stays(p6.error6(six.near.ip, six.lan1.ip, quoted), six.near, six.lan1, what)
    await six.passes(p6.error6(six.near.ip, six.lan1.ip, other, p6.TOO_BIG, 0, 1300), six.near, six.lan1, "too big")
    if not row.kernel:
        await six.stays(p6.error6(six.near.ip, six.lan1.ip, far), six.near, six.lan1, "one about a number never sent")


@requirement("6-A4-own", MUST, "the gateway's own stack keeps ND, MLD and echo, on both sides", config="six")
async def own(row: Row) -> None:
    six, plans = Six(row), row.bed.lab.plan
    for ghost, text in ((six.lan1, plans.inside6.replace("/64", "1")), (six.near, plans.wan6.replace("/64", "2"))):
        ghost.raw(p6.solicit(ghost.ip, ghost.mac, text, text))
        need(await ghost.get(proto=ICMP6, kind=p6.ADVERTISE, source=text), "a neighbour's question isn't answered")
        ghost.echo(text, 5)
        need(await ghost.get(proto=ICMP6, kind=p6.REPLY6, source=text), "an echo request to it isn't answered")
    router_alert = (p6.HOPOPTS, b"\0\0\5\2\0\0\1\0")
    query = p6.icmp6("fe80::1", "ff02::1", p6.QUERY6, 0, struct.pack("!HH", 1, 0), bytes(16) + b"\2\0\0\0",
                     Ip6(1, chain=(router_alert,)))  # fmt: skip
    row.bed.link.heard.clear()
    six.near.raw(query, to_mac=b"\x33\x33\0\0\0\1")
    for _ in range(100):
        await asyncio.sleep(0.02)
        if any(one.kind == p6.REPORT6 for one in row.bed.link.heard):
            return
    need(False, "a listener query isn't answered")


@requirement("6-A7-spoken", MUST, "ESP and IKE come in from a peer that was spoken to (default)", config="six")
async def spoken(row: Row) -> None:
    need(await ipsec(row) == (False, True), "not from that peer alone")


@requirement("6-A7-any", MUST, "ESP and IKE come in from anybody, if so configured", config="six-any")
async def anybody(row: Row) -> None:
    need(await ipsec(row) == (True, True), "a peer is kept out")


@requirement("6-A7-none", MUST, "ESP and IKE come in from nobody, if so configured", config="six-none")
async def nobody(row: Row) -> None:
    need(await ipsec(row) == (False, False), "a peer is let in")


async def ipsec(row: Row) -> tuple[bool, bool]:
    """Whether they come in before and after the inside host spoke to that peer by IKE."""
    six, seen = Six(row), []
    for _ in range(2):
        esp = p6.ip6(six.a1.ip, six.lan1.ip, ESP, row.tag() + bytes(20))
        six.a1.raw(esp)
        six.a1.udp(500, six.lan1.ip, 500, tag := row.tag())
        first = await six.lan1.get(SILENCE, proto=ESP) is not None
        second = await six.lan1.get(SILENCE, proto=UDP, data=tag) is not None
        need(first == second or row.kernel, "ESP and IKE are treated differently")
        seen.append(first)
        await six.passes(six.datagram(six.lan1, 4500, six.a1, 4500), six.lan1, six.a1, "IKE", 2)
    return seen[0], seen[1]


@requirement("6-A7-other", SHOULD, "another protocol is a session of its two hosts", config="six")
async def other_protocol(row: Row) -> None:
    six = Six(row)
    await six.passes(p6.ip6(six.lan1.ip, six.a1.ip, GRE, b"\0\0\x86\xdd" + bytes(16)), six.lan1, six.a1, "GRE", 2)
    await six.passes(p6.ip6(six.a1.ip, six.lan1.ip, GRE, b"\0\0\x86\xdd" + bytes(9)), six.a1, six.lan1, "GRE back", 2)
    await six.stays(p6.ip6(six.a2.ip, six.lan1.ip, GRE, b"\0\0\x86\xdd" + bytes(9)), six.a2, six.lan1, "another's")


@requirement("6-A8", MUST_NOT, "spoofed, link-local and impossible sources pass, either way", config="six")
async def spoofed(row: Row) -> None:
    six = Six(row)
    server = six.fixed(plan.SERVICE_TO)
    for source in (six.a2.ip, "2001:db8:99::1", "fe80::5", "::1", "::", "::ffff:1.2.3.4", "ff02::1"):
        packet = p6.udp6(source, row.port(), six.a1.ip, 53, row.tag())
        await six.stays(packet, six.lan1, six.a1, f"{source} from inside")
    await six.stays(six.datagram(six.lan1, 5, six.a1, 53).replace(p6.address6(six.a1.ip), p6.address6("fe80::9")),
                    six.lan1, six.a1, "a packet to a link-local address")  # fmt: skip
    for source in (six.lan2.ip, "fe80::5", "::1", "ff02::1", "::ffff:1.2.3.4"):
        packet = p6.tcp6(source, row.port(), server.ip, plan.SERVICE, "S", 1)
        await six.stays(packet, six.near, server, f"{source} from outside")


@requirement("6-A12", MUST, "a prefix that goes ends its sessions, and nothing of it leaves", config="six", alone=True)
async def prefix_goes(row: Row) -> None:
    six, gw = Six(row), row.bed.lab.gw.netns
    six.lan1 = six.fixed(plan.LATE_HOST)
    ip(f"addr add {plan.LATE_PREFIX}1/64 dev lan0 nodad", gw)
    sport = row.port()
    await asyncio.sleep(1)
    await six.ask(sport)
    ip(f"addr del {plan.LATE_PREFIX}1/64 dev lan0", gw)
    await asyncio.sleep(1.5)
    await six.stays(six.datagram(six.lan1, sport, six.a1, 53), six.lan1, six.a1, "a packet of the old prefix")
    if not row.kernel:
        left = row.bed.station.ask("sessions", {"inside": f"{plan.LATE_PREFIX}/64"})
        need(not left, "a session of the old prefix is left")
