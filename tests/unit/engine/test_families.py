"""What the engine makes for IPv6 and NAT64: frames of the right family to each end, errors, unkept ports."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address

import pytest

from algate.alg.engine import effects as fx
from algate.alg.engine import frames
from algate.alg.engine.expectations import Book, Expectations
from algate.alg.engine.frames import ACK
from algate.alg.engine.icmp import FRAG_NEEDED, HOST_UNREACHABLE, unreachable
from algate.alg.engine.sink import Sink
from algate.alg.plugin.model import (
    Action,
    Direction,
    EndPoint,
    Event,
    Expect,
    Pass,
    Refuse,
    Replace,
    Reserve,
    Withdraw,
)
from tests.dialogues import GREETING, LOGIN, QUIT
from tests.ftplab import FtpLab
from tests.kernel_model import Packet, frame_of
from tests.textbook import Exchange
from tests.toy import Ports
from tests.wire import INFO, INSIDE6, NAT64, PUBLIC, REMOTE, REMOTE6, SIX, Lab

NEXT = "02:00:00:00:00:02"  # or scapy asks the host's neighbours, and waits

pytestmark = pytest.mark.unit
SEEN = IPv6Address("64:ff9b::198.51.100.2").packed
EPRT = Exchange(b"EPRT |2|2001:db8:1::5|5001|\r\n", b"200 fine\r\n")


@pytest.mark.parametrize(
    ("info", "inside", "remote", "seen", "inner"),
    [
        (INFO, INFO.key.inside_ip, REMOTE, REMOTE, INFO.key.inside_ip),
        (NAT64, INSIDE6, REMOTE, SEEN, NAT64.key.inside_ip),
        (SIX, INSIDE6, REMOTE6, REMOTE6, INSIDE6),
        (NAT64._replace(prefix=None), INSIDE6, REMOTE, REMOTE, NAT64.key.inside_ip),
    ],
)
def test_addresses_of_a_session(info: fx.SessionInfo, inside: bytes, remote: bytes, seen: bytes, inner: bytes) -> None:
    assert (info.inside_ip, info.remote_ip, info.seen_ip, info.inner_ip) == (inside, remote, seen, inner)


@pytest.mark.parametrize("info", [NAT64, SIX])
def test_a_dialogue_whole(info: fx.SessionInfo) -> None:
    passive = b"227 ok (198,51,100,2,19,138)\r\n" if info.public_ip else b"229 ok (|||5002|)\r\n"
    lab = FtpLab([GREETING, *LOGIN, EPRT, Exchange(b"EPSV\r\n", passive), QUIT], True, info=info)
    lab.finish()
    lab.check()
    assert lab.opened == lab.agreed == [(True, 5001), (False, 5002)]
    inward = lab.kernel.opened[0]
    assert inward.inside == EndPoint(IPv6Address(INSIDE6), 5001)
    assert inward.from_ip == info.remote_ip
    assert inward.to.ip.packed == (PUBLIC if info.public_ip else INSIDE6)


EPSV = Exchange(b"EPSV\r\n", b"227 Entering Passive Mode (198,51,100,2,19,138).\r\n")
LIST = Exchange(b"LIST\r\n", b"226 Directory send OK.\r\n")
PLAIN = [Exchange(b"USER a\r\n", b"331 who?\r\n"), Exchange(b"PASS b\r\n", b"230 in\r\n")]


@pytest.mark.parametrize("between", [(), (EPSV, LIST), (EPRT, LIST)], ids=["first", "again", "behind EPRT"])
def test_by_nat64_an_epsv_and_its_227_wait_for_nobody(between: tuple[Exchange, ...]) -> None:
    """The kernel says them in the other family's words, and the helper reads them afterwards."""
    lab = FtpLab([GREETING, *PLAIN, *between, EPSV, LIST, QUIT], True, info=NAT64)
    held, retold, punt = [0], [b""], lab.kernel.punt

    def count(segment: fx.Segment) -> None:
        held[0] += not segment.copied
        retold[0] += segment.frame[segment.payload_offset :] if segment.retold else b""
        punt(segment)

    lab.kernel.punt = count
    lab.finish()
    lab.check()
    asked = 1 + (EPSV in between)
    assert retold[0] == (EPSV.command + EPSV.reply) * asked and held[0] == (EPRT in between)
    assert lab.opened == lab.agreed and lab.agreed[-1] == (False, 5002)


LONGER, ALL = Replace(6, b"PASVX\r\n"), Replace(6, b"PASV\r\n")
ANOTHER = (Replace(5, b"PASV\r"), Pass(1))


