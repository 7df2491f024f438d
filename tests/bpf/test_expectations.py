"""Expectations: who may connect to what, when, how often, and what the helper is told."""

from __future__ import annotations

import select
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

import pytest

from algate.alg.gateway import records
from algate.bpf import abi, syscall
from algate.bpf.abi import ConfigFlag, ControlOp, ExpectationState, PuntKind
from algate.bpf.requests import ControlProgram, owner, port_row
from algate.bpf.tables import U32
from tests import packets
from tests.bpf.rig import (
    INSIDE,
    PUBLIC,
    REDIRECT,
    REMOTE,
    REMOTE_2,
    SECOND,
    SHOT,
    TCP,
    Outcome,
    Rig,
    session_key,
    ticks,
)
from tests.bpf.watched import CONTROL, FIRST, FTP, IN, OUT, Watched, watch
from tests.packets import GATEWAY_WAN_MAC, WAN_MAC, Flow

PENDING, OPEN, USED = ExpectationState.PENDING, ExpectationState.OPEN, ExpectationState.USED
PORT = 50123
DATA = Flow(INSIDE, 20, REMOTE, 2020)
"""The data connection as the inside host sends on it."""


@dataclass
class Expected:
    watched: Watched
    key: abi.ExpectationKey

    def state(self) -> int:
        return self.watched.rig.gateway.expectations[self.key].state

    def knock(self, source: str = REMOTE, port: int = 2020, flags: str = "S", **numbers: Any) -> Outcome:
        return self.watched.rig.wan_in(knock(source, port, flags, **numbers))

    def close(self) -> None:
        """The data connection, by both ends."""
        self.watched.rig.lan(packets.tcp(DATA, b"", "FA"))
        self.knock(flags="FA", ack=1001)
        self.watched.rig.lan(packets.tcp(DATA, b"", "A", seq=1001, ack=1001))


def knock(source: str = REMOTE, port: int = 2020, flags: str = "S", **numbers: Any) -> bytes:
    return packets.tcp(Flow(source, port, PUBLIC, PORT, WAN_MAC, GATEWAY_WAN_MAC), b"", flags, **numbers)


def inbound(rig: Rig, state: ExpectationState, source: str | None = REMOTE, **fields: int) -> Expected:
    """An active-mode expectation: the server connects to a reserved public port."""
    watched = watch(rig)
    rig.taken()
    assert rig.reserve(TCP, PORT, INSIDE, 20) == PORT
    key = abi.ExpectationKey(
        from_=abi.ip_to_be32(source) if source else 0,
        to=abi.ip_to_be32(PUBLIC),
        to_port=abi.be16(PORT),
        proto=TCP,
        dir=abi.Direction.IN,
    )
    watched.expect(key, PORT, state, **fields)
    return Expected(watched, key)


def test_open_admits_the_peer_once(rig: Rig) -> None:
    expected = inbound(rig, OPEN)
    out = expected.knock()
    assert out.action == REDIRECT and out.drops == {}
    packets.same(out.data, packets.changed(knock(), IP_dst=INSIDE, TCP_dport=20, IP_ttl=63))
    assert expected.state() == USED
    data = rig.session(DATA, TCP)
    assert data is not None
    assert rig.parent(data) == expected.watched.id and data.flags & abi.SessionFlag.EXPECTED and data.alg == 0
    assert abi.public_port(data) == PORT and rig.slot(TCP, PORT).sessions == 2
    ((punt, frame),) = rig.taken()
    assert (punt.kind, punt.expectation_id, punt.id, frame) == (PuntKind.EXPECT_USED, 77, data.id, b"")
    second = expected.knock(port=2021)
    assert second.action == SHOT and second.drops == {"expect-spent": 1}
    again = expected.knock()
    assert again.action == REDIRECT, "a repeated SYN belongs to the session"
    reply = packets.tcp(DATA, b"", "SA")
    packets.same(rig.lan(reply).data, packets.changed(reply, IP_src=PUBLIC, TCP_sport=PORT, IP_ttl=63))


