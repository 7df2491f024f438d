"""What must not get through: spoofed, misdirected, malformed packets. What must: the gateway's services, forwards."""

from __future__ import annotations

import asyncio
import socket
import struct

from algate.cli.lab.host import call_in
from tests.compliance import packet as pk
from tests.compliance.bed import SILENCE, Ghost, Row
from tests.compliance.packet import ICMP, TCP, UDP, Ip
from tests.compliance.plan import FORWARD_TO
from tests.compliance.talk import connect, map_udp, reaches
from tests.compliance.verdict import MUST, SHOULD, need, requirement


@requirement("F-direct", MUST, "an outside host can't address inside hosts directly")
async def direct(row: Row) -> None:
    sport = row.port()
    await map_udp(row, row.lan1, sport, row.a1, 53)
    row.a1.udp(53, row.lan1.ip, sport, b"direct")
    row.a1.tcp(4444, row.lan1.ip, 22, "S", seq=1)
    row.a1.echo(row.lan1.ip, 9)
    row.a1.error(row.lan1.ip, pk.udp(row.lan1.ip, sport, row.a1.ip, 53, b"12345678"))
    need(await row.lan1.silent(), "a packet gets in")


@requirement("F-spoof-out", MUST, "an inside device sends with inside sources only")
async def spoof_out(row: Row) -> None:
    for source in ("192.0.2.254", "203.0.113.10", "127.0.0.1", "0.0.0.0", row.public, "224.0.0.5"):
        row.lan1.raw(pk.udp(source, row.port(), row.a1.ip, 53, b"spoofed"))
        row.lan1.raw(pk.tcp(source, row.port(), row.a1.ip, 80, "S"))
    need(await row.a1.silent(), "a packet with a foreign source goes out")


@requirement("F-spoof-in", MUST, "an outside packet with an inside, local or martian source is refused")
async def spoof_in(row: Row) -> None:
    sport = row.port()
    public = await map_udp(row, row.lan1, sport, row.a1, 53)
    for source in (
        row.lan2.ip,
        row.lan1.ip,
        row.public,
        row.bed.lab.plan.gateway,
        "127.0.0.1",
        "0.0.0.0",
        "255.255.255.255",
    ):
        frame = row.bed.wan_mac + row.bed.link.mac + b"\x08\x00"
        row.bed.link.send(frame + pk.udp(source, 53, *public, b"spoofed"))
        row.bed.link.send(frame + pk.tcp(source, 53, row.public, row.port(), "S"))
    need(await row.lan1.silent(data=b"spoofed"), "a packet with a spoofed source gets in")


@requirement("F-other-mac", MUST, "frames for another MAC are none of ours")
async def other_mac(row: Row) -> None:
    row.lan1.raw(pk.udp(row.lan1.ip, row.port(), row.a1.ip, 53, b"other"), to_mac=b"\x02\x00\x00\x00\x00\x99")
    need(await row.a1.silent(data=b"other"), "a frame for another inside host is translated")
    sport = row.port()
    public = await map_udp(row, row.lan1, sport, row.a1, 53)
    frame = b"\x02\x00\x00\x00\x00\x99" + row.bed.link.mac + b"\x08\x00"
    row.bed.link.send(frame + pk.udp(row.a1.ip, 53, *public, b"other"))
    need(await row.lan1.silent(data=b"other"), "a frame for another outside host is translated")


@requirement("F-services", MUST, "the gateway's own services on its WAN address are reached, and answer")
async def services(row: Row) -> None:
    port = row.port()

    def listen() -> socket.socket:
        sock = socket.create_server((row.public, port))
        sock.setblocking(False)
        return sock

    with call_in(row.bed.lab.gw.netns, listen):
        row.a1.tcp(4444, row.public, port, "S", seq=1)
        seen = await row.a1.get(proto=TCP, sport=port)
        need(seen and set(seen.flags) == {"S", "A"} and seen.ack == 2, "the gateway's TCP service is not reached")
    row.a1.echo(row.public, 5)
    need(await row.a1.get(proto=ICMP, kind=0), "the gateway does not answer a ping")
    row.lan1.echo(row.bed.lab.plan.gateway, 5)
    need(await row.lan1.get(proto=ICMP, kind=0), "the gateway does not answer a ping from inside")


