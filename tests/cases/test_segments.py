"""FTP-32 to FTP-34, FTP-39: announcements in pieces, several at once, several in flight, next to urgent data."""

from __future__ import annotations

import fcntl
import socket
import struct
import time

import pytest

from tests.cases.bed import Bed
from tests.cases.case import case
from tests.cases.dialogue import Dialogue, dialogue
from tests.cases.ends import Speaker

SIOCATMARK = 0x8905  # asm-generic/sockios.h


def cut(line: bytes, size: int) -> list[bytes]:
    """Pieces of that many bytes."""
    return [line[at : at + size] for at in range(0, len(line), size)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 13])
@pytest.mark.parametrize("pause", [0.0, 0.005])
@case(32, "a 227 late and in several segments, down to one byte each: it arrives whole and in time, nothing is lost")
def test_ftp_32_reply_in_pieces(bed: Bed, size: int, pause: float) -> None:
    with dialogue(bed, "server") as d:
        port = d.new_port()
        d.command(b"PASV\r\n")
        d.server.say(*cut(b"227 Entering Passive Mode (" + d.six(port) + b").\r\n", size), pause=pause)
        since = time.monotonic()
        public = d.told(d.client, b"227 Entering Passive Mode (", b").\r\n")
        assert time.monotonic() - since < 3, "it waits for something that doesn't come"
        d.comes_in(public, port)
        d.alive()
        d.nothing_private()


@case(32, "a 227 late and in several segments, down to one byte each: it arrives whole and in time, nothing is lost")
def test_ftp_32_late_reply(bed: Bed) -> None:
    with dialogue(bed, "server") as d:
        port = d.new_port()
        d.command(b"PASV\r\n")
        d.client.silent(1.0)
        d.server.say(b"227 Ent")
        d.client.silent(0.5)
        d.server.say(b"ering Passive Mode (" + d.six(port) + b").\r\n")
        d.comes_in(d.told(d.client, b"227 Entering Passive Mode (", b").\r\n"), port)
        d.alive()


@pytest.mark.parametrize("size", [1, 5])
@case(32, "a 227 late and in several segments, down to one byte each: it arrives whole and in time, nothing is lost")
def test_ftp_32_command_in_pieces(bed: Bed, size: int) -> None:
    with dialogue(bed) as d:
        port = d.new_port()
        d.client.say(*cut(b"EPRT |1|10.77.0.2|%d|\r\n" % port, size))
        public = d.told_extended(d.server, b"EPRT |1|198.51.100.2|", b"|\r\n")
        d.reply(b"200 ok\r\n")
        d.comes_in(public, port)
        d.nothing_private()


PIPELINED = "several commands in one segment, several to rewrite among them: each is read, each reply is paired"


@case(33, PIPELINED)
def test_ftp_33_pasv_and_retr(bed: Bed) -> None:
    with dialogue(bed, "server") as d:
        port = d.new_port()
        d.command(b"PASV\r\nRETR f\r\n")
        d.server.say(b"227 Entering Passive Mode (" + d.six(port) + b").\r\n150 here it comes\r\n")
        public = d.told(d.client, b"227 Entering Passive Mode (", b").\r\n")
        d.client.hear(b"150 here it comes\r\n")
        d.comes_in(public, port)
        d.reply(b"226 done\r\n")
        d.alive()


@case(33, PIPELINED)
def test_ftp_33_login_and_port(bed: Bed) -> None:
    with Dialogue(bed) as d:
        port = d.new_port()
        d.reply(b"220 ready\r\n")
        d.client.say(b"USER lab\r\nPASS x\r\nPORT " + d.six(port) + b"\r\nLIST\r\n")
        d.server.hear(b"USER lab\r\nPASS x\r\n")
        public = d.told(d.server, b"PORT ", b"\r\n")
        d.server.hear(b"LIST\r\n")
        d.reply(b"331 password?\r\n230 welcome\r\n200 PORT done\r\n150 here it comes\r\n")
        d.comes_in(public, port)
        d.reply(b"226 done\r\n")
        d.alive()


@case(33, PIPELINED)
def test_ftp_33_rewrites_in_one_segment(bed: Bed) -> None:
    with dialogue(bed) as d:
        one, two, three = d.new_port(), d.new_port(), d.new_port()
        lines = (b"PORT " + d.six(one), b"NOOP", b"EPRT |1|10.77.0.2|%d|" % two, b"PORT " + d.six(three), b"LIST")
        d.client.say(b"".join(line + b"\r\n" for line in lines))
        first = d.told(d.server, b"PORT ", b"\r\n")
        d.server.hear(b"NOOP\r\n")
        second = d.told_extended(d.server, b"EPRT |1|198.51.100.2|", b"|\r\n")
        third = d.told(d.server, b"PORT ", b"\r\n")
        d.server.hear(b"LIST\r\n")
        d.reply(b"200 one\r\n200 noop\r\n200 two\r\n200 three\r\n150 list\r\n")
        d.shut_in(first, one)
        d.shut_in(second, two)
        d.comes_in(third, three)
        d.reply(b"226 done\r\n")
        d.alive()
        d.nothing_private()