@pytest.mark.parametrize("unheard", [True, False])
def test_a_use_wakes_nobody_where_lines_pass_unheard(rig: Rig, unheard: bool) -> None:
    fd, flags = rig.gateway.map_fd("openings"), int(abi.AdjustFlag.BEGINS)
    syscall.update(fd, U32.pack(FTP), records.pack_opening(flags if unheard else 0, 7))
    try:
        expected = inbound(rig, OPEN, alg=FTP)
        select.select(rig.ring, [], [], 0)
        expected.knock()
    finally:
        syscall.update(fd, U32.pack(FTP), records.pack_opening(0, 0))
    assert bool(select.select(rig.ring, [], [], 0.05)[0]) is not unheard
    assert [punt.kind for punt, _ in rig.taken()] == [PuntKind.EXPECT_USED]


def test_data_never_touches_the_helper(rig: Rig) -> None:
    expected = inbound(rig, OPEN)
    expected.knock()
    rig.lan(packets.tcp(DATA, b"", "SA"))
    rig.taken()
    rig.gateway.heartbeat.put(0, 0)
    assert rig.wan_in(packets.changed(knock(flags="PA") + b"", TCP_seq=1)).action == REDIRECT
    assert rig.lan(packets.tcp(DATA, b"data", "PA")).action == REDIRECT
    assert rig.taken() == []


def test_pending_admits_nothing_and_holds_the_syn(rig: Rig) -> None:
    expected = inbound(rig, PENDING)
    out = expected.knock()
    assert out.action == SHOT and out.drops == {"expect-pending": 1}
    ((punt, frame),) = rig.taken()
    assert (punt.kind, punt.expectation_id, punt.id) == (PuntKind.DATA_SYN, 77, expected.watched.id)
    packets.same(frame, knock())
    assert expected.state() == PENDING and rig.session(DATA, TCP) is None
    rig.gateway.heartbeat.put(0, 0)
    assert expected.knock().drops == {"expect-pending": 1} and rig.taken() == []


def test_held_syn_comes_back_once_open(rig: Rig) -> None:
    expected = inbound(rig, PENDING)
    expected.knock()
    expected.watched.expect(expected.key, PORT, OPEN)
    out = rig.tap(knock(), abi.InjectKind.IN)
    assert out.action == REDIRECT and expected.state() == USED


EARLY = abi.ExpectationFlag.EARLY


@pytest.mark.parametrize("agreed", [False, True])
def test_a_peer_known_to_connect_first_isnt_held(rig: Rig, agreed: bool) -> None:
    """Nor is its agreement in the way, if that comes first after all."""
    expected = inbound(rig, PENDING, flags=EARLY)
    control = ControlProgram(rig.gateway.fds["control"])
    assert not control.agree(bytes(expected.key), 76) and expected.state() == PENDING, "another's id"
    if agreed:
        assert control.agree(bytes(expected.key), 77) and expected.state() == OPEN
    assert expected.knock().action == REDIRECT and expected.state() == USED
    data = rig.session(DATA, TCP)
    assert data is not None
    ((punt, _),) = rig.taken()
    assert (punt.kind, punt.expectation_id, punt.id) == (PuntKind.EXPECT_USED, 77, data.id)
    assert expected.knock(port=2021).drops == {"expect-spent": 1}, "once"
    assert not control.agree(bytes(expected.key), 77) and expected.state() == USED, "what is used stays so"


def test_a_peer_known_to_connect_first_finds_it_again_where_there_was_no_room(rig: Rig) -> None:
    expected = inbound(rig, PENDING, flags=EARLY)
    table = rig.gateway.sessions
    room = table.info.max_entries - len(table)
    table.put_many([(abi.SessionKey(inside_ip=n + 1), abi.Session()) for n in range(room)])
    assert expected.knock().drops == {"table-full": 1} and expected.state() == PENDING
    table.delete(abi.SessionKey(inside_ip=1))
    assert expected.knock().action == REDIRECT and expected.state() == USED


@pytest.mark.parametrize("flags", [0, EARLY])
@pytest.mark.parametrize("state", [PENDING, OPEN])
def test_others_are_refused(rig: Rig, state: ExpectationState, flags: int) -> None:
    expected = inbound(rig, state, flags=flags)
    out = expected.knock(REMOTE_2)
    assert out.action == SHOT and out.drops == {"expect-peer": 1}
    assert expected.state() == state and rig.taken() == []


@pytest.mark.parametrize("flags", ["A", "SA", "R", "FA", "PA"])
def test_only_a_syn_opens(rig: Rig, flags: str) -> None:
    expected = inbound(rig, OPEN)
    assert expected.knock(flags=flags).action == SHOT
    assert expected.state() == OPEN


