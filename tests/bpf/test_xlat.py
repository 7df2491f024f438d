"""Whole packets from one family to the other by test-run, on the kernel: scapy computes what must come out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scapy.layers import inet, inet6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from algate.bpf import compiler, libbcc, testrun

pytestmark = pytest.mark.bpf

SOURCE = Path(__file__).parent.parent / "xlat.bpf.c"
FOUR = {"src": "203.0.113.9", "dst": "198.51.100.200"}
SIX = {"src": "2001:db8:64::cb00:7109", "dst": "2001:db8:64::c633:64c8"}

PASSED = (0, 2**32 - 1)  # TC_ACT_OK, TC_ACT_UNSPEC


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """Descriptors of the two programs."""
    artifact, _ = compiler.get(("to4", "to6"), tmp_path_factory.mktemp("headers"), SOURCE)
    fds = {}
    for name, code in artifact.programs.items():
        fds[name] = libbcc.load(libbcc.SCHED_CLS, name, code)
    yield fds
    for fd in fds.values():
        os.close(fd)


def turned(programs: dict[str, int], name: str, packet: Packet) -> bytes | None:
    """The packet after the program; None: dropped."""
    result = testrun.run(programs[name], bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / packet))
    if result.value not in PASSED:
        return None
    assert result.data[12:14] == (b"\x86\xdd" if result.data[14] >> 4 == 6 else b"\x08\x00")
    return result.data[14:]


def bodies(size: int) -> list[tuple[Packet, Packet]]:
    data = bytes(number % 251 for number in range(size))
    tcp, udp = {"sport": 5, "dport": 6, "seq": 7, "flags": "PA"}, {"sport": 5, "dport": 6}
    return [
        (inet.TCP(**tcp) / data, inet.TCP(**tcp) / data),
        (inet.UDP(**udp) / data, inet.UDP(**udp) / data),
        (inet.ICMP(type=8, id=5, seq=6) / data, inet6.ICMPv6EchoRequest(id=5, seq=6) / data),
        (inet.ICMP(type=0, id=5, seq=6) / data, inet6.ICMPv6EchoReply(id=5, seq=6) / data),
    ]


SIZES = [0, 1, 2, 3, 1211, 1232, 1233, 1400]


@pytest.mark.parametrize("size", SIZES)
def test_to_6(programs: dict[str, int], size: int) -> None:
    for four, six in bodies(size):
        packet = inet.IP(tos=0xB9, ttl=64, flags="DF", id=1, **FOUR) / four
        expected = inet6.IPv6(tc=0xB9, hlim=63, **SIX) / six
        assert turned(programs, "to6", packet) == bytes(expected)


@pytest.mark.parametrize("size", SIZES)
def test_to_4(programs: dict[str, int], size: int) -> None:
    for four, six in bodies(size):
        packet = inet6.IPv6(tc=0xB9, fl=0x12345, hlim=64, **SIX) / six
        small = 20 + len(four) <= 1260
        head: dict[str, Any] = {"flags": 0, "id": 7} if small else {"flags": "DF", "id": 0}
        assert turned(programs, "to4", packet) == bytes(inet.IP(tos=0xB9, ttl=63, **head, **FOUR) / four)


@pytest.mark.parametrize("size", SIZES)
def test_there_and_back(programs: dict[str, int], size: int) -> None:
    """A wrong sum stays wrong by the same amount, so it comes back as it was."""
    for four, _ in bodies(size):
        four.chksum = 0x1234
        there = turned(programs, "to6", inet.IP(ttl=64, flags="DF", id=1, **FOUR) / four)
        assert there is not None
        back = turned(programs, "to4", inet6.IPv6(there))
        assert back is not None
        assert back[20:] == bytes(four)


def test_what_has_run_out_stays(programs: dict[str, int]) -> None:
    assert turned(programs, "to6", inet.IP(ttl=1, **FOUR) / inet.UDP()) is None
    assert turned(programs, "to4", inet6.IPv6(hlim=1, **SIX) / inet.UDP()) is None


@pytest.mark.parametrize("size", [0, 1, 2, 3, 5, 500, 1471, 1472])
def test_a_datagram_without_a_checksum_gets_one(programs: dict[str, int], size: int) -> None:
    data = bytes(number % 251 for number in range(size))
    packet = inet.IP(ttl=64, flags="DF", id=1, **FOUR) / inet.UDP(sport=5, dport=6, chksum=0) / data
    assert turned(programs, "to6", packet) == bytes(inet6.IPv6(hlim=63, **SIX) / inet.UDP(sport=5, dport=6) / data)


def test_a_computed_zero_is_sent_as_its_other_form(programs: dict[str, int]) -> None:
    """Zero would say that there is none."""
    summed = int.from_bytes(bytes(inet6.IPv6(**SIX) / inet.UDP(sport=5, dport=6) / bytes(2))[46:48], "big")
    data = summed.to_bytes(2, "big")
    packet = inet.IP(ttl=64, flags="DF", id=1, **FOUR) / inet.UDP(sport=5, dport=6, chksum=0) / data
    there = turned(programs, "to6", packet)
    assert there is not None
    assert there[46:48] == b"\xff\xff"


def test_a_datagram_without_a_checksum_that_is_too_large_stays(programs: dict[str, int]) -> None:
    packet = inet.IP(ttl=64, id=1, **FOUR) / inet.UDP(chksum=0) / bytes(1473)
    assert turned(programs, "to6", packet) is None


def nought(version: int) -> bytes:
    """Two bytes of payload with which the datagram's sum is zero in that family."""
    head = inet.IP(**FOUR) if version == 4 else inet6.IPv6(**SIX)
    return bytes(head / inet.UDP(sport=5, dport=6) / bytes(2))[-4:-2]


