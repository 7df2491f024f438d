"""FTP-46 to FTP-57: what TCP may do to a control stream, and what must arrive of it."""

from __future__ import annotations

import struct

from tests.cases.case import case
from tests.cases.scripted import Stage, Talk, held_back, named, only_one, port_line, spoken
from tests.cases.speaker import WRAP, distance
from tests.compliance.packet import Ip, Packet, fragments


@case(46, "an identical repetition of a rewritten line: the same bytes, one port, one expectation, one shift")
def test_ftp_46_identical_repetition(stage: Stage) -> None:
    talk = stage.talk()
    line, at = spoken(talk)
    public = named(bytes(talk.server.stream))
    for _ in range(3):
        count = len(talk.server.arrived)
        talk.client.send(line, at=at)
        talk.server.more(count, "the repetition")
    first, *others = talk.server.data[-4:]
    assert all((one.seq, one.data) == (first.seq, first.data) for one in others)
    only_one(talk, public)
    talk.server.auto = True
    talk.server.ack()
    talk.works()


@case(47, "repetitions cut otherwise: merged with later data, in pieces, beginning in the middle")
def test_ftp_47_repetitions_cut_otherwise(stage: Stage) -> None:
    talk = stage.talk()
    line, at = spoken(talk)
    public = named(bytes(talk.server.stream))
    more = b"NOOP one\r\nNOOP two\r\n"
    talk.client.say(more)
    whole = line + more
    talk.server.hears(more)
    for start, stop in ((0, len(whole)), (0, 7), (7, len(line)), (5, len(whole)), (len(line) - 2, len(line) + 4),
                        (len(line) + 3, len(whole)), (0, 1)):  # fmt: skip
        talk.client.send(whole[start:stop], at=at + start)
        stage.links.pump(0.01)
    only_one(talk, public)
    talk.server.auto = True
    talk.server.ack()
    talk.works()
    assert bytes(talk.server.stream).count(b"PORT ") == 1


@case(
    48, "the client repeats while the helper still thinks: what was held never leaves unrewritten, and opens one port"
)
def test_ftp_48_repeated_while_held(stage: Stage) -> None:
    talk = stage.talk()
    talk.server.auto = False
    line, at = port_line(talk.client.place.ip, stage.links.port()), talk.client.sent
    with held_back(stage):
        for _ in range(3):
            talk.client.send(line, at=at)
            stage.links.pump(0.02)
        if stage.gateway.name == "algate":
            assert b"PORT" not in talk.server.stream
    talk.client.say(line)
    stage.links.until(lambda: b"PORT" in talk.server.stream, "PORT")
    stage.links.pump(0.05)
    only_one(talk, named(bytes(talk.server.stream)))
    talk.server.auto = True
    talk.server.ack()
    talk.works()


@case(49, "segments out of order: none is shifted wrongly, and none is lost once the gap is filled")
def test_ftp_49_out_of_order(stage: Stage) -> None:
    talk = stage.talk()
    line, at = port_line(talk.client.place.ip, stage.links.port()), talk.client.sent
    noops = [b"NOOP %02d\r\n" % number for number in range(12)]
    offset = at + len(line)
    for number in (5, 1, 11, 0, 3, 2, 10, 4, 6, 9, 8, 7):
        talk.client.send(noops[number], at=offset + number * len(noops[0]))
    stage.links.pump(0.05)
    talk.client.send(line, at=at)
    stage.links.until(lambda: b"PORT" in talk.server.stream, "PORT")
    talk.client.sent = offset + sum(map(len, noops))
    for number in range(12):  # what a bounded queue had no room for is repeated
        talk.client.send(noops[number], at=offset + number * len(noops[0]))
    talk.server.hears(b"".join(noops))
    talk.works()
    assert named(bytes(talk.server.stream))[0] == stage.public


@case(50, "two versions of the same bytes: the first one heard counts, for the receiver as for the parser")
def test_ftp_50_conflicting_overlap(stage: Stage) -> None:
    talk = stage.talk()
    ip, at = talk.client.place.ip, talk.client.sent
    first, second = port_line(ip, 0x5050), port_line(ip, 0x5150)
    assert len(first) == len(second)
    cut = len(first) - 4
    talk.client.send(first[:cut], at=at)
    stage.links.pump(0.05)
    talk.client.send(second, at=at)
    talk.client.sent = at + len(first)
    stage.links.until(lambda: b"\r\n" in talk.server.stream[-2:] and b"PORT" in talk.server.stream, "PORT")
    said = bytes(talk.server.stream)
    # a decided line sent again with other bytes of the same length
    talk.client.send(b"STOR " + b"x" * (len(first) - 7) + b"\r\n", at=at)
    stage.links.pump(0.05)
    assert bytes(talk.server.stream) == said
    talk.server.say(b"200 ok\r\n")
    talk.client.hears(b"200 ok\r\n")
    talk.works()
    assert talk.dial(named(said), 0x5050)
    # low TTL: the gateway hears it, the server never would; what follows in its place must not differ
    quiet = port_line(ip, 0x5250)
    talk.client.send(quiet, at=talk.client.sent, ttl=1)
    stage.links.pump(0.05)
    noop = b"NOOP " + b"y" * (len(quiet) - 7) + b"\r\n"
    talk.client.say(noop)
    stage.links.until(lambda: len(talk.server.stream) > len(said) + 10 and talk.server.stream.endswith(b"\r\n"), "more")
    public = stage.expectations(talk) if stage.gateway.name == "algate" else []
    heard = bytes(talk.server.stream)
    assert bool(public) == (b"PORT" in heard[len(said) :]), "parsed what the receiver will not see"
    talk.right()


