"""The comparison itself is tested: a planted difference in any byte must be found, and named."""

from __future__ import annotations

import pytest

from tests import packets
from tests.packets import Flow

pytestmark = pytest.mark.unit

FLOW = Flow("10.0.0.2", 40000, "198.51.100.7", 21)
FRAMES = {
    "tcp": packets.tcp(
        FLOW, b"PORT 10,0,0,2,1,2\r\n", "PA", options=[("NOP", None), ("NOP", None), ("Timestamp", (5, 6))]
    ),
    "syn": packets.tcp(FLOW, b"", "S", options=[("MSS", 1460), ("SAckOK", b""), ("NOP", None), ("WScale", 7)]),
    "udp": packets.udp(FLOW, b"hello"),
    "echo": packets.echo(FLOW, b"12345678"),
    "error": packets.icmp_error(FLOW.back, packets.tcp(FLOW, b"x" * 200), size=128, mtu=1400),
    "fragment": packets.fragments(packets.udp(FLOW, bytes(3000)), 1480)[1],
}


@pytest.mark.parametrize("kind", FRAMES)
def test_a_planted_difference_in_any_byte_is_found(kind: str) -> None:
    frame = FRAMES[kind]
    packets.same(frame, bytes(frame))
    for at in range(len(frame)):
        planted = bytearray(frame)
        planted[at] ^= 0x11
        with pytest.raises(AssertionError, match=r"differs:\n  \S+"):
            packets.same(bytes(planted), frame)
    for other in (frame[:-1], frame + b"\0"):
        assert packets.difference(other, frame)


def test_differences_are_named_as_fields() -> None:
    frame = FRAMES["tcp"]
    other = packets.changed(frame, IP_src="203.0.113.1", TCP_sport=50000, Raw_load=b"PORT 203,0,113,1,1,2\r\n")
    lines = packets.difference(other, frame)
    assert "IP.src: '203.0.113.1', expected '10.0.0.2'" in lines
    assert "TCP.sport: 50000, expected 40000" in lines
    assert any(line.startswith("IP.len: ") for line in lines)
    assert any(line.startswith("Raw.load: b'PORT 203") for line in lines)
    assert len([line for line in lines if "chksum: 0x" in line]) == 2


@pytest.mark.parametrize("kind", ["tcp", "syn", "udp", "echo", "fragment"])
def test_the_oracle_finds_a_wrong_sum(kind: str) -> None:
    frame = FRAMES[kind]
    packets.sums_are_right(frame)
    wrong = bytearray(frame)
    wrong[24] ^= 1
    with pytest.raises(AssertionError, match=r"IP\.chksum"):
        packets.sums_are_right(bytes(wrong))


def test_sums_against_arithmetic() -> None:
    """The oracle itself against RFC 1071, section 1."""
    for kind, proto in (("tcp", 6), ("udp", 17)):
        packet = FRAMES[kind][14:]
        assert ones(packet[:20]) == 0xFFFF
        assert ones(packet[12:20] + bytes([0, proto]) + (len(packet) - 20).to_bytes(2, "big") + packet[20:]) == 0xFFFF
    assert ones(FRAMES["echo"][34:]) == 0xFFFF
    assert ones(FRAMES["error"][34:]) == 0xFFFF


def ones(data: bytes) -> int:
    total = sum(int.from_bytes(data[i : i + 2].ljust(2, b"\0"), "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def test_absent_udp_sum_stays_absent_and_padding_stays() -> None:
    frame = packets.udp(FLOW, b"hello", checksum=0) + bytes(9)
    after = packets.changed(frame, IP_dst="10.9.9.9")
    assert packets.field(after, "UDP_chksum") == 0
    assert after[-9:] == bytes(9) and len(after) == len(frame)
    assert packets.payload(after) == b"hello"


def test_options_change_the_header_length() -> None:
    after = packets.changed(FRAMES["tcp"], TCP_options=[])
    assert len(after) == len(FRAMES["tcp"]) - 12
    packets.sums_are_right(after)


def test_error_quotes_as_much_as_asked() -> None:
    quoted = packets.tcp(FLOW, b"x" * 200)
    frame = packets.icmp_error(FLOW.back, quoted, size=8)
    assert frame[42:] == quoted[14:42]
    assert packets.icmp_error(FLOW.back, quoted, size=None)[42:] == quoted[14:]
    assert packets.icmp_error(FLOW.back, quoted, mtu=1400)[40:42] == (1400).to_bytes(2, "big")


def test_fragments_carry_everything_once() -> None:
    frame = packets.udp(FLOW, bytes(range(256)) * 12)
    parts = packets.fragments(frame, 1480)
    assert b"".join(part[34:] for part in parts) == frame[34:]
    for tail in parts[1:]:
        packets.sums_are_right(tail)