@requirement("F-silent", SHOULD, "what nobody wants meets silence: no RST, no ICMP from the gateway's stack")
async def silent(row: Row) -> None:
    row.a1.tcp(4444, row.public, row.port(), "S", seq=1)
    row.a1.udp(4444, row.public, row.port(), b"?")
    need(await row.a1.silent(0.4), "the gateway's stack answers")


@requirement("F-allow-out", MUST, "allow_out: only what is listed may be opened from inside", config="exempt")
async def allow_out(row: Row) -> None:
    await map_udp(row, row.lan1, row.port(), row.a1, 53)
    await connect(row, row.lan1, row.a1, 21)
    row.lan1.tcp(row.port(), row.a1.ip, 8081, "S", seq=1)
    row.lan1.udp(row.port(), row.a1.ip, 54, b"no")
    need(await row.a1.silent(), "what is not listed passes")


@requirement(
    "F-forward", MUST, "forwards: to another port, ranges, answers by the forwarded port", config="forwards", alone=True
)
async def forwards(row: Row) -> None:
    server = Ghost(row.bed.inside[1], FORWARD_TO, row.bed.lan_mac)
    row.a1.tcp(4444, row.public, 8080, "S", seq=1)
    seen = await server.get(proto=TCP, dport=80)
    need(seen and seen.source == row.a1.ip and seen.sport == 4444, "a forwarded SYN does not arrive")
    server.tcp(80, row.a1.ip, 4444, "SA", seq=1, ack=2)
    back = await row.a1.get(proto=TCP, flags=lambda flags: set(flags) == {"S", "A"})
    need(back and (back.source, back.sport) == (row.public, 8080), "its answer does not leave by the forwarded port")
    for port in (7000, 7004, 7009):
        row.a1.udp(4444, row.public, port, b"range")
        need(await server.get(proto=UDP, dport=port, data=b"range"), f"port {port - 7000} of a range does not arrive")
        server.udp(port, row.a1.ip, 4444, b"back")
        back = await row.a1.get(proto=UDP, data=b"back")
        need(back and (back.source, back.sport) == (row.public, port), "an answer of a range leaves by another port")
    row.a1.udp(4444, row.public, 7010, b"beyond")
    need(await server.silent(data=b"beyond"), "a port beyond the range arrives")


@requirement("F-forward-from", MUST, "forwards: only listed sources", config="forwards", alone=True)
async def forward_from(row: Row) -> None:
    server = Ghost(row.bed.inside[1], FORWARD_TO, row.bed.lan_mac)
    friend = Ghost(row.bed.outside, "192.0.2.14", row.bed.router_mac)
    stranger = Ghost(row.bed.outside, "192.0.99.1", row.bed.router_mac)
    stranger.tcp(4444, row.public, 2222, "S", seq=1)
    need(await server.silent(proto=TCP, dport=22), "a source that is not listed gets in")
    friend.tcp(4444, row.public, 2222, "S", seq=1)
    need(await server.get(proto=TCP, dport=22), "a listed source is kept out")


@requirement(
    "F-forward-hairpin", MUST, "forwards work from inside, the external source shown", config="forwards", alone=True
)
async def forward_hairpin(row: Row) -> None:
    server = Ghost(row.bed.inside[1], FORWARD_TO, row.bed.lan_mac)
    sport = row.port()
    row.lan1.tcp(sport, row.public, 8080, "S", seq=1)
    seen = await server.get(proto=TCP, dport=80)
    need(seen, "the SYN does not arrive")
    assert seen is not None
    need(seen.source == row.public, "the server sees the inside address")
    server.tcp(80, seen.source, seen.sport, "SA", seq=1, ack=2)
    back = await row.lan1.get(proto=TCP)
    need(back and (back.source, back.sport, back.dport) == (row.public, 8080, sport), "the answer does not come back")