@pytest.mark.parametrize("flags", [0, abi.ExpectationFlag.PERSISTENT], ids=["once", "persistent"])
def test_what_is_over_admits_nothing(rig: Rig, flags: int) -> None:
    expected = inbound(rig, USED, flags=flags)
    assert expected.knock().drops == {"expect-spent": 1}
    assert expected.state() == USED


def test_expired_admits_nothing(rig: Rig) -> None:
    expected = inbound(rig, OPEN, expires=(ticks() - SECOND) % 2**32)  # the kernel's coarse clock lags by some ticks
    assert expected.knock().drops == {"expect-spent": 1} and expected.state() == OPEN


def test_it_dies_with_its_control_session(rig: Rig) -> None:
    """Invariant 2: at once, without waiting for the helper."""
    expected = inbound(rig, OPEN)
    ControlProgram(rig.gateway.fds["control"]).keys(ControlOp.KILL, [bytes(expected.watched.key)])
    assert expected.knock().drops == {"expect-spent": 1}


@pytest.mark.parametrize("how", ["closed", "reset from inside", "reset from outside", "timed out"])
def test_it_dies_when_the_control_connection_ends(rig: Rig, how: str) -> None:
    """Invariant 2: the ended connection's entry stays for minutes, its expectations don't."""
    expected = inbound(rig, OPEN)
    control = expected.watched
    if how == "closed":
        control.inject(OUT, control.frame(OUT, b"", "FA"))
        control.inject(IN, control.frame(IN, b"", "FA", ack=FIRST[OUT] + 1))
        control.send(OUT, control.frame(OUT, b"", "A", at=1, ack=FIRST[IN] + 1))
    elif how == "timed out":
        session = rig.session(CONTROL, TCP)
        assert session is not None
        session.last_seen = (session.last_seen - 9_000 * SECOND) % 2**32
        rig.gateway.sessions.put(control.key, session)
    else:
        side = OUT if how == "reset from inside" else IN
        control.send(side, control.frame(side, b"", "R"))
    assert expected.knock().drops == {"expect-spent": 1}


@pytest.mark.parametrize("kind", [abi.PortKind.RESERVED, abi.PortKind.MAPPING])
@pytest.mark.parametrize("how", ["closed", "reset"])
def test_the_connection_itself_does_not_come_again(rig: Rig, how: str, kind: abi.PortKind) -> None:
    """Invariant 2: only once, even if the port is also the inside end point's own mapping."""
    expected = inbound(rig, OPEN)
    expected.knock()
    slot = rig.slot(TCP, PORT)
    slot.owner = owner(IPv4Address(INSIDE), 20, kind)
    rig.put_slot(TCP, PORT, slot)
    rig.lan(packets.tcp(DATA, b"", "SA"))
    if how == "closed":
        expected.close()
    else:
        expected.knock(flags="R")
    assert expected.knock().drops == {"expect-spent": 1}
    rig.gateway.expectations.clear()
    out = expected.knock()
    assert out.action != REDIRECT and sum(out.drops.values()) == 1, out.drops


def test_it_does_not_survive_into_the_next_generation(rig: Rig) -> None:
    expected = inbound(rig, OPEN, control_id=12345)
    assert expected.knock().drops == {"expect-spent": 1}


def test_anybody_where_a_plug_in_asked_for_it(rig: Rig) -> None:
    expected = inbound(rig, OPEN, source=None)
    assert expected.knock(REMOTE_2).action == REDIRECT and expected.state() == USED


def test_persistent_admits_more_than_one(rig: Rig) -> None:
    expected = inbound(rig, OPEN, flags=abi.ExpectationFlag.PERSISTENT)
    assert expected.knock(port=2020).action == REDIRECT and expected.knock(port=2021).action == REDIRECT
    assert expected.state() == OPEN


def test_a_full_table_does_not_spend_it(rig: Rig) -> None:
    """The SYN will be repeated and must then find its expectation."""
    expected = inbound(rig, OPEN)
    table = rig.gateway.sessions
    room = table.info.max_entries - len(table)
    table.put_many([(abi.SessionKey(inside_ip=n + 1), abi.Session()) for n in range(room)])
    out = expected.knock()
    assert out.action == SHOT and out.drops == {"table-full": 1}
    assert expected.state() == OPEN
    table.delete(abi.SessionKey(inside_ip=1))
    assert expected.knock().action == REDIRECT and expected.state() == USED


