"""What must hold beyond the RFCs: orders of closing, reopening, clashes, ports of services, odd frames."""

from __future__ import annotations

import asyncio
import socket
from functools import partial

from algate.cli.lab.host import call_in
from tests.compliance import packet as pk
from tests.compliance.bed import SILENCE, Ghost, Row
from tests.compliance.packet import ICMP, TCP, UDP, Ip
from tests.compliance.plan import FORWARD_TO
from tests.compliance.talk import PORTS_TO_TRY, Connection, connect, map_udp, reaches, refused
from tests.compliance.verdict import MUST, SHOULD, No, need, requirement


@requirement("S-close", MUST, "closing from inside, from outside and from both at once passes whole")
async def close_orders(row: Row) -> None:
    c = await connect(row, row.lan1, row.a1)
    need(await c.out("FA") and await c.back("A") and await c.back("FA") and await c.out("A"), "a close from inside")
    c = await connect(row, row.lan1, row.a1, 81)
    need(await c.back("FA") and await c.out("A") and await c.out("FA") and await c.back("A"), "a close from outside")
    c = await connect(row, row.lan1, row.a1, 82)
    first = c.seq.copy()
    need(await c.out("FA") and await c.back("FA", ack=first[0]), "crossing FINs")
    need(await c.out("A") and await c.back("A"), "the ACKs of crossing FINs")
    need(await c.out("FA", seq=first[0]) and await c.back("FA", seq=first[1]), "a repeated FIN")


@requirement("S-reopen", MUST, "a SYN on the 5-tuple of a closed connection opens it again, by the same port")
async def reopen(row: Row) -> None:
    sport = row.port()
    c = await connect(row, row.lan1, row.a1, 80, sport)
    need(await c.out("FA") and await c.back("FA") and await c.out("A"), "closing")
    again = Connection(row, row.lan1, sport, row.a1, 80)
    again.seq = [c.seq[0] + 70000, 900000]
    need((await again.open()).public == c.public, "the port changed")
    need(await again.works(), "data does not pass")


@requirement("S-half-reopen", MUST, "a SYN on a connection that one side forgot passes, and the dance after it")
async def half_reopen(row: Row) -> None:
    c = await connect(row, row.lan1, row.a1)
    fresh = c.seq[0] + 100000
    need(await c.out("S", seq=fresh), "the SYN of a client that restarted does not pass")
    need(await c.back("A"), "the server's ACK (RFC 9293 section 3.5.1) does not pass")
    need(await c.out("R", seq=c.seq[0]), "the RST that answers it does not pass")
    again = Connection(row, row.lan1, c.sport, row.a1, 80)
    again.seq = [fresh, 700000]
    need((await again.open()).public == c.public and await again.works(), "the connection afterwards does not work")


@requirement("S-retransmit", MUST, "opening with repeated SYN, SYN-ACK and ACK works, by one port")
async def retransmits(row: Row) -> None:
    c = await Connection(row, row.lan1, row.port(), row.a1, 80).syn()
    for _ in range(2):
        seen = await c.out("S", seq=1000)
        need(seen and (seen.source, seen.sport) == c.public, "a repeated SYN leaves by another port")
    for _ in range(3):
        need(await c.back("SA", seq=5000), "a repeated SYN-ACK is lost")
    c.seq[1] = 5001
    need(await c.out("A") and await c.out("A") and await c.works(), "the connection does not work")


@requirement("S-unreplied", MUST, "a SYN without an answer: repetitions keep it, silence ends it", config="timers")
async def unreplied(row: Row) -> None:
    kept = await Connection(row, row.lan1, row.port(), row.a1, 80).syn()
    dying = await Connection(row, row.lan1, row.port(), row.a1, 81).syn()
    await asyncio.sleep(1.4)
    need(await kept.out("S", seq=1000), "a repeated SYN is lost")
    await asyncio.sleep(1.3)
    need(await kept.back("SA"), "the answer to a repeated SYN is lost")
    need(not await dying.back("SA", timeout=SILENCE), "a SYN-ACK gets in after the opening timer")


@requirement("S-edge-ports", MUST, "ports 1, 1023, 1024 and 65535 work at both ends")
async def edge_ports(row: Row) -> None:
    for port in (1, 1023, 1024, 65535):
        public = await map_udp(row, row.lan1, port, row.a1, port)
        need(await reaches(row, row.a1, port, public, row.lan1, port), f"UDP port {port}")
        need(await (await connect(row, row.lan1, row.a1, port, port)).works(), f"TCP port {port}")


