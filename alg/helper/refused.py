"""Senders of refused packets are told so; or, where room can be made, not before the sweep has tried.

The law of this file: which answer, and when. Its bytes and the log's line are in refusals.py, who gives room in
gateway/reclaim.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from algate.alg.engine import icmp
from algate.alg.engine.effects import INJECT_RAW_IN
from algate.alg.engine.icmp import HOST_UNREACHABLE, NO_ROOM, PROHIBITED
from algate.alg.gateway import shares
from algate.alg.gateway.addresses import is_handle
from algate.alg.gateway.records import Punt
from algate.alg.helper.refusals import Refusals, reset, unreachable
from algate.bpf import abi
from algate.bpf.loader import Gateway

KEPT_BACK = 64  # ICMP errors kept back while the sweep looks for unanswered sessions
HOSTS_MOST = 256  # refused hosts remembered between two sweeps, and for RECENT
RECENT = 300.0  # s for which it is told who was refused something
NOBODY4 = IPv4Address("192.0.0.8")  # RFC 7600: of errors whose sender has no IPv4 address
# The sweep can make room for these: everybody's, and a host's own.
SCARCE = frozenset({"table-full", "no-port"})
OWN = frozenset({"share-sessions", "share-ports", "host-unanswered"})


class RefusedHost(NamedTuple):
    """New sessions of one host that were refused for one reason: how many of them the helper was told of, and the last
    one's protocol and moment (CLOCK_MONOTONIC)."""

    source: bytes
    reason: str
    proto: int
    number: int
    moment: float


class Refused:
    """`gateway_address`, `gateway_address6`: whom the errors come from, None: nobody sends them. `room_wanted` is
    called for a sweep."""

    def __init__(
        self, gateway: Gateway, write: Callable[[bytes], object], gone: Callable[[bytes, int, bytes, int], bool]
    ) -> None:
        self.gateway_address: IPv4Address | None = None
        self.gateway_address6: IPv6Address | None = None
        self.room_wanted: Callable[[], None] = lambda: None
        self._gateway = gateway
        self._write = write
        self._gone = gone
        self._log = Refusals()
        self._kept: list[bytes] = []
        self._hosts: set[int] = set()
        self._lately: dict[tuple[bytes, str], RefusedHost] = {}

    def tell(self, punt: Punt) -> None:
        """Tell an inside host that its new session was refused, and the log once per minute; or that its old one is
        gone."""
        reason = abi.reasons()[punt.reason][0]
        frame, at = punt.frame, punt.ip_offset
        if len(frame) > at and frame[at] >> 4 == 6:
            self._tell6(reason, frame, at)
            return
        if reason == "no-session":
            ends = reset(frame, at, self._gone)
            if ends is not None:
                self._write(ends)
            return
        source, proto = frame[at + 12 : at + 16], frame[at + 9] if len(frame) > at + 9 else 0
        self._log.note(reason, source, partial(shares.fact, self._gateway, reason, source, proto))
        self._remember(source, reason, proto)
        if reason in OWN and len(self._hosts) < HOSTS_MOST:
            self._hosts.add(int.from_bytes(source, "little"))
        if reason in OWN or reason in SCARCE:
            self.room_wanted()
        scarce = reason in OWN or reason in SCARCE
        if is_handle(source):  # of NAT64: the kernel makes it the gateway's ICMPv6 "address unreachable"
            self._answer(unreachable(frame, at, NOBODY4, HOST_UNREACHABLE if scarce else PROHIBITED), scarce)
        elif self.gateway_address is not None:
            self._answer(unreachable(frame, at, self.gateway_address), scarce)

    def _tell6(self, reason: str, frame: bytes, at: int) -> None:
        """The same of an IPv6 packet."""
        if reason == "no-session" or len(frame) < at + 40:
            return
        source, proto = frame[at + 8 : at + 24], frame[at + 6]
        self._log.note(reason, source, partial(shares.fact, self._gateway, reason, source, proto))
        self._remember(source, reason, proto)
        scarce = reason in OWN or reason in SCARCE
        if scarce:
            self.room_wanted()
        if self.gateway_address6 is not None:
            code = NO_ROOM if scarce else PROHIBITED
            self._answer(icmp.unreachable(INJECT_RAW_IN, frame, at, self.gateway_address6.packed, code), scarce)

    def _answer(self, answer: bytes | None, scarce: bool) -> None:
        """Send an error, or keep it back until the sweep has looked for room."""
        if answer is None:
            return
        if scarce and len(self._kept) < KEPT_BACK:
            self._kept.append(answer)
        else:
            self._write(answer)

    def _remember(self, source: bytes, reason: str, proto: int) -> None:
        now = time.monotonic()
        former = self._lately.pop((source, reason), None)
        number = former.number + 1 if former is not None and now - former.moment < RECENT else 1
        self._lately[source, reason] = RefusedHost(source, reason, proto, number, now)
        if len(self._lately) > HOSTS_MOST:
            del self._lately[next(iter(self._lately))]

    def lately(self) -> list[RefusedHost]:
        """Who was refused what in the last RECENT seconds, the latest first."""
        since = time.monotonic() - RECENT
        return [one for one in reversed(self._lately.values()) if one.moment >= since]

    def hosts(self) -> Collection[int]:
        """Those refused for what they have since the last call, as in struct session_key."""
        found, self._hosts = self._hosts, set()
        return found

    def settle(self, made: bool) -> None:
        """The sweep looked for room. If it made some, a refused sender's repetition gets in, so no error is sent."""
        answers, self._kept = self._kept, []
        for answer in answers:
            if not made:
                self._write(answer)