@pytest.mark.parametrize("how", ["ended", "expired"])
def test_the_same_two_ports_again(rig: Rig, how: str) -> None:
    """A client that names the same port for each transfer: the 5-tuple returns through another public port."""
    expected = inbound(rig, OPEN)
    expected.knock()
    data = rig.session(DATA, TCP)
    assert data is not None
    rig.lan(packets.tcp(DATA, b"", "SA"))
    if how == "ended":
        expected.close()
    else:
        data.last_seen -= 9_000 * SECOND
        rig.gateway.sessions.put(session_key(DATA, TCP), data)
    assert rig.reserve(TCP, PORT + 1, INSIDE, 20) == PORT + 1
    expected.key.to_port = abi.be16(PORT + 1)
    expected.watched.expect(expected.key, PORT + 1, OPEN)
    frame = packets.changed(knock(), TCP_dport=PORT + 1)
    out = rig.wan_in(frame)
    assert out.action == REDIRECT
    packets.same(out.data, packets.changed(frame, IP_dst=INSIDE, TCP_dport=20, IP_ttl=63))
    again = rig.session(DATA, TCP)
    assert again is not None and again.id != data.id
    assert rig.slot(TCP, PORT).sessions == 1 and rig.slot(TCP, PORT + 1).sessions == 2


def test_a_living_session_keeps_its_five_tuple(rig: Rig) -> None:
    expected = inbound(rig, OPEN)
    expected.knock()
    rig.lan(packets.tcp(DATA, b"", "SA"))
    before = rig.session(DATA, TCP)
    assert rig.reserve(TCP, PORT + 1, INSIDE, 20) == PORT + 1
    expected.key.to_port = abi.be16(PORT + 1)
    expected.watched.expect(expected.key, PORT + 1, OPEN)
    assert rig.wan_in(packets.changed(knock(), TCP_dport=PORT + 1)).drops == {"race": 1}
    assert rig.session(DATA, TCP) == before and expected.state() == OPEN


def outbound(rig: Rig, state: ExpectationState, **fields: int) -> tuple[Watched, Flow]:
    """A passive-mode expectation behind a strict firewall: the client connects to a port that the server named."""
    watched = watch(rig)
    rig.taken()
    rig.configure(flags=ConfigFlag.ALLOW_LIST)
    rig.gateway.allow_out.put(abi.ServiceKey(port=abi.be16(21), proto=TCP), 1)
    key = abi.ExpectationKey(
        from_=abi.ip_to_be32(INSIDE),
        to=abi.ip_to_be32(REMOTE),
        to_port=abi.be16(6000),
        proto=TCP,
        dir=abi.Direction.OUT,
    )
    watched.expect(key, 0, state, **fields)
    return watched, Flow(INSIDE, 45000, REMOTE, 6000)


def test_outbound_opens_what_the_firewall_forbids(rig: Rig) -> None:
    watched, flow = outbound(rig, OPEN)
    other = flow.to(destination_port=6001)
    out = rig.lan(packets.tcp(other, b"", "S"))
    assert out.action == SHOT and out.drops == {"allow-out": 1}
    frame = packets.tcp(flow, b"", "S")
    out = rig.lan(frame)
    assert out.action == REDIRECT
    data = rig.session(flow, TCP)
    assert data is not None and rig.parent(data) == watched.id
    second = rig.lan(packets.tcp(flow.to(source_port=45001), b"", "S"))
    assert second.action == SHOT and second.drops == {"allow-out": 1}


def test_outbound_pending_is_held(rig: Rig) -> None:
    _, flow = outbound(rig, PENDING)
    out = rig.lan(packets.tcp(flow, b"", "S"))
    assert out.action == SHOT and out.drops == {"expect-pending": 1}
    ((punt, frame),) = rig.taken()
    assert punt.kind == PuntKind.DATA_SYN and punt.dir == abi.Direction.OUT
    packets.same(frame, packets.tcp(flow, b"", "S"))


def test_outbound_comes_early_too(rig: Rig) -> None:
    _, flow = outbound(rig, PENDING, flags=EARLY)
    assert rig.lan(packets.tcp(flow, b"", "S")).action == REDIRECT
    assert rig.lan(packets.tcp(flow.to(source_port=45001), b"", "S")).drops == {"allow-out": 1}, "once"