@requirement("S-port-zero", SHOULD, "port 0 harms nobody: it is translated or refused, never leaked")
async def port_zero(row: Row) -> None:
    row.lan1.udp(0, row.a1.ip, 53, b"zero")
    row.lan1.udp(row.port(), row.a1.ip, 0, b"zero")
    row.lan1.tcp(0, row.a1.ip, 80, "S")
    await asyncio.sleep(SILENCE)
    need(all(one.source == row.public for one in row.a1.inbox), "a packet leaves untranslated")


@requirement("S-protocols", MUST, "GRE, ESP, SCTP, DCCP: translated or refused and counted, never leaked")
async def other_protocols(row: Row) -> str | None:
    before = 0.0 if row.kernel else row.bed.station.dropped("protocol")
    for proto in (pk.GRE, pk.ESP, pk.SCTP, pk.DCCP, 253):
        row.lan1.raw(pk.ip(row.lan1.ip, row.a1.ip, proto, bytes([0, 9, 0, 9]) + bytes(28)))
    await asyncio.sleep(SILENCE)
    need(all(one.source == row.public for one in row.a1.inbox), "a packet leaves untranslated")
    passed = len({one.proto for one in row.a1.inbox})
    if not row.kernel:
        need(row.bed.station.dropped("protocol") - before >= 5 - passed, "refusals are not counted")
    for proto in (pk.GRE, pk.ESP, 253):
        row.a1.raw(pk.ip(row.a1.ip, row.public, proto, bytes(32)))
    need(passed or await row.lan1.silent(), "an inbound packet of a refused protocol gets in")
    return f"{passed} of 5 translated"


@requirement("S-related", MUST, "an ICMP error related to a session gets in where the filter keeps all else out")
async def related(row: Row) -> None:
    sport = row.port()
    public = await map_udp(row, row.lan1, sport, row.a1, 53)
    row.a2.error(row.public, pk.udp(*public, row.a1.ip, 53, b"12345678"))
    need(await row.lan1.get(proto=ICMP), "a related error is lost")
    row.a2.error(row.public, pk.udp(*public, row.a2.ip, 53, b"12345678"))
    need(await row.lan1.silent(proto=ICMP), "an unrelated error gets in")


@requirement(
    "S-reverse-clash", MUST, "a forwarded and an outbound flow that want one tuple don't mix", config="forwards",
    alone=True,
)  # fmt: skip
async def reverse_clash(row: Row) -> None:
    server = Ghost(row.bed.inside[1], FORWARD_TO, row.bed.lan_mac)
    row.a1.udp(5000, row.public, 4000, b"in")
    need(await server.get(proto=UDP, data=b"in"), "the forward does not work")
    public = await map_udp(row, row.lan1, 4000, row.a1, 5000)
    need(public != (row.public, 4000), "the outbound flow takes the forward's tuple")
    need(await reaches(row, row.a1, 5000, public, row.lan1, 4000), "the answer goes astray")
    server.udp(4000, row.a1.ip, 5000, b"out")
    seen = await row.a1.get(proto=UDP, data=b"out")
    need(seen and (seen.source, seen.sport) == (row.public, 4000), "the forward's answer leaves by another port")
    row.a1.udp(5000, row.public, 4000, b"more")
    need(await server.get(proto=UDP, data=b"more"), "the forward's flow goes astray afterwards")


@requirement("S-shadow", MUST, "no inside or outside host can capture a port that a service of the gateway uses")
async def shadowing(row: Row) -> None:
    port = row.port()

    def listen() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((row.public, port))
        sock.setblocking(False)
        return sock

    with call_in(row.bed.lab.gw.netns, listen) as service:
        public = await map_udp(row, row.lan1, port, row.a1, 5353)
        need(public[1] != port, "an inside host gets the service's port by sending from it")
        row.a1.udp(5353, row.public, port, b"for the service")
        need(await row.lan1.silent(data=b"for the service"), "what was sent to the service goes inside")
        need(service.recv(100) == b"for the service", "the service does not get it")


@requirement("S-shadow-outside", MUST, "an outside host gets nothing by its choice of ports", config="eif")
async def shadow_outside(row: Row) -> None:
    sport = row.port()
    public = await map_udp(row, row.lan1, sport, row.a1, 53)
    row.a2.udp(53, *public, b"me too")  # EIF lets it in, but it must not take anything over
    need(await reaches(row, row.a1, 53, public, row.lan1, sport), "the mapping's own peer is lost")
    need(public == await map_udp(row, row.lan1, sport, row.a1, 53), "the mapping changed")
    other = await map_udp(row, row.lan2, sport, row.a2, 53)
    need(other != public, "another inside host shares the mapping")
    need(await reaches(row, row.a2, 53, other, row.lan2, sport), "the answer to the other host goes astray")


