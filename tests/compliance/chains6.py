"""Extension headers and fragments of IPv6 (RFC 8200, 5095, 5722, 6946) through the filter."""

from __future__ import annotations

import itertools
import struct

from tests.compliance import packet6 as p6
from tests.compliance import plan
from tests.compliance.bed import Row
from tests.compliance.bed6 import Ghost6, Six
from tests.compliance.fragments import Order, backwards, doubled, in_order, tail_first
from tests.compliance.packet import UDP
from tests.compliance.packet6 import DSTOPTS, HOPOPTS, PAD, ROUTING, Ip6
from tests.compliance.rfc4787 import MUST_NOT
from tests.compliance.verdict import MUST, need, requirement

IDENTS = itertools.count(1000)
LOAD = bytes(range(256)) * 10
MANY = ((DSTOPTS, PAD),) * 9


def routing(kind: int, left: int, address: str) -> tuple[int, bytes]:
    return ROUTING, struct.pack("!BBBBI", 0, 2, kind, left, 0) + p6.address6(address)


@requirement("6-A5", MUST, "hop-by-hop, destination options and routing type 2 are walked", config="six")
async def walked(row: Row) -> None:
    six = Six(row)
    for chain in (
        ((DSTOPTS, PAD),),
        ((HOPOPTS, PAD), (DSTOPTS, PAD)),
        (routing(2, 1, six.a1.ip),),
        ((DSTOPTS, PAD), routing(2, 0, six.a1.ip), (DSTOPTS, PAD)),
    ):
        sport, head = row.port(), Ip6(chain=chain)
        what = f"a packet with headers {', '.join(str(kind) for kind, _ in chain)}"
        await six.passes(six.datagram(six.lan1, sport, six.a1, 53, head=head), six.lan1, six.a1, what, 2)
        back = six.datagram(six.a1, 53, six.lan1, sport, head=Ip6(chain=((DSTOPTS, PAD),)))
        await six.passes(back, six.a1, six.lan1, "its answer", 2)


@requirement("6-A5-zero", MUST_NOT, "a routing header of type 0 passes (RFC 5095)", config="six")
async def type_zero(row: Row) -> None:
    six = Six(row)
    for left in (0, 1):
        packet = six.datagram(six.lan1, row.port(), six.a1, 53, head=Ip6(chain=(routing(0, left, six.a2.ip),)))
        await six.stays(packet, six.lan1, six.a1, "it")


@requirement("6-A5-unread", MUST_NOT, "what can't be read passes, either way", config="six")
async def unread(row: Row) -> None:
    six = Six(row)
    server = six.fixed(plan.SERVICE_TO)
    chains = {
        "nine headers": MANY,
        "a hop-by-hop header behind another": ((DSTOPTS, PAD), (HOPOPTS, PAD)),
        "two fragment headers": ((p6.FRAGMENT, bytes(8)), (p6.FRAGMENT, bytes(8))),
        "a header beyond the end": ((DSTOPTS, b"\0\x7f" + PAD[2:]),),
    }
    for what, chain in chains.items():
        out = six.datagram(six.lan1, row.port(), six.a1, 53, head=Ip6(chain=chain))
        await six.stays(out, six.lan1, six.a1, what)
        back = p6.tcp6(six.a1.ip, row.port(), server.ip, plan.SERVICE, "S", 1, head=Ip6(chain=chain))
        await six.stays(back, six.a1, server, f"{what} from outside")
    for proto in (p6.NONE, 200, 255):
        await six.stays(p6.ip6(six.lan1.ip, six.a1.ip, proto, row.tag()), six.lan1, six.a1, f"next header {proto}")
        await six.stays(p6.ip6(six.a1.ip, server.ip, proto, row.tag()), six.a1, server, f"next header {proto}")


