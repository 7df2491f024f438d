"""Exhaustion is logged at once, then once per minute with the number refused meanwhile; and its ICMP answer."""

from __future__ import annotations

import logging
import struct
from functools import partial
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import Any, cast

import pytest

from algate.alg.engine import icmp
from algate.alg.engine.effects import SessionInfo, SessionKey
from algate.alg.gateway.records import Punt
from algate.alg.helper import refusals
from algate.alg.helper.refused import HOSTS_MOST, RECENT, Refused
from algate.bpf import abi
from tests import packets
from tests.packets import Flow

TCP = 6
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


def test_the_hosts_refused_most_are_named(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """Each reason for itself, and how many more there are."""
    told = refusals.Refusals()
    told.note("no-port")
    for number in range(1, 6):
        for _ in range(number):
            told.note("host-sessions", bytes([10, 0, 0, number]), partial("host {} has 5 of 5".format, number))
    told.note("allow-out", bytes([10, 0, 0, 9]), lambda: "host 9")
    clock.now += 60.0
    told.note("host-rate", bytes([10, 0, 0, 8]), lambda: "host 8 may begin 5 a second")
    assert caplog.records[-1].getMessage() == (
        "new sessions refused: host-sessions (15), allow-out (1), host-rate (1); host 5 has 5 of 5; host 4 has 5 of 5;"
        " host 3 has 5 of 5; 2 more hosts for host-sessions: see `algate hosts --sort refused`; host 9;"
        " host 8 may begin 5 a second; `algate stats` has the totals"
    )
    for number in range(1000):
        told.note("host-sessions", number.to_bytes(4, "big"))
    assert sum(map(len, told._hosts.values())) <= refusals.HOSTS_MOST and len(told._facts) <= refusals.HOSTS_MOST


def punt(host: int, reason: str, proto: int = TCP) -> Punt:
    """A first packet of 10.0.0.`host` that was refused."""
    frame = packets.tcp(Flow(f"10.0.0.{host}", 40000, "203.0.113.2", 443), b"", "S")
    frame = frame[: 14 + 9] + bytes([proto]) + frame[14 + 10 :]
    number = next(at for at, (name, _) in abi.reasons().items() if name == reason)
    info = SessionInfo(0, SessionKey(bytes(4), 0, bytes(4), 0), bytes(4), 0)
    return Punt(abi.PuntKind.REFUSED, 0, info, 0, 0, 14, frame, None, number)


def gateway(config: abi.Config, **hosts: abi.Host) -> Any:
    known = {abi.ip_to_be32(IPv4Address(f"10.0.0.{name[1:]}")): row for name, row in hosts.items()}
    table = SimpleNamespace(get=lambda key: known.get(key.inside_ip))
    return cast(Any, SimpleNamespace(hosts=table, configs=[config], max_sessions=1000))


LIMITS = abi.Config(
    port_first=1024, port_last=65535, max_sessions_per_host=5, max_ports_per_host=7, new_sessions_per_second=3,
    max_unanswered_per_host=9,
)  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("host-sessions", "host 10.0.0.2 has 5 of 5 sessions (max_sessions_per_host)"),
        ("host-ports", "host 10.0.0.2 has 6 of 7 ports (max_ports_per_host)"),
        ("host-rate", "host 10.0.0.2 may begin 3 new sessions a second (new_sessions_per_second)"),
        ("host-unanswered", "host 10.0.0.2 has 8 of 9 unanswered tcp sessions (max_unanswered_per_host)"),
        ("share-sessions", "host 10.0.0.2 has 5 of 1000 sessions (host_share)"),
        ("share-ports", "host 10.0.0.2 has 4 of 64512 tcp ports (host_share)"),
        ("table-full", "host 10.0.0.2 has 5 of 1000 sessions (max_sessions)"),
        ("no-port", "host 10.0.0.2 has 4 of 64512 tcp ports (ports)"),
        ("allow-out", "host 10.0.0.2"),
    ],
)
def test_each_refusal_names_the_host_its_count_and_its_limit(
    reason: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    host = abi.Host(sessions=5, ports=6, unanswered=8, held=(4, 3, 2, 0))
    made = Refused(gateway(LIMITS, h2=host), lambda _: None, lambda *_: False)
    made.tell(punt(2, reason))
    assert caplog.messages == [f"new sessions refused: {reason} (1); {said}; `algate stats` has the totals"]


def test_who_was_refused_is_remembered_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    made = Refused(gateway(LIMITS), lambda _: None, lambda *_: False)
    for host, reason in ((2, "host-sessions"), (3, "host-ports"), (2, "host-sessions"), (2, "no-session")):
        now[0] += 1
        made.tell(punt(host, reason))
    assert [(one.source[3], one.reason, one.number, one.moment) for one in made.lately()] == [
        (2, "host-sessions", 2, 1003.0), (3, "host-ports", 1, 1002.0),
    ]  # fmt: skip
    now[0] = 1002.5 + RECENT
    assert [one.source[3] for one in made.lately()] == [2]
    now[0] += 100
    made.tell(punt(2, "host-sessions"))
    assert [(one.source[3], one.number) for one in made.lately()] == [(2, 1)], "an old story isn't added up"
    for number in range(300):
        made.tell(punt(number % 256, "host-rate" if number > 255 else "host-ports"))
    assert len(made.lately()) == HOSTS_MOST


def test_the_answer_is_code_13() -> None:
    """RFC 5508 REQ-8: unreachable, administratively prohibited, from the gateway to the sender, with its quote."""
    frame = packets.udp(FLOW, b"payload")
    answer = refusals.unreachable(frame, 14, IPv4Address("10.0.0.1"))
    assert answer is not None
    assert answer[14 + 9] == 1 and answer[34:36] == bytes([3, 13])
    assert answer[26:30] == IPv4Address("10.0.0.1").packed and answer[30:34] == frame[26:30]
    assert answer[42:] == frame[14:]
    assert icmp.checksum(answer[14:34]) == 0 and icmp.checksum(answer[34:]) == 0


@pytest.mark.parametrize(("load", "padding", "quoted"), [(0, 18, 28), (520, 0, 548), (521, 0, 548), (1472, 0, 548)])
def test_the_answer_quotes_what_has_room(load: int, padding: int, quoted: int) -> None:
    """RFC 1812 section 4.3.2.3, and what a link padded isn't of the packet."""
    frame = packets.udp(FLOW, b"x" * load) + bytes(padding)
    answer = refusals.unreachable(frame, 14, IPv4Address("10.0.0.1"))
    assert answer is not None and answer[42:] == frame[14 : 14 + quoted] and icmp.checksum(answer[34:]) == 0


def test_the_answer_about_several_packets_in_one() -> None:
    """Its transport checksum isn't one that its sender sent: only what every error quotes."""
    frame = packets.udp(FLOW, b"x" * 1000)
    frame = frame[:16] + (9000).to_bytes(2, "big") + frame[18:]
    answer = refusals.unreachable(frame, 14, IPv4Address("10.0.0.1"))
    assert answer is not None and answer[42:] == frame[14:42]


def test_errors_and_stumps_are_not_answered() -> None:
    gateway = IPv4Address("10.0.0.1")
    error = packets.icmp_error(FLOW, packets.udp(FLOW, b"x"))
    assert refusals.unreachable(error, 14, gateway) is None
    assert refusals.unreachable(packets.echo(FLOW, b"x"), 14, gateway) is not None
    assert refusals.unreachable(packets.udp(FLOW, b"x")[:41], 14, gateway) is None
    for size in range(42):
        assert refusals.unreachable(packets.udp(FLOW, b"x")[:size], 14, gateway) is None


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
