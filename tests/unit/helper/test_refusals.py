"""Exhaustion is logged at once, then once per minute with the number refused meanwhile; and its ICMP answer."""

from __future__ import annotations

import logging
import struct
from ipaddress import IPv4Address

import pytest

from algate.alg.engine import icmp
from algate.alg.helper import refusals
from tests import packets
from tests.packets import Flow

FLOW = Flow("10.0.0.2", 40000, "203.0.113.2", 443)


class Clock:
    """`now` is set by hand."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(refusals, "time", made)
    return made


def test_once_a_minute(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    told = refusals.Refusals()
    with caplog.at_level(logging.WARNING):
        for second in range(121):
            clock.now = 1000.0 + second
            told.note("no-port")
            if second % 10 == 0:
                told.note("table-full")
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "new sessions refused: no-port (1); `algate stats` has the totals",
        "new sessions refused: table-full (6), no-port (60); `algate stats` has the totals",
        "new sessions refused: table-full (6), no-port (60); `algate stats` has the totals",
    ]


def test_a_quiet_hour_and_then_at_once(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    told = refusals.Refusals()
    told.note("no-port")
    clock.now += 3600
    told.note("host-ports")
    assert [record.getMessage().split(";")[0] for record in caplog.records] == [
        "new sessions refused: no-port (1)",
        "new sessions refused: host-ports (1)",
    ]


def test_the_answer_is_code_13() -> None:
    """RFC 5508 REQ-8: unreachable, administratively prohibited, from the gateway to the sender, with its quote."""
    frame = packets.udp(FLOW, b"payload")
    answer = refusals.unreachable(frame, 14, IPv4Address("10.0.0.1"))
    assert answer is not None
    assert answer[14 + 9] == 1 and answer[34:36] == bytes([3, 13])
    assert answer[26:30] == IPv4Address("10.0.0.1").packed and answer[30:34] == frame[26:30]
    assert answer[42:] == frame[14 : 14 + 28]
    assert icmp.checksum(answer[14:34]) == 0 and icmp.checksum(answer[34:]) == 0


def test_errors_and_stumps_are_not_answered() -> None:
    gateway = IPv4Address("10.0.0.1")
    error = packets.icmp_error(FLOW, packets.udp(FLOW, b"x"))
    assert refusals.unreachable(error, 14, gateway) is None
    assert refusals.unreachable(packets.echo(FLOW, b"x"), 14, gateway) is not None
    assert refusals.unreachable(packets.udp(FLOW, b"x")[:41], 14, gateway) is None
    assert refusals.unreachable(b"", 14, gateway) is None


@pytest.mark.parametrize("flags", ["A", "PA", "FA"])
def test_a_segment_of_no_session_is_answered_with_rst(flags: str) -> None:
    """RFC 9293 section 3.10.7.1: from its destination, at the number that it acknowledged."""
    frame = packets.tcp(FLOW, b"NOOP\r\n", flags, seq=1000, ack=0xFFFFFFF0)
    ports = struct.unpack("!HH", frame[34:38])
    ended = (frame[26:30], ports[0], frame[30:34], ports[1])
    answer = refusals.reset(frame, 14, lambda *ends: ends == ended)
    assert answer is not None
    assert refusals.reset(frame, 14, lambda *_: False) is None, "never ours: its route may be away for a second"
    assert answer[26:30] == frame[30:34] and answer[30:34] == frame[26:30]
    assert answer[34:36] == frame[36:38] and answer[36:38] == frame[34:36]
    assert answer[38:42] == bytes.fromhex("fffffff0") and answer[47] == 4 and len(answer) == 54
    pseudo = answer[26:34] + bytes([0, 6, 0, 20])
    assert icmp.checksum(answer[14:34]) == 0 and icmp.checksum(pseudo + answer[34:]) == 0


def test_neither_rst_nor_what_acknowledges_nothing_is_answered() -> None:
    for flags in ("R", "RA", "S", "F"):
        assert refusals.reset(packets.tcp(FLOW, b"", flags), 14, lambda *_: True) is None
    assert refusals.reset(packets.udp(FLOW, b"x" * 40), 14, lambda *_: True) is None
    assert refusals.reset(packets.tcp(FLOW, b"", "A")[:50], 14, lambda *_: True) is None