@pytest.mark.parametrize(
    ("said", "sound"),
    [
        ([ALL], True), ([Event("told"), ALL], True), ([Withdraw(9), Event("told"), ALL], True),
        ([ALL, Event("told")], True), ([LONGER], False), ([ALL, ALL], False), ([Event("told"), *ANOTHER], False),
        ([Pass(6)], False), ([], False), ([Refuse(6, b"no\r\n")], False),
    ],
)  # fmt: skip
def test_what_the_kernel_said_in_other_words_must_be_given_others_as_long(said: list[Action], sound: bool) -> None:
    lab = FtpLab([GREETING, *PLAIN], True, info=NAT64)
    lab.finish()
    inner = lab.engine._sessions[77].conversation

    class Otherwise:
        def __getattr__(self, name: str) -> object:
            return getattr(inner, name)

        def feed(self, *_: object, **__: object) -> object:
            return said

    lab.engine._sessions[77].conversation = Otherwise()  # type: ignore[assignment]
    lab.client.stream += EPSV.command
    lab.kernel.segment(fx.OUT, lab.client.send(lab.client.sent, 6))
    (copy,) = lab.punts
    assert copy.retold
    effects = lab.engine.segment(copy, lab.now)
    told = [one.event.event for one in effects if isinstance(one, fx.Announce)]
    assert lab.engine.counts["plugin-failed"] == (not sound)
    assert told == ((["told"] if Event("told") in said else []) if sound else ["plugin-failed"])


def test_by_nat64_the_answer_to_an_eprt_opens_as_it_leaves() -> None:
    """So the connection that comes right behind it is held by nobody, though the answer was not read."""
    lab = FtpLab([GREETING, *PLAIN], True, info=NAT64)
    lab.finish()
    lab.client.stream += EPRT.command
    lab.launch(fx.OUT, lab.client.send(lab.client.sent, len(EPRT.command)))
    lab.run()
    (pending,) = lab.kernel.expectations.values()
    assert lab.kernel.adjust is not None and lab.kernel.adjust.agrees == pending.id and not lab.kernel.opened
    lab.server.stream += EPRT.reply
    lab.kernel.segment(fx.IN, lab.server.send(lab.server.sent, len(EPRT.reply)))
    assert [one.copied for one in lab.punts] == [True] and [one.id for one in lab.kernel.opened] == [pending.id]
    lab.run()
    assert len(lab.kernel.opened) == 1 and lab.engine.counts["plugin-failed"] == 0


def test_in_one_segment_with_the_next_it_goes_on_once_more_in_other_words() -> None:
    lab = FtpLab([GREETING, *PLAIN], True, info=NAT64)
    lab.finish()
    for line in (EPSV.command, b"NOOP\r\n"):
        lab.client.stream += line
        lab.kernel.segment(fx.OUT, lab.client.send(lab.client.sent, len(line)))
    lab.queue.clear()
    lab.kernel.segment(fx.OUT, lab.client.send(lab.client.una, 12))
    lab.think()
    assert lab.engine.counts["line-again"] == 2
    lab.run()
    assert bytes(lab.server.got).endswith(b"PASV\r\nNOOP\r\n")


def test_whoever_comes_after_a_helper_that_has_not_read_it_knows_that_it_may_have_been_asked() -> None:
    lab = FtpLab([GREETING, *LOGIN, EPSV, LIST, QUIT], True, info=NAT64)
    heard = len(lab.to_client) - len(QUIT.reply) - len(LIST.reply) - len(EPSV.reply)
    while len(lab.client.got) < heard:
        for side in (0, 1):
            lab.speak(side, lab.ends[side].sent, 400)
        lab.run()
    punt, unread = lab.kernel.punt, [0]

    def lose(segment: fx.Segment) -> None:
        unread[0] += segment.retold

    lab.kernel.punt = lose  # the EPSV's copy never comes
    lab.speak(0, lab.client.sent, 400)
    lab.run()
    assert unread == [1] and bytes(lab.server.got).endswith(b"PASV\r\n")
    lab.kernel.punt = punt
    lab.restart()
    lab.finish()
    lab.check()


@pytest.mark.parametrize("info", [NAT64, SIX])
def test_an_answer_of_the_gateways_comes_from_whom_the_client_knows(info: fx.SessionInfo) -> None:
    lab = FtpLab([GREETING, EPRT], True, info=info)  # nobody has logged in
    for _ in range(4):
        lab.speak(1, 0, 400)
        lab.speak(0, 0, 400)
        lab.run()
    assert bytes(lab.client.got).endswith(b"530 algate: log in first, with USER and PASS.\r\n")


@pytest.mark.parametrize("info", [NAT64, SIX])
@pytest.mark.parametrize("side", [0, 1])
def test_after_an_outage_who_was_not_taken_is_told_which_byte(info: fx.SessionInfo, side: int) -> None:
    lab = Lab(stamps=True, info=info)
    end = lab.ends[side]
    end.stream = b"noop\n"
    lab.outage(0, known=True)
    lab.launch(side, end.send(0, 5))
    lab.arrive(0)
    lab.restart()
    assert end.hurried and not lab.ends[1 - side].hurried