def test_allow_list_lets_its_services_out(rig: Rig) -> None:
    _, flow = outbound(rig, PENDING)
    assert rig.lan(packets.tcp(flow.to(destination_port=21), b"", "S")).action == REDIRECT
    assert rig.lan(packets.udp(flow.to(destination_port=21), b"x")).drops == {"allow-out": 1}


# -- ranges of ports -----------------------------------------------------------------------------------

RANGE_FIRST, RANGE_LAST = 50200, 50209


def claim(rig: Rig, port: int, ip: str = INSIDE) -> bool:
    """Claim that port in the shared block; it leads to the same port inside."""
    who = owner(IPv4Address(ip), port, abi.PortKind.RESERVED)
    rig.slot(TCP, port)  # given back when the test is over
    return ControlProgram(rig.gateway.fds["control"]).claim(port_row(0, TCP, port), who, RANGE_FIRST)


def ranged(rig: Rig, **fields: int) -> Watched:
    """A control session with an open range."""
    watched = watch(rig)
    for port in range(RANGE_FIRST, RANGE_LAST + 1):
        assert claim(rig, port)
    key = abi.ExpectationKey(
        from_=abi.ip_to_be32(REMOTE), to=abi.ip_to_be32(PUBLIC), to_port=abi.be16(RANGE_FIRST), proto=TCP,
        dir=abi.Direction.IN,
    )  # fmt: skip
    flags = int(abi.ExpectationFlag.PERSISTENT)
    watched.expect(key, RANGE_FIRST, OPEN, flags=flags, first=RANGE_FIRST, last=RANGE_LAST, **fields)
    rig.taken()
    return watched


def at_port(port: int, source: str = REMOTE, source_port: int = 2020) -> bytes:
    return packets.tcp(Flow(source, source_port, PUBLIC, port, WAN_MAC, GATEWAY_WAN_MAC), b"", "S")


def test_a_range_admits_its_peer_to_each_port_again_and_again(rig: Rig) -> None:
    ranged(rig)
    for source_port, port in enumerate((RANGE_FIRST, RANGE_LAST, RANGE_FIRST, RANGE_FIRST + 4), 2020):
        out = rig.wan_in(at_port(port, source_port=source_port))
        assert out.action == REDIRECT, (port, out.drops)
        packets.same(
            out.data, packets.changed(at_port(port, source_port=source_port), IP_dst=INSIDE, TCP_dport=port, IP_ttl=63)
        )
    out = rig.wan_in(at_port(RANGE_FIRST, REMOTE_2))
    assert out.action == SHOT and out.drops == {"expect-peer": 1}
    assert rig.wan_in(at_port(RANGE_LAST + 1)).action == SHOT
    assert rig.wan_in(at_port(RANGE_FIRST - 1)).action == SHOT


def test_a_range_ends_with_its_control_session(rig: Rig) -> None:
    watched = ranged(rig)
    ControlProgram(rig.gateway.fds["control"]).keys(ControlOp.KILL, [bytes(watched.key)])
    out = rig.wan_in(at_port(RANGE_FIRST))
    assert out.action == SHOT and out.drops == {"expect-spent": 1}


def test_a_claimed_port_is_held_once_and_by_one(rig: Rig) -> None:
    """Claimed twice, it has one reference; another inside host doesn't get it; given back, it is free."""
    control = ControlProgram(rig.gateway.fds["control"])
    assert claim(rig, RANGE_FIRST) and claim(rig, RANGE_FIRST)
    slot = rig.slot(TCP, RANGE_FIRST)
    assert (slot.sessions, slot.block) == (1, RANGE_FIRST)
    assert not claim(rig, RANGE_FIRST, "10.0.0.77")
    row, who = port_row(0, TCP, RANGE_FIRST), slot.owner
    assert not control.release(row, who), "that is how a single port is given back"
    assert control.release(row, who, RANGE_FIRST)
    slot = rig.slot(TCP, RANGE_FIRST)
    assert (slot.owner, slot.sessions, slot.block) == (0, 0, 0)


@pytest.mark.parametrize(("port", "admitted"), [(20, True), (2020, False)])
def test_a_source_port_that_was_asked_for_ftp_68(rig: Rig, port: int, admitted: bool) -> None:
    expected = inbound(rig, OPEN, from_port=abi.be16(20))
    out = expected.knock(port=port)
    assert (out.action == REDIRECT) is admitted
    assert out.drops == ({} if admitted else {"expect-peer": 1}) and expected.state() == (USED if admitted else OPEN)