async def through(six: Six, sender: Ghost6, sport: int, receiver: Ghost6, dport: int, order: Order, what: str) -> None:
    """A datagram in pieces, put together there."""
    for part in order(p6.fragments6(six.datagram(sender, sport, receiver, dport, LOAD), 1000, next(IDENTS))):
        sender.raw(part)
    seen = await receiver.whole(1.2, proto=UDP)
    need(seen, f"{what} does not arrive whole")
    assert seen is not None
    need(not seen.wrong and seen.data == LOAD, f"{what} arrives changed")
    receiver.inbox.clear()


@requirement("6-A6", MUST, "fragments pass in any order, doubled too", config="six")
async def any_order(row: Row) -> None:
    for order, name in (
        (in_order, "in order"), (backwards, "backwards"), (tail_first, "tail first"), (doubled, "doubled"),
    ):  # fmt: skip
        six, sport = Six(row), row.port()
        await six.ask(sport)
        await through(six, six.lan1, sport, six.a1, 53, order, f"{name}: a datagram from inside")
        await through(six, six.a1, 53, six.lan1, sport, order, f"{name}: one from outside")


@requirement("6-A6-first", MUST, "a session may begin with a fragmented packet, in any order", config="six")
async def first(row: Row) -> None:
    for order, name in ((in_order, "in order"), (backwards, "backwards"), (tail_first, "tail first")):
        six = Six(row)
        await through(six, six.lan1, row.port(), six.a1, 53, order, f"{name}: a datagram from inside")
        server = six.fixed(plan.SERVICE_TO)
        await through(six, six.a2, row.port(), server, plan.SERVICE, order, f"{name}: one from outside to a service")


@requirement("6-A6-overlap", MUST_NOT, "overlapping bytes reach anybody, one inside another neither (RFC 5722)",
             config="six")  # fmt: skip
async def overlap(row: Row) -> None:
    six, sport = Six(row), row.port()
    await six.ask(sport)
    packet = six.datagram(six.lan1, sport, six.a1, 53, LOAD)
    for at, size in ((0, 512), (96, 64), (992, 200), (1192, 16), (1600, 800)):
        ident, taken = next(IDENTS), bytearray(3000)
        parts = p6.fragments6(packet, 1200, ident)
        for part in (parts[0], p6.piece(packet, at, b"z" * size, ident, True), *parts[1:]):
            six.lan1.raw(part)
        while seen := await six.a1.get(0.15, ident=ident):
            place = slice(seen.offset, seen.offset + len(seen.data))
            need(not any(taken[place]), f"{size} other bytes at {at} pass")
            taken[place] = b"x" * len(seen.data)


@requirement("6-A6-atomic", MUST, "an atomic fragment is whole, also with the id of a waiting datagram (RFC 6946)",
             config="six")  # fmt: skip
async def atomic(row: Row) -> None:
    six, sport, ident = Six(row), row.port(), next(IDENTS)
    await six.ask(sport)
    parts = p6.fragments6(six.datagram(six.lan1, sport, six.a1, 53, LOAD), 1400, ident)
    six.lan1.raw(parts[0])
    whole = six.datagram(six.lan1, sport, six.a1, 53, row.tag())
    six.lan1.raw(p6.piece(whole, 0, whole[40:], ident, False))
    seen = await six.a1.get(proto=UDP, data=lambda data: data == whole[48:] or data == whole[40:])
    need(seen, "it does not arrive")
    six.lan1.raw(parts[1])
    need(await six.a1.whole(proto=UDP, ident=ident), "the waiting datagram does not arrive whole")


@requirement("6-A6-flood", MUST, "a flood of lone tails disturbs nobody", config="six", alone=True)
async def flood(row: Row) -> None:
    six, sport = Six(row), row.port()
    await six.ask(sport)
    packet = six.datagram(six.a2, 5, six.lan1, 6, LOAD)
    for ident in range(1 << 20, (1 << 20) + 3000):
        six.a2.raw(p6.piece(packet, 1400, LOAD[:512], ident, ident % 2 == 1))
    await through(six, six.lan1, sport, six.a1, 53, in_order, "a datagram from inside")
    await through(six, six.a1, 53, six.lan1, sport, in_order, "one from outside")