@requirement("S-own-client", MUST, "the gateway's own clients keep working beside inside hosts that use their ports")
async def own_client(row: Row) -> None:
    def client(port: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("0.0.0.0", port))
        sock.connect((row.a1.ip, 53))
        sock.setblocking(False)
        return sock

    for _ in range(PORTS_TO_TRY):
        port = row.port()
        with call_in(row.bed.lab.gw.netns, partial(client, port)) as own:
            own.send(b"mine")
            seen = await row.a1.get(proto=UDP, data=b"mine")
            if not seen or (seen.source, seen.sport) != (row.public, port):
                continue
            public = await map_udp(row, row.lan1, port, row.a1, 53)
            need(public[1] != port, "an inside host shares the port")
            row.a1.udp(53, row.public, port, b"yours")
            await asyncio.sleep(0.1)
            need(own.recv(100) == b"yours", "the gateway's client does not get its answer")
            return
    raise No("the gateway's own packet does not leave as it is")


@requirement("S-vlan", MUST, "802.1Q and PPPoE frames on an untagged device are left alone")
async def tagged(row: Row) -> None:
    packet = pk.udp(row.lan1.ip, row.port(), row.a1.ip, 53, b"tagged")
    row.lan1.raw(packet, tag=b"\x81\x00\x00\x05")
    row.lan1.wire.send(row.bed.lan_mac + row.lan1.mac + b"\x88\x64\x11\x00\x00\x01\x00\x1e\x00\x21" + packet)
    need(await row.a1.silent(data=b"tagged"), "an inside host's tagged frame is translated")
    sport = row.port()
    public = await map_udp(row, row.lan1, sport, row.a1, 53)
    answer = pk.udp(row.a1.ip, 53, *public, b"tagged")
    row.bed.link.send(row.bed.wan_mac + row.bed.link.mac + b"\x81\x00\x00\x05\x08\x00" + answer)
    need(await row.lan1.silent(data=b"tagged"), "a tagged frame from outside is translated")


@requirement("S-ttl", MUST, "the gateway is one hop: TTL goes down by one, TTL 1 is answered")
async def ttl(row: Row) -> None:
    sport = row.port()
    public = await map_udp(row, row.lan1, sport, row.a1, 53)
    row.lan1.udp(sport, row.a1.ip, 53, b"hop", Ip(ttl=64))
    seen = await row.a1.get(data=b"hop")
    need(seen and seen.ttl == 62, "outbound TTL is not one less behind the gateway")
    row.a1.udp(53, *public, b"hop", Ip(ttl=64))
    seen = await row.lan1.get(data=b"hop")
    need(seen and seen.ttl == 62, "inbound TTL is not one less behind the gateway")
    row.lan1.udp(sport, row.a1.ip, 53, b"last", Ip(ttl=1))
    seen = await row.lan1.get(proto=ICMP, kind=pk.EXCEEDED)
    need(seen and seen.source == row.bed.lab.plan.gateway, "TTL 1 from inside is not answered by the gateway")
    sent = row.a1.udp(53, *public, b"last", Ip(ttl=2))
    seen = await row.a1.get(proto=ICMP, kind=pk.EXCEEDED)
    need(seen and seen.source == row.public and seen.quote, "TTL 1 from outside is not answered by the gateway")
    assert seen is not None and seen.quote is not None
    need(
        (seen.quote.destination, seen.quote.dport) == public and pk.parse(sent).sport == 53,
        "its quote names the inside",
    )


@requirement("S-plain", MUST, "a UDP packet without checksum keeps none; payload, TOS bits and IP options pass")
async def plain(row: Row) -> None:
    sport = row.port()
    public = await map_udp(row, row.lan1, sport, row.a1, 53)
    row.lan1.udp(sport, row.a1.ip, 53, b"no sum", no_sum=True)
    seen = await row.a1.get(data=b"no sum")
    need(seen and seen.raw[26:28] == b"\0\0", "a checksum appears")
    head = Ip(options=bytes([7, 7, 4, 0, 0, 0, 0, 0]))
    row.lan1.udp(sport, row.a1.ip, 53, b"options", head)
    seen = await row.a1.get(data=b"options")
    need(seen and (seen.source, seen.sport) == public, "a packet with IP options is lost or untranslated")


@requirement("S-adf-protocol", SHOULD, "UDP sessions don't open TCP for the same peer", config="adf")
async def adf_protocols(row: Row) -> None:
    sport = row.port()
    public = await map_udp(row, row.lan1, sport, row.a1, 53)
    row.a1.tcp(53, *public, "S", seq=1)
    need(await row.lan1.silent(proto=TCP), "a SYN of the peer gets in")
    need(await refused(row, row.a2, 53, public, row.lan1, sport), "a stranger gets in")