@case(34, "several rewrites in flight before the first is acknowledged: every later byte and acknowledgement fits")
def test_ftp_34_rewrites_in_flight(bed: Bed) -> None:
    with dialogue(bed) as d:
        ports = [d.new_port() for _ in range(5)]
        with bed.mute():
            for port in ports:
                d.client.say(b"PORT " + d.six(port) + b"\r\n")
            bed.until(lambda: d.wire().outside.up.bytes().count(b"PORT 198,51,100,2,") == len(ports))
            first, ends = d.wire().outside.up, (d.server.local, d.server.remote)
            acks = [(s.ack - first.start - 1) % (1 << 32) for s in bed.links()[1].segments if (s.src, s.dst) == ends]
            assert max(acks) <= first.bytes().index(b"PORT"), "not in flight"
        told = [d.told(d.server, b"PORT ", b"\r\n") for _ in ports]
        d.reply(b"200 ok\r\n" * len(ports))
        d.comes_in(told[-1], ports[-1])
        for _ in range(10):
            d.alive()
        d.comes_in(d.port(ports[0]), ports[0])
        d.nothing_private()
        streams(d)


@case(34, "several rewrites in flight before the first is acknowledged: every later byte and acknowledgement fits")
def test_ftp_34_replies_in_flight(bed: Bed) -> None:
    with dialogue(bed, "server") as d:
        ports = [d.new_port() for _ in range(4)]
        d.command(b"PASV\r\n" * len(ports))
        with bed.mute():
            for port in ports:
                d.server.say(b"227 (" + d.six(port) + b")\r\n")
            bed.until(lambda: d.wire().outside.down.bytes().count(b"227 (198,51,100,2,") == len(ports))  # type: ignore[union-attr]
        told = [d.told(d.client, b"227 (", b")\r\n") for _ in ports]
        d.comes_in(told[-1], ports[-1])
        for _ in range(10):
            d.alive()
        streams(d)


def streams(d: Dialogue) -> None:
    """Apart from announcements both links carried the same bytes, and nobody acknowledged what wasn't sent."""
    wire = d.wire()
    for one, other in ((wire.inside.up, wire.outside.up), (wire.inside.down, wire.outside.down)):
        assert one is not None and other is not None
        a, b = one.bytes().split(b"\r\n"), other.bytes().split(b"\r\n")
        assert len(a) == len(b), f"{len(a)} lines inside, {len(b)} outside"
        assert all(x == y or b"PORT" in x or b"227" in x for x, y in zip(a, b, strict=True))
    inside, _ = d.bed.links()
    up = wire.inside.up
    for segment in inside.segments:
        if (segment.src, segment.dst) == (wire.inside.server, wire.inside.client) and segment.ack:
            assert (segment.ack - up.start - 1) % (1 << 32) <= len(up.bytes()) + 1, "acknowledges what was never sent"


URGENT = "Telnet Synch and ABOR with URG: the urgent byte stays the same one where lengths have changed"


@case(39, URGENT)
def test_ftp_39_after_a_rewrite(bed: Bed) -> None:
    with dialogue(bed) as d:
        d.port(d.new_port())
        d.command(b"RETR f\r\n")
        d.client.socket.send(b"\xff\xf4\xff\xf2", socket.MSG_OOB)
        d.client.say(b"ABOR\r\n")
        assert urgent(d.server) == (b"\xff\xf4\xff", b"\xf2", b"ABOR\r\n")
        d.reply(b"426 cut\r\n226 done\r\n")
        d.alive()


@case(39, URGENT)
def test_ftp_39_in_the_segment_of_a_rewrite(bed: Bed) -> None:
    with dialogue(bed) as d:
        port = d.new_port()
        d.client.socket.send(b"PORT " + d.six(port) + b"\r\n\xff\xf4\xff\xf2", socket.MSG_OOB)
        d.client.say(b"ABOR\r\n")
        before, byte, after = urgent(d.server)
        assert byte == b"\xf2", f"the urgent byte is {byte!r} behind {before!r}"
        assert (before[:18], before[-5:], byte, after) == (
            b"PORT 198,51,100,2,",
            b"\r\n\xff\xf4\xff"[-5:],
            b"\xf2",
            b"ABOR\r\n",
        )
        d.reply(b"200 ok\r\n226 no transfer\r\n")
        d.comes_in(port, port)
        d.alive()


def urgent(speaker: Speaker) -> tuple[bytes, bytes, bytes]:
    """What is before the urgent byte, the byte, and what follows up to a LF."""
    sock = speaker.socket
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    before = b""
    while not at_mark(sock):
        more = speaker.read(1)
        assert more, f"no urgent byte after {before!r}"
        before += more
        assert len(before) < 100, f"no urgent byte within {before!r}"
    return before, speaker.read(1), speaker.line()


def at_mark(sock: socket.socket) -> bool:
    """Whether the next byte is the urgent one."""
    return bool(struct.unpack("i", fcntl.ioctl(sock, SIOCATMARK, struct.pack("i", 0)))[0])