@case(51, "bad checksum, out of window, stale timestamp: no expectation, no port, no byte taken")
def test_ftp_51_segments_no_receiver_takes(stage: Stage) -> None:
    talk = stage.talk(client={"stamps": True}, server={"stamps": True})
    talk.works()  # the last timestamps are of lines that no helper was asked about
    client, line = talk.client, port_line(talk.client.place.ip, stage.links.port())
    before = len(talk.server.stream)
    client.send(line, bad_sum=True)
    client.send(line, at=client.sent + (1 << 20))
    client.send(line, at=client.sent - (1 << 30))
    client.send(line, stamp=client.clock - 50_000)
    stage.links.pump(0.1)
    client.highest = client.sent
    assert stage.gateway.name != "algate" or stage.expectations(talk) == []
    assert len(talk.server.stream) == before
    talk.server.faults.clear()  # a bad checksum may arrive: its receiver will drop it
    assert not any(b"PORT" in one.data and not one.wrong for one in talk.server.data)
    talk.works()


def sack_edges(talk: Talk, packet: Packet) -> list[tuple[int, int]]:
    """The blocks of an acknowledgement to the client, as its own positions."""
    options, found, at = packet.options, [], 0
    while at < len(options) and options[at]:
        if options[at] == 1:
            at += 1
            continue
        if options[at] == 5:
            numbers = struct.unpack(f"!{(options[at + 1] - 2) // 4}I", options[at + 2 : at + options[at + 1]])
            found = [distance(one, (talk.client.iss + 1) % WRAP) for one in numbers]
        at += options[at + 1]
    return list(zip(found[::2], found[1::2], strict=True))


@case(52, "SACK and D-SACK blocks across several corrections: each edge is shifted by what counts there")
def test_ftp_52_sack_across_corrections(stage: Stage) -> None:
    talk = stage.talk(client={"sack": True}, server={"sack": True})
    client, server, links = talk.client, talk.server, stage.links
    server.auto = False
    lines = [port_line(client.place.ip, links.port()) if n % 2 else b"NOOP %d\r\n" % n for n in range(8)]
    ours, theirs = [client.sent], [server.got]
    for line in lines:
        start = len(server.stream)
        client.say(line)
        server.lines_after(start)
        ours.append(client.sent)
        theirs.append(server.got)
    assert len({one - other for one, other in zip(ours, theirs, strict=True)}) >= 4, "too few corrections"
    for acked, blocks in (
        (0, ((2, 3),)),
        (0, ((4, 6), (2, 3))),
        (1, ((7, 8), (3, 5))),
        (3, ((1, 2), (5, 6))),
        (8, ((0, 4),)),
    ):
        seen = len(client.arrived)
        sacks = [(theirs[start], theirs[stop]) for start, stop in blocks]
        server.ack(ack=theirs[acked], sacks=sacks)
        client.more(seen, "the acknowledgement")
        packet = client.arrived[-1]
        assert distance(packet.ack, client.iss + 1) == ours[acked]
        assert sack_edges(talk, packet) == [(ours[start], ours[stop]) for start, stop in blocks]
    server.auto = True
    talk.works()


@case(53, "keepalive probes with a garbage byte, and probes of a closed window, are neither parsed nor counted")
def test_ftp_53_probes(stage: Stage) -> None:
    talk = stage.talk()
    talk.port(answer=b"")
    client, server = talk.client, talk.server
    for garbage in (b"", b"P", b"\n"):
        count = len(client.arrived)
        client.send(garbage, "A", at=client.sent - 1)
        stage.links.pump(0.05)
        server.ack()  # what a stack does
        client.more(count, "an acknowledgement of a probe")
    server.say(b"200 ok\r\n")
    client.hears(b"200 ok\r\n")
    server.auto, server.window = False, 0
    server.ack()
    stage.links.pump(0.02)
    line = b"NOOP window\r\n"
    acked = client.acked
    for _ in range(2):
        client.send(line[:1], at=client.sent)
        stage.links.pump(0.05)
    assert client.acked == acked, "acknowledged into a closed window"
    server.auto, server.window = True, 8192
    server.ack()
    client.say(line)
    server.hears(line)
    talk.works()