def test_what_is_cut_fits_the_way_of_its_family() -> None:
    """1300 bytes leave room for 1240 of TCP; under NAT64, where the kernel says what IPv4 may take, for 1260."""
    for info, room in ((SIX, 1240), (NAT64, 1260)):
        lab = Lab(info=info)
        paths = lab.engine._sessions[77].paths
        for path in paths:
            path.learn(1300, lab.now)
        assert [path.room for path in paths] == [room, room]


def checked6(error: bytes) -> bytes:
    """The IPv6 packet of a frame, its checksum and lengths right."""
    ip = error[14:]
    (size,) = struct.unpack_from("!H", ip, 4)
    assert error[12:14] == b"\x86\xdd" and len(ip) == size + 40 and ip[6] == 58
    total = int.from_bytes(ip[8:40], "big") + size + 58 + int.from_bytes(ip[40:] + b"\0" * (len(ip) & 1), "big")
    assert total % 0xFFFF == 0
    return ip


def test_packet_too_big_quotes_what_was_sent() -> None:
    frame = frame_of(Packet(REMOTE6, INSIDE6, 21, 4000, 7, 8, ACK, 9, b"x" * 1400))
    error = unreachable(fx.INJECT_RAW_OUT, frame, 14, INSIDE6, FRAG_NEEDED, 1380)
    assert error is not None and error[0] == fx.INJECT_RAW_OUT
    ip = checked6(error)
    assert (ip[8:24], ip[24:40], len(ip)) == (INSIDE6, REMOTE6, 1280)
    assert ip[40:48] == b"\2\0" + ip[42:44] + (1380).to_bytes(4, "big")
    assert ip[48:] == frame[14 : 14 + 1232]
    assert unreachable(fx.INJECT_RAW_OUT, error, 14, REMOTE6, FRAG_NEEDED) is None, "about an error"
    assert unreachable(fx.INJECT_RAW_OUT, frame[:60], 14, INSIDE6, FRAG_NEEDED) is None
    assert unreachable(fx.INJECT_RAW_OUT, frame, 14, PUBLIC, FRAG_NEEDED) is None, "of another family"


def test_several_segments_in_one_are_quoted_by_their_header() -> None:
    frame = bytearray(frame_of(Packet(REMOTE6, INSIDE6, 21, 4000, 7, 8, ACK, 9, b"x" * 1400)))
    frame[18:20] = (6000).to_bytes(2, "big")
    error = unreachable(fx.INJECT_RAW_OUT, bytes(frame), 14, INSIDE6, HOST_UNREACHABLE)
    assert error is not None
    ip = checked6(error)
    assert ip[40:42] == b"\1\0" and ip[48:] == bytes(frame[14 : 14 + 48])


def test_an_echo_may_be_answered() -> None:
    echo = bytes(14) + struct.pack("!IHBB", 6 << 28, 16, 58, 64) + REMOTE6 + INSIDE6 + b"\x80\0" + bytes(14)
    assert unreachable(0x32, echo, 14, INSIDE6, HOST_UNREACHABLE) is not None


def test_without_translation_a_port_is_the_hosts_own() -> None:
    book = Expectations(Ports(), 8, 8)
    own = EndPoint(IPv6Address(INSIDE6), 5001)
    assert book.reserve(Book(), SIX, Reserve(1, own), Sink()) == own
    assert book.reserve(Book(), SIX, Reserve(1, own, count=9, shared=True), Sink()) == own


def test_a_datagram_with_another_payload() -> None:
    from scapy.layers.inet import UDP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import Ether
    from scapy.packet import Raw

    def packet(data: bytes) -> bytes:
        ends = IPv6(src=str(IPv6Address(REMOTE6)), dst=str(IPv6Address(INSIDE6)), tc=4, hlim=9)
        return bytes(Ether(dst=NEXT) / ends / UDP(sport=69, dport=4000) / Raw(data))

    assert frames.with_payload(packet(b"short"), 14, b"quite long") == packet(b"quite long")


def test_a_datagram_may_answer_to_the_asking_port_of_ipv6_too() -> None:
    """TFTP: without translation that is the inside end point itself."""
    book = Expectations(Ports(), 8, 8)
    info = SIX._replace(key=SIX.key._replace(proto=17))
    out, own = Sink(1.0), EndPoint(IPv6Address(INSIDE6), 3000)
    book.expect(Book(), info, Expect(1, Direction.IN, IPv6Address(REMOTE6), own, 30.0, "udp", open=True), out)
    (made,) = out.effects
    assert isinstance(made, fx.PutExpectation) and made.expectation.inside == made.expectation.to == own
