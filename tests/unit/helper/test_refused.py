"""Whom a refused first packet of IPv6 is answered by, and how."""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Any, cast

import pytest

from algate.alg.engine import effects as fx
from algate.alg.engine.frames import SYN
from algate.alg.gateway.records import Punt
from algate.alg.helper.refused import Refused
from algate.bpf import abi
from tests.kernel_model import Packet, frame_of
from tests.wire import INSIDE6, REMOTE6

pytestmark = pytest.mark.unit
GATEWAY = IPv6Address("2001:db8:1::1")
NUMBERS = {name: number for number, (name, _) in abi.reasons().items()}


class Desk:
    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.wanted = 0
        self.refused = Refused(cast(Any, None), self.sent.append, lambda *_: False)
        self.refused.gateway_address6 = GATEWAY
        self.refused.room_wanted = self._want

    def _want(self) -> None:
        self.wanted += 1

    def tell(self, reason: str) -> None:
        frame = frame_of(Packet(INSIDE6, REMOTE6, 40000, 443, 7, 0, SYN, 9, b""))
        info = fx.SessionInfo(0, fx.SessionKey(bytes(4), 0, bytes(4), 0), bytes(4), 0)
        self.refused.tell(Punt(0, 0, info, 0, 0, 14, frame, None, NUMBERS[reason]))


def said(frame: bytes) -> tuple[int, int]:
    """Type and code of an error from the gateway to the inside host, with a right checksum."""
    ip = frame[14:]
    assert frame[0] == fx.INJECT_RAW_IN and (ip[8:24], ip[24:40]) == (GATEWAY.packed, INSIDE6)
    total = int.from_bytes(ip[8:40], "big") + len(ip) - 40 + 58
    total += int.from_bytes(ip[40:] + b"\0" * (len(ip) & 1), "big")
    assert total % 0xFFFF == 0 and ip[48:88] == frame_of(Packet(INSIDE6, REMOTE6, 40000, 443, 7, 0, SYN, 9, b""))[14:54]
    return ip[40], ip[41]


def test_what_is_forbidden_is_answered_at_once() -> None:
    desk = Desk()
    desk.tell("allow-out")
    (frame,) = desk.sent
    assert said(frame) == (1, 1) and not desk.wanted


def test_what_there_is_no_room_for_is_answered_after_the_sweep() -> None:
    desk = Desk()
    desk.tell("table-full")
    assert desk.sent == [] and desk.wanted == 1
    desk.refused.settle(made=True)
    assert desk.sent == []
    desk.tell("no-port")
    desk.refused.settle(made=False)
    assert [said(one) for one in desk.sent] == [(1, 3)]


def test_without_an_address_nobody_answers() -> None:
    desk = Desk()
    desk.refused.gateway_address6 = None
    desk.tell("allow-out")
    assert desk.sent == []
    (one,) = desk.refused.lately()
    assert (one.source, one.reason, one.proto, one.number) == (INSIDE6, "allow-out", 6, 1)


def test_a_segment_of_no_session_is_not_answered() -> None:
    desk = Desk()
    desk.tell("no-session")
    assert desk.sent == [] and desk.refused.lately() == []