@requirement("F-forward-live", MUST, "forwards come and go live", config="forwards", alone=True)
async def forward_live(row: Row) -> str | None:
    if row.kernel:
        return "nft add rule"
    server = Ghost(row.bed.inside[1], FORWARD_TO, row.bed.lan_mac)
    station = row.bed.station
    row.a1.udp(4444, row.public, 9999, b"early")
    need(await server.silent(data=b"early"), "it works before it exists")
    made = {"proto": "udp", "wan_port": "9999", "to": f"{FORWARD_TO}:53"}
    station.ask("forward-add", made)
    row.a1.udp(4444, row.public, 9999, b"live")
    need(await server.get(data=b"live", dport=53), "a forward added live does not work")
    station.ask("forward-del", {"proto": "udp", "wan_port": "9999"})
    row.a2.udp(4444, row.public, 9999, b"late")
    need(await server.silent(data=b"late"), "a deleted forward still works")
    return None


@requirement("F-loop", MUST, "a packet to itself goes nowhere", config="default")
async def loop(row: Row) -> None:
    row.lan1.raw(pk.tcp(row.lan1.ip, 80, row.lan1.ip, 80, "S"))
    row.bed.link.send(row.bed.wan_mac + row.bed.link.mac + b"\x08\x00" + pk.tcp(row.public, 80, row.public, 80, "S"))
    row.lan1.raw(pk.udp(row.public, 80, row.public, 80, b"self"))
    need(await row.lan1.silent() and await row.a1.silent(0.05), "it comes out somewhere")


def bad_packets(source: str, destination: str) -> list[bytes]:
    """Packets cut at every length, with wrong lengths in each header, with every shape of IP options."""
    quoted = pk.udp(destination, 1, source, 2, b"x" * 8)
    whole = [pk.tcp(source, 5, destination, 80, "S"), pk.udp(source, 5, destination, 53, b"12345678"),
             pk.echo(source, destination, 5), pk.error(source, destination, quoted)]  # fmt: skip
    made = [packet[:size] for packet in whole for size in range(20, len(packet))]
    for packet in whole:
        for total in (0, 19, 20, 21, len(packet) + 1, 65535):  # wrong total length
            made.append(_resum(packet[:2] + struct.pack("!H", total) + packet[4:]))
        for words in range(16):  # wrong header length
            made.append(_resum(bytes([0x40 | words]) + packet[1:]))
    for words in range(16):  # TCP data offset
        made.append(whole[0][:32] + bytes([words << 4]) + whole[0][33:])
    for size in (0, 7, 8, 9, 65535):  # UDP length
        made.append(whole[1][:24] + struct.pack("!H", size) + whole[1][26:])
    for option in range(256):
        made.append(pk.udp(source, 5, destination, 53, b"options!", Ip(options=bytes([option, 3, 4, 0]))))
    for option in (7, 68, 131, 137, 148):
        for length in (0, 1, 2, 3, 4, 39, 40, 255):
            made.append(pk.udp(source, 5, destination, 53, b"options!", Ip(options=bytes([option, length, 4, 0]))))
    for to in ("0.0.0.0", "255.255.255.255", "127.0.0.1", "224.0.0.1", "240.0.0.1"):
        made.append(pk.udp(source, 5, to, 53, b"nowhere!"))
    made += [pk.udp(source, 5, destination, 53, b"ttl", Ip(ttl=ttl)) for ttl in (0, 1)]
    return made


def _resum(packet: bytes) -> bytes:
    size = min(len(packet), max(20, (packet[0] & 15) * 4))
    raw = packet[:10] + b"\0\0" + packet[12:]
    return raw[:10] + struct.pack("!H", pk.ones(raw[:size])) + raw[12:]


@requirement("F-malformed", MUST, "malformed packets: nothing crashes, nothing leaves untranslated", alone=True)
async def malformed(row: Row) -> None:
    sport = row.port()
    public = await map_udp(row, row.lan1, sport, row.a1, 53)
    leaks = row.bed.leaks_of(row.lan1.ip)
    for packet in bad_packets(row.lan1.ip, row.a1.ip):
        row.lan1.raw(packet)
    frame = row.bed.wan_mac + row.bed.link.mac + b"\x08\x00"
    for packet in bad_packets(row.a1.ip, row.public):
        row.bed.link.send(frame + packet)
    await asyncio.sleep(SILENCE)
    leaked = row.bed.leaks_of(row.lan1.ip) - leaks
    need(await reaches(row, row.a1, 53, public, row.lan1, sport), "a session died of it")
    need(not leaked, "a packet leaves untranslated")
    for ghost in (row.lan1, row.lan2, row.a1, row.a2):
        ghost.wrong.clear()  # truncated packets are wrong from the start
