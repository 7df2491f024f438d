"""Frames, with scapy as the oracle of every length and sum."""

from __future__ import annotations

from typing import Any

import pytest

from algate.alg.engine import frames
from algate.alg.engine.frames import ACK, BAD, GOOD, PSH, UNFINISHED, URG, Header

NEXT = "02:00:00:00:00:02"  # or scapy asks the host's neighbours, and waits

V4 = Header(bytes([10, 0, 0, 1]), bytes([198, 51, 100, 2]), 40000, 21, 77, 501)
V6 = V4._replace(src=bytes(15) + b"\1", dst=bytes(15) + b"\2", tos=0x20)


def scapy_frame(frame: bytes) -> Any:
    from scapy.layers.l2 import Ether

    return Ether(frame)


def resummed(frame: bytes) -> bytes:
    """The frame with every length and checksum computed by scapy."""
    from scapy.layers.inet import IP, TCP

    packet = scapy_frame(frame)
    if IP in packet:
        del packet[IP].chksum, packet[IP].len
    del packet[TCP].chksum
    return bytes(packet)


@pytest.mark.parametrize("header", [V4, V6, V4._replace(timestamps=(9, 8)), V4._replace(dont_fragment=False, ident=7)])
@pytest.mark.parametrize("payload", [b"", b"x", b"RETR a\r\n", bytes(range(256)) * 5 + b"odd"])
def test_built_frames_are_complete(header: Header, payload: bytes) -> None:
    frame = frames.build(0x12, header, 0x1_0000_0005, ACK | PSH, payload, 3)
    assert frame[0] == 0x12
    assert resummed(frame) == frame
    tcp = frames.tcp_offset(frame, 14)
    assert frames.checksum_state(frame, 14, tcp, len(frame)) == GOOD
    assert frames.packet_end(frame, 14) == len(frame)
    assert frame.endswith(payload)
    read = frames.read_header(frame, 14)
    assert read == header
    assert frame[tcp + 13] & URG and frames.urgent_pointer(frame, 14) == 3


@pytest.mark.parametrize("header", [V4, V6])
def test_an_unfinished_checksum_is_known_and_finished(header: Header) -> None:
    for payload in (b"odd", b"even"):
        frame = frames.build(0x12, header, 5, ACK, payload)
        tcp = frames.tcp_offset(frame, 14)
        pseudo = int.from_bytes(header.src + header.dst, "big") + 6 + len(frame) - tcp
        partial = frame[: tcp + 16] + (pseudo % 0xFFFF).to_bytes(2, "big") + frame[tcp + 18 :]
        assert frames.checksum_state(partial, 14, tcp, len(frame)) == UNFINISHED
        assert frames.finish_checksum(partial, 14, len(partial)) == frame


def test_a_flipped_bit_is_seen() -> None:  # FTP-51
    frame = bytearray(frames.build(0x12, V4, 5, ACK, b"PORT 1,2,3,4,5,6\r\n"))
    frame[60] ^= 4
    assert frames.checksum_state(bytes(frame), 14, 34, len(frame)) == BAD


def test_padding_stays_behind() -> None:
    frame = frames.build(0x12, V4, 5, ACK, b"a")
    padded = frame + bytes(9)
    assert frames.packet_end(padded, 14) == len(frame)
    assert frames.readdress(0x22, padded, 14, frames.packet_end(padded, 14)) == b"\x22" + frame[1:]


def test_udp_sums_are_finished_too() -> None:
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Ether
    from scapy.packet import Raw

    right = bytes(Ether(dst=NEXT) / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2) / Raw(b"abc"))
    wrong = right[:40] + b"\x12\x34" + right[42:]
    assert frames.finish_checksum(wrong, 14, len(wrong)) == right


def test_timestamps_in_any_place() -> None:
    from scapy.layers.inet import IP, TCP
    from scapy.layers.l2 import Ether

    def stamps(options: list[tuple[str, object]]) -> tuple[int, int] | None:
        return frames.timestamps(bytes(Ether(dst=NEXT) / IP() / TCP(options=options)), 34)

    assert stamps([]) is None
    assert stamps([("NOP", None), ("NOP", None), ("Timestamp", (5, 6))]) == (5, 6)
    assert stamps([("SAck", (1, 2)), ("Timestamp", (5, 6))]) == (5, 6)
    assert stamps([("MSS", 1460), ("EOL", None), ("Timestamp", (5, 6))]) is None


def test_broken_options_are_no_timestamps() -> None:
    for options in (b"\x08\x0a\0\0", b"\x05\x01\0\0", b"\x05\xff\0\0", b"\x01\x01\x01\x08", b"\0\0\0\0"):
        header = bytes(12) + bytes([(5 + len(options) // 4) << 4]) + bytes(7) + options
        assert frames.timestamps(header, 0) is None
