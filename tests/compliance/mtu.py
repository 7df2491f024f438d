"""Path MTU: links narrower than the packet, on the gateway and beyond it; the MSS clamp."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from algate.cli.lab.lab import ip
from tests.compliance import packet as pk
from tests.compliance.bed import Row
from tests.compliance.fragments import LOAD
from tests.compliance.packet import FRAG_NEEDED, ICMP, TCP, UDP, UNREACHABLE, Ip
from tests.compliance.rfc4787 import restored
from tests.compliance.talk import connect, map_udp
from tests.compliance.verdict import MUST, SHOULD, need, requirement

BIG = LOAD[:1440]
ROUTES_KEPT = 0.3  # s: over twice as long as the gateway keeps an answer of the FIB (nexthop.h)


@contextmanager
def mtu(row: Row, host: str, device: str, size: int) -> Iterator[None]:
    """Give a device another MTU for a while."""
    netns = row.bed.lab.hosts[host].netns
    ip(f"link set {device} mtu {size}", netns)
    time.sleep(ROUTES_KEPT)
    try:
        yield
    finally:
        ip(f"link set {device} mtu 1500", netns)
        time.sleep(ROUTES_KEPT)


@requirement(
    "4787-13", MUST, "too big with DF: frag-needed reaches the inside host, from the gateway or beyond", alone=True
)
async def too_big(row: Row) -> None:
    for host, device, source in (
        ("router", "eth1", row.bed.lab.plan.next_hop),
        ("gw", "wan0", row.bed.lab.plan.gateway),
    ):
        sport = row.port()
        await map_udp(row, row.lan1, sport, row.a1, 53)
        c = await connect(row, row.lan1, row.a1)
        with mtu(row, host, device, 1280):
            sent = row.lan1.udp(sport, row.a1.ip, 53, BIG, Ip(df=True))
            seen = await row.lan1.get(proto=ICMP, kind=UNREACHABLE, code=FRAG_NEEDED)
            need(seen, f"UDP: no frag-needed from {'the gateway' if host == 'gw' else 'a router beyond it'}")
            assert seen is not None
            need(seen.mtu == 1280, "it names another MTU")
            restored(seen, sent, source)
            sent = row.lan1.tcp(c.sport, row.a1.ip, 80, "PA", seq=c.seq[0], ack=c.seq[1], data=BIG, head=Ip(df=True))
            seen = await row.lan1.get(proto=ICMP, kind=UNREACHABLE, code=FRAG_NEEDED)
            need(seen, f"TCP: no frag-needed from {'the gateway' if host == 'gw' else 'a router beyond it'}")
            assert seen is not None
            restored(seen, sent, source)
        need(not row.a1.inbox, "a packet with DF was fragmented")


@requirement(
    "4787-13-in", MUST, "too big with DF from outside: frag-needed goes out, quoting the public end", alone=True
)
async def too_big_inwards(row: Row) -> None:
    sport = row.port()
    public = await map_udp(row, row.lan1, sport, row.a1, 53)
    with mtu(row, "gw", "lan0", 1280):
        sent = row.a1.udp(53, *public, BIG, Ip(df=True))
        seen = await row.a1.get(proto=ICMP, kind=UNREACHABLE, code=FRAG_NEEDED)
        need(seen, "no frag-needed to the outside host")
        assert seen is not None
        restored(seen, sent, row.public)


@requirement("4787-13a", MUST, "too big without DF is fragmented, by the gateway or beyond", alone=True)
async def fragmented(row: Row) -> None:
    for host, device in (("gw", "wan0"), ("router", "eth1")):
        sport = row.port()
        public = await map_udp(row, row.lan1, sport, row.a1, 53)
        with mtu(row, host, device, 1280):
            row.lan1.udp(sport, row.a1.ip, 53, BIG, Ip(ident=row.port()))
            first = await row.a1.get(proto=UDP)
            need(first and first.fragment and first.offset == 0, f"no first fragment with {host} {device} narrow")
            assert first is not None
            row.a1.inbox.insert(0, first)
            seen = await row.a1.whole(proto=UDP)
            need(seen and (seen.source, seen.sport) == public and seen.data == BIG and not seen.wrong,
                 "the fragments don't make the packet")  # fmt: skip
    with mtu(row, "gw", "lan0", 1280):
        row.a1.udp(53, *public, BIG, Ip(ident=row.port()))
        seen = await row.lan1.whole(proto=UDP)
        need(
            seen and seen.dport == sport and seen.data == BIG and not seen.wrong,
            "inbound fragments don't make the packet",
        )


@requirement("S-mss", SHOULD, "mss_clamp lowers the MSS option of SYN and SYN-ACK, and never raises it", config="clamp")
async def clamp(row: Row) -> None:
    for offered, expected in ((1460, 1200), (900, 900)):
        option = bytes([2, 4]) + offered.to_bytes(2, "big")
        wanted = bytes([2, 4]) + expected.to_bytes(2, "big")
        sport = row.port()
        row.lan1.raw(pk.tcp(row.lan1.ip, sport, row.a1.ip, 80, "S", 1, options=option))
        seen = await row.a1.get(proto=TCP, flags="S")
        need(seen and seen.options == wanted, f"the MSS of a SYN with {offered} is wrong")
        assert seen is not None
        row.a1.raw(pk.tcp(row.a1.ip, 80, seen.source, seen.sport, "SA", 9, 2, options=option))
        back = await row.lan1.get(proto=TCP, flags=lambda flags: set(flags) == {"S", "A"})
        need(back and back.options == wanted, f"the MSS of a SYN-ACK with {offered} is wrong")