@case(54, "FIN on the rewritten line itself, and FIN or RST while the line is held: all goes on in step")
def test_ftp_54_fin_and_rst_with_a_held_line(stage: Stage) -> None:
    talk = stage.talk()
    line = port_line(talk.client.place.ip, stage.links.port())
    talk.client.say(line, "FPA")
    stage.links.until(lambda: talk.server.fin is not None, "the FIN")
    assert talk.server.fin == talk.server.got, "FIN and bytes don't meet"
    assert named(bytes(talk.server.stream))[0] == stage.public
    talk.client.told()
    talk.server.say(b"221 bye\r\n", "FPA")
    talk.client.hears(b"221 bye\r\n")
    talk.server.told()
    talk.right()
    talk = stage.talk()
    with held_back(stage):
        talk.client.say(line.replace(b"\r\n", b""))
        talk.client.say(b"", "FA")
        stage.links.pump(0.05)
        assert stage.gateway.name != "algate" or talk.server.fin is None, "the FIN overtook the line"
    stage.links.until(lambda: talk.server.fin is not None and talk.server.fin == talk.server.got, "the FIN")
    talk.right()
    talk = stage.talk()
    with held_back(stage):
        talk.client.say(line)
        talk.client.send(b"", "RA")
        stage.links.pump(0.05)
    stage.links.pump(0.1)
    if not talk.server.reset:  # the RST may have passed where the line didn't: its next one tells
        talk.client.send(b"", "RA")
    stage.links.until(lambda: talk.server.reset, "a RST at the number that the server expects")
    talk.right()


@case(55, "RST and ICMP errors of a shifted stream: numbers as their receiver knows them, in the quote too")
def test_ftp_55_rst_and_icmp_errors_of_a_shifted_stream(stage: Stage) -> None:
    talk = stage.talk()
    _, at = spoken(talk)
    told = talk.server.data[-1]
    talk.server.place.error(told.source, told, kind=3, code=1, size=28)
    inbox = talk.client.place.inbox
    stage.links.until(lambda: any(one.quote for one in inbox), "the ICMP error")
    quote = next(one.quote for one in inbox if one.quote)
    assert (quote.source, quote.sport) == (talk.client.place.ip, talk.client.port)
    assert distance(quote.seq, talk.client.iss + 1) == at
    talk.server.ack()
    noop = b"NOOP\r\n"
    position = talk.client.sent
    talk.client.say(noop)
    talk.server.hears(noop)
    told = talk.server.data[-1]
    inbox.clear()
    talk.server.place.error(told.source, told, kind=11, code=0, size=28)  # not acknowledged yet: else it isn't believed
    stage.links.until(lambda: any(one.quote for one in inbox), "the second ICMP error")
    talk.server.auto = True
    talk.server.ack()
    quote = next(one.quote for one in inbox if one.quote)
    assert distance(quote.seq, talk.client.iss + 1) == position, (
        f"the quote is in other numbers: {distance(quote.seq, talk.client.iss + 1)}, not {position}"
    )
    talk.server.send(b"", "R", at=talk.server.sent)
    stage.links.until(lambda: talk.client.reset, "the server's RST")
    talk = stage.talk()
    talk.port()
    talk.client.send(b"", "RA")
    stage.links.until(lambda: talk.server.reset, "a RST at the number that the server expects")
    talk.right()


@case(56, "a full segment that grows: not one byte lost, no segment beyond the MSS, no packet beyond the MTU")
def test_ftp_56_growth_beyond_the_mss(stage: Stage) -> None:
    for mss in (1460, 1452, 1240, 536):
        talk = stage.talk(server={"mss": mss})
        for first in (True, False):
            line = port_line(talk.client.place.ip, stage.links.port())
            filler = b"NOOP " + b"f" * (mss - 7 - len(line)) + b"\r\n"
            text = filler + line if first else line + filler
            start = len(talk.server.stream)
            talk.client.say(text)
            got = talk.server.lines_after(start, len(filler) + 10)
            assert filler in got, (len(got), len(filler), got[:40], got[-40:])
            assert named(got) == (stage.public, named(line)[1])
            assert len(got) > mss or len(line) + len(filler) < mss, "it did not grow: this proves nothing"
        assert max(len(one.data) for one in talk.server.data) <= mss
        talk.works()


@case(57, "a fragmented line is put together or dropped, never let through uninspected")
def test_ftp_57_fragmented_line(stage: Stage) -> None:
    talk = stage.talk()
    line = port_line(talk.client.place.ip, stage.links.port())
    packet = talk.client.segment(line, head=Ip(df=False, ident=77))
    for part in fragments(packet, 24):
        talk.client.place.raw(part)
    stage.links.pump(0.1)
    private = talk.client.place.ip.replace(".", ",").encode()
    assert not any(
        private[:5] in one.raw or private[-5:] in one.raw for one in (*talk.server.arrived, *talk.server.place.inbox)
    )
    talk.client.say(line)
    stage.links.until(lambda: b"PORT" in talk.server.stream, "PORT")
    assert named(bytes(talk.server.stream))[0] == stage.public
    talk.server.say(b"200 ok\r\n")
    talk.client.hears(b"200 ok\r\n")
    talk.works()