def test_a_sum_that_becomes_zero_is_sent_as_its_other_form(programs: dict[str, int]) -> None:
    four = turned(programs, "to4", inet6.IPv6(**SIX) / inet.UDP(sport=5, dport=6) / nought(4))
    six = turned(programs, "to6", inet.IP(**FOUR) / inet.UDP(sport=5, dport=6) / nought(6))
    assert four is not None
    assert six is not None
    assert four[26:28] == six[46:48] == b"\xff\xff"


def test_ipv6_knows_no_datagram_without_a_checksum(programs: dict[str, int]) -> None:
    assert turned(programs, "to4", inet6.IPv6(**SIX) / inet.UDP(chksum=0) / b"data") is None


def pieces(proto: str, chksum: int | None = None) -> list[tuple[Packet, Packet]]:
    """The fragments of a datagram of 3,000 bytes in both families, with one id."""
    data = bytes(number % 251 for number in range(3000))
    over: dict[str, Any] = {"sport": 5, "dport": 6} | ({} if chksum is None else {"chksum": chksum})
    whole4 = bytes(inet.IP(**FOUR) / getattr(inet, proto)(**over) / data)[20:]
    whole6 = bytes(inet6.IPv6(**SIX) / getattr(inet, proto)(**over) / data)[40:]
    number = {"TCP": 6, "UDP": 17}[proto]
    found = []
    for at in range(0, len(whole4), 1200):
        more = at + 1200 < len(whole4)
        head4 = inet.IP(proto=number, id=0x5678, frag=at // 8, flags="MF" if more else 0, **FOUR)
        head6 = inet6.IPv6(**SIX) / inet6.IPv6ExtHdrFragment(nh=number, offset=at // 8, m=int(more), id=0x5678)
        found.append((head4 / whole4[at : at + 1200], head6 / whole6[at : at + 1200]))
    return found


@pytest.mark.parametrize("proto", ["TCP", "UDP"])
def test_fragments_keep_their_place_and_id(programs: dict[str, int], proto: str) -> None:
    for four, six in reversed(pieces(proto)):
        four.ttl, six.hlim = 64, 63
        assert turned(programs, "to6", four) == bytes(six)
        four.ttl, six.hlim = 63, 64
        assert turned(programs, "to4", six) == bytes(four)


def test_fragments_of_what_is_summed_as_a_whole_stay(programs: dict[str, int]) -> None:
    """A datagram without a checksum at its head, ICMP in every part: its sum needs what the other parts have."""
    assert turned(programs, "to6", pieces("UDP", chksum=0)[0][0]) is None
    for frag, flags in ((0, "MF"), (100, 0)):
        assert turned(programs, "to6", inet.IP(flags=flags, frag=frag, **FOUR) / inet.ICMP() / bytes(32)) is None
        part = inet6.IPv6ExtHdrFragment(offset=frag, m=int(bool(flags)))
        assert turned(programs, "to4", inet6.IPv6(**SIX) / part / inet6.ICMPv6EchoRequest() / bytes(32)) is None


def test_an_atomic_fragment_is_a_whole_packet(programs: dict[str, int]) -> None:
    """RFC 6946; what has a fragment header may be fragmented on (RFC 7915 section 5.1.1)."""
    for four, six in bodies(100):
        packet = inet6.IPv6(hlim=64, **SIX) / inet6.IPv6ExtHdrFragment(id=0x12345678) / six
        assert turned(programs, "to4", packet) == bytes(inet.IP(ttl=63, id=0x5678, flags=0, **FOUR) / four)


@pytest.mark.parametrize("size", [0, 8, 64])
def test_extension_headers_go(programs: dict[str, int], size: int) -> None:
    for four, six in bodies(100):
        options = inet6.IPv6ExtHdrDestOpt(options=[inet6.PadN(optdata=bytes(size + 4))])
        packet = inet6.IPv6(hlim=64, **SIX) / options / six
        assert turned(programs, "to4", packet) == bytes(inet.IP(ttl=63, id=7, **FOUR) / four)
