"""Port blocks: an inside host's ports lie in blocks of its own, and a block changes hands only when it is empty."""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from itertools import pairwise
from typing import Any

import pytest

from algate.alg.config.sections import Nat
from algate.alg.gateway import portblocks, reading
from algate.alg.gateway.invariants import judge
from algate.alg.gateway.picture import Broken
from algate.alg.gateway.portblocks import PortBlock
from algate.alg.plugin.values import PortRange
from algate.bpf import abi, syscall, testrun, ticks
from algate.bpf.abi import ConfigFlag, ControlOp, PortKind
from algate.bpf.pinned import Pinned
from algate.bpf.requests import ControlProgram, owner, port_row
from tests import packets
from tests.bpf.flows import FLOW, answer, echo_answer, frame_of
from tests.bpf.rig import (
    INSIDE,
    INSIDE_2,
    LAN,
    PROTOS,
    PUBLIC,
    PUBLIC_2,
    REDIRECT,
    REMOTE,
    REMOTE_2,
    SECOND,
    SHOT,
    TCP,
    UDP,
    Rig,
    session_key,
)
from tests.bpf.test_finish import Data
from tests.bpf.watched import watch
from tests.packets import GATEWAY_LAN_MAC, LAN_MAC, Flow

SIZE = 64
NAT = Nat(ports=PortRange(50000, 51023), port_block=SIZE, port_block_idle=2.0, hold_down=0.0)
COUNT = 15  # whole blocks: the first one begins at 50048


@pytest.fixture
def control(rig: Rig) -> ControlProgram:
    return ControlProgram(rig.gateway.fds["control"])


def begin(rig: Rig, nat: Nat = NAT, addresses: int = 1, held: Iterable[PortRange] = (), **changes: Any) -> Nat:
    """As settings.write_config and BlockKeeping have it."""
    where = portblocks.layout(nat.port_block, nat.ports)
    for proto in PROTOS.values():
        for place in range(addresses):
            for port in range(nat.ports.first, nat.ports.last + 1):
                rig._touched.add(port_row(place, proto, port))
    fields = {
        "port_first": nat.ports.first, "port_last": nat.ports.last, "port_block": where.size,
        "hold_down": int(nat.hold_down * SECOND), "block_idle": int(portblocks.idle_time(nat, scarce=True) * SECOND),
        "block_first": where.first // abi.BLOCK_UNIT, "block_count": where.number, "public_count": addresses,
        "public_ip": tuple(abi.ip_to_be32(one) for one in (PUBLIC, PUBLIC_2)[:addresses]),
    }  # fmt: skip
    rig.configure(**fields | changes)
    portblocks.write_networks(rig.gateway, nat.port_block_hosts)
    portblocks.write_usable(rig.gateway, portblocks.usable(nat, addresses, held))
    return nat


def flows(number: int, inside: str = INSIDE, first: int = 20000) -> list[Flow]:
    return [Flow(inside, first + n, REMOTE, 443) for n in range(number)]


def open_all(rig: Rig, several: Iterable[Flow], proto: str = "udp") -> list[int]:
    """The public port of each."""
    ports = []
    for flow in several:
        out = rig.lan(frame_of(proto, flow, flags="S"))
        assert out.action == REDIRECT and out.drops == {}, (flow, out.drops)
        session = rig.session(flow, PROTOS[proto])
        assert session is not None
        ports.append(abi.public_port(session))
    return ports


def end(control: ControlProgram, several: Iterable[Flow], proto: int = UDP) -> None:
    keys = [bytes(session_key(flow, proto)) for flow in several]
    assert control.keys(ControlOp.KILL, keys) == len(keys)


def held(rig: Rig) -> list[PortBlock]:
    return portblocks.held(rig.gateway)


def of_host(rig: Rig, inside: str) -> list[PortBlock]:
    return [one for one in held(rig) if str(one.inside) == inside]


def broken(rig: Rig) -> list[Broken]:
    with Pinned(rig.gateway.pins) as maps:
        return [one for one in judge(reading.read(maps)) if one.rule.startswith("block-")]


def blocks_of(ports: Iterable[int], size: int = SIZE) -> set[int]:
    return {port // size * size for port in ports}


def elapse(rig: Rig, seconds: float) -> None:
    """The blocks were last used so long ago."""
    for row, one in rig.gateway.port_blocks.items():
        if one.holder:
            one.stamp = (one.stamp - int(seconds * SECOND)) % ticks.WRAP
            rig.gateway.port_blocks.put(row, one)


@pytest.mark.parametrize("proto", PROTOS)
def test_a_host_has_a_block(rig: Rig, proto: str) -> None:
    begin(rig)
    mine, others = open_all(rig, flows(40), proto), open_all(rig, flows(40, INSIDE_2), proto)
    assert len(set(mine)) == len(set(others)) == 40
    (first,), (second,) = of_host(rig, INSIDE), of_host(rig, INSIDE_2)
    assert blocks_of(mine) == {first.first} and blocks_of(others) == {second.first} and first.first != second.first
    assert (first.used, first.size, first.last - first.first) == (40, SIZE, 63)
    assert NAT.ports.first <= first.first and first.last <= NAT.ports.last
    assert broken(rig) == []


def test_one_block_serves_all_protocols(rig: Rig) -> None:
    begin(rig)
    ports = [port for proto in PROTOS for port in open_all(rig, flows(30), proto)]
    (one,) = held(rig)
    assert blocks_of(ports) == {one.first} and one.used == 90 and broken(rig) == []


def test_ports_are_in_no_order(rig: Rig) -> None:
    """Nobody outside can guess the next one (RFC 6056), nor which block the next host gets."""
    begin(rig, replace(NAT, port_block=512, ports=PortRange(1024, 65535)))
    ports = open_all(rig, flows(100))
    steps = [b - a for a, b in pairwise(ports)]
    assert len(set(steps)) > 60 and blocks_of(ports, 512) == {held(rig)[0].first}
    firsts = [open_all(rig, flows(1, f"10.0.0.{n}"))[0] // 512 for n in range(3, 60)]
    assert len(set(firsts)) == 57 and firsts != sorted(firsts)


def test_a_further_block_only_when_the_first_is_used_up(rig: Rig, control: ControlProgram) -> None:
    begin(rig)
    several = flows(150)
    open_all(rig, several[:SIZE])
    assert len(held(rig)) == 1
    open_all(rig, several[SIZE:])
    assert len(held(rig)) == 3 and sum(one.used for one in held(rig)) == 150 and broken(rig) == []
    end(control, several)
    assert [one.used for one in held(rig)] == [0, 0, 0] and broken(rig) == []


def test_hold_down_is_for_others(rig: Rig, control: ControlProgram) -> None:
    """What a host gave back a moment ago is the last that it gets again, but it needs no second block for it."""
    begin(rig, replace(NAT, hold_down=120.0))
    for turn in range(6):
        some = flows(20, first=20000 + 100 * turn)
        open_all(rig, some)
        end(control, some)
    assert len(held(rig)) == 1 and broken(rig) == []


def test_no_block_left(rig: Rig, control: ControlProgram) -> None:
    begin(rig)
    hosts = [f"10.0.0.{n}" for n in range(2, 2 + COUNT)]
    for host in hosts:
        open_all(rig, flows(1, host))
    assert len(held(rig)) == COUNT
    late = Flow("10.0.0.200", 20000, REMOTE, 443)
    out = rig.lan(frame_of("udp", late))
    assert out.action == SHOT and out.drops == {"no-block": 1}
    open_all(rig, flows(SIZE - 1, hosts[0], 21000))  # who has one may fill it
    assert rig.lan(frame_of("udp", Flow(hosts[0], 22000, REMOTE, 443))).drops == {"no-block": 1}
    end(control, [Flow(hosts[3], 20000, REMOTE, 443)])
    elapse(rig, 3)
    assert control.withdraw(of_host(rig, hosts[3])[0].row)
    open_all(rig, [late])
    assert broken(rig) == []


def test_a_block_is_taken_back_empty(rig: Rig, control: ControlProgram) -> None:
    begin(rig)
    open_all(rig, flows(2))
    (one,) = held(rig)
    elapse(rig, 60)
    assert not control.withdraw(one.row)  # in use
    end(control, flows(1))
    elapse(rig, 60)
    assert not control.withdraw(one.row)
    end(control, flows(2)[1:])
    assert not control.withdraw(one.row)  # a moment ago
    elapse(rig, 3)
    assert control.withdraw(one.row) and held(rig) == [] and broken(rig) == []
    assert not control.withdraw(one.row)
    open_all(rig, flows(1, INSIDE_2))
    assert [str(one.inside) for one in held(rig)] == [INSIDE_2]


def test_a_mapping_is_one_for_all_destinations(rig: Rig) -> None:
    begin(rig)
    assert len({*open_all(rig, [FLOW, replace(FLOW, destination=REMOTE_2), replace(FLOW, destination_port=80)])}) == 1
    (one,) = held(rig)
    assert one.used == 1


def test_by_address_and_port_a_port_is_shared_with_nobody(rig: Rig) -> None:
    begin(rig, flags=ConfigFlag.MAPPING_APDM)
    ports = open_all(rig, [replace(FLOW, destination=f"192.0.2.{n}") for n in range(1, 41)])
    assert len(set(ports)) == 40 and len(held(rig)) == 1 and len(rig.gateway.shares) == 0


def test_answers_come_back(rig: Rig) -> None:
    begin(rig)
    for proto in PROTOS:
        (port,) = open_all(rig, [FLOW], proto)
        back = echo_answer(FLOW, port) if proto == "icmp" else answer(FLOW, port)
        assert rig.wan_in(frame_of(proto, back, flags="SA", reply=True)).action == REDIRECT


def test_parity(rig: Rig) -> None:
    begin(rig, flags=ConfigFlag.PARITY)
    several = flows(60)
    ports = open_all(rig, several)
    assert [port & 1 for port in ports] == [flow.source_port & 1 for flow in several] and len(held(rig)) == 1
    even = [Flow(INSIDE, 30000 + 2 * n, REMOTE, 443) for n in range(40)]
    assert all(port % 2 == 0 for port in open_all(rig, even))
    assert len(held(rig)) == 3 and broken(rig) == []  # 32 even ones in each block


@pytest.mark.parametrize("proto", PROTOS)
def test_an_own_port_outside_of_the_block_is_not_kept(rig: Rig, proto: str) -> None:
    """Though it is free and within [nat] ports: it may lie in the block that another host is about to get."""
    begin(rig)
    own = [Flow(INSIDE, port, REMOTE, 443) for port in range(NAT.ports.first + 1, NAT.ports.last, 17)]
    assert blocks_of(open_all(rig, own, proto)) == {of_host(rig, INSIDE)[0].first}
    assert len(held(rig)) == 1 and broken(rig) == []


def test_hairpin(rig: Rig) -> None:
    """Inside hosts meet at their public ends (RFC 4787 REQ-9), each of which is in its own host's block."""
    begin(rig, flags=ConfigFlag.HAIRPIN | ConfigFlag.FILTER_EIF)
    server = FLOW.to(source=INSIDE_2, source_port=7000)
    (port,) = open_all(rig, [server])
    frame = packets.udp(Flow(INSIDE, 40000, PUBLIC, port), b"hello")
    out = rig.lan(frame)
    assert out.action == REDIRECT and out.drops == {}
    mine, ttl = packets.field(out.data, "UDP_sport"), packets.field(out.data, "IP_ttl")
    wanted = packets.changed(frame, IP_src=PUBLIC, UDP_sport=mine, IP_dst=INSIDE_2, UDP_dport=7000, IP_ttl=ttl)
    packets.same(out.data, wanted)
    (first,), (second,) = of_host(rig, INSIDE), of_host(rig, INSIDE_2)
    assert first.first <= mine <= first.last and second.first <= port <= second.last
    reply = packets.udp(Flow(INSIDE_2, 7000, PUBLIC, mine, LAN_MAC, GATEWAY_LAN_MAC), b"back")
    back = rig.lan(reply)
    assert back.action == REDIRECT
    ttl = packets.field(back.data, "IP_ttl")
    wanted = packets.changed(reply, IP_src=PUBLIC, UDP_sport=port, IP_dst=INSIDE, UDP_dport=40000, IP_ttl=ttl)
    packets.same(back.data, wanted)
    assert broken(rig) == []


def test_a_low_port_gets_one_of_the_block(rig: Rig) -> None:
    begin(rig)
    assert blocks_of(open_all(rig, [Flow(INSIDE, 500, REMOTE, 500)])) == {held(rig)[0].first}


def test_most_ports_a_host(rig: Rig) -> None:
    begin(rig, max_ports_per_host=70)
    open_all(rig, flows(70))
    assert rig.lan(frame_of("udp", Flow(INSIDE, 30000, REMOTE, 443))).drops == {"host-ports": 1}
    assert len(held(rig)) == 2


def test_what_an_alg_reserves_is_in_the_block(rig: Rig, control: ControlProgram) -> None:
    begin(rig)
    (port,) = open_all(rig, [FLOW], "tcp")
    got = [rig.reserve(TCP, 40000 + n, INSIDE, 40000 + n) for n in range(30)]
    assert None not in got and blocks_of([port, *(one or 0 for one in got)]) == {held(rig)[0].first}
    assert held(rig)[0].used == 31 and broken(rig) == []
    next_one = (got[0] or 0) + 1
    if rig.slot(TCP, next_one).owner == 0 and next_one % SIZE:
        assert rig.reserve(TCP, next_one, INSIDE, 50000) == next_one  # adjacent, as asked
        control.release(port_row(0, TCP, next_one), owner(IPv4Address(INSIDE), 50000, PortKind.RESERVED))
    for n, one in enumerate(got):
        assert control.release(port_row(0, TCP, one or 0), owner(IPv4Address(INSIDE), 40000 + n, PortKind.RESERVED))
    assert held(rig)[0].used == 1 and broken(rig) == []


def test_a_reservation_takes_a_first_and_a_further_block(rig: Rig) -> None:
    begin(rig)
    got = [rig.reserve(TCP, 40000 + n, INSIDE, 40000 + n) for n in range(SIZE + 10)]
    assert None not in got and len(set(got)) == len(got)
    assert len(held(rig)) == 2 and sum(one.used for one in held(rig)) == SIZE + 10 and broken(rig) == []


def test_a_port_of_anothers_block_is_given_to_nobody(rig: Rig) -> None:
    """Even if it was proposed, as a block may have changed hands between proposal and claim."""
    begin(rig)
    open_all(rig, flows(1))
    open_all(rig, flows(1, INSIDE_2))
    (mine,), (other,) = of_host(rig, INSIDE), of_host(rig, INSIDE_2)
    for host, first, got in ((INSIDE, other.first, 0), (INSIDE, mine.first, 1), ("10.0.0.9", mine.first, 0)):
        who = owner(IPv4Address(host), 999, PortKind.RESERVED)
        asked = abi.Control(op=ControlOp.RESERVE, count=first + 50, port_index=port_row(0, TCP, first + 50), owner=who)
        answer = rig.control(asked)
        assert (answer.error == 0) == bool(got), (host, answer.error)
    assert (of_host(rig, INSIDE)[0].used, of_host(rig, INSIDE_2)[0].used) == (2, 1) and broken(rig) == []


def test_a_reservation_when_no_block_is_left(rig: Rig) -> None:
    begin(rig)
    for n in range(2, 2 + COUNT):
        open_all(rig, flows(1, f"10.0.0.{n}"))
    assert rig.reserve(TCP, 40000, "10.0.0.200", 40000) is None
    assert rig.reserve(TCP, 40000, INSIDE, 40000) is not None


@pytest.mark.parametrize("hold_down", [0.0, 120.0])
def test_ended_transfers_give_their_ports_up_to_their_own_host(rig: Rig, hold_down: float) -> None:
    """With one block and no other: each further transfer ends one that is over. Nobody else's need does."""
    watched = watch(rig)
    begin(rig, replace(NAT, ports=PortRange(50048, 50111), hold_down=hold_down))
    open_all(rig, flows(SIZE - 8), "tcp")
    many = [Data(rig, watched, 40000 + n) for n in range(8)]
    for one in many:
        one.end("server closes")
    assert rig.reserve(TCP, 20000, INSIDE_2, 20000) is None
    out = rig.lan(frame_of("tcp", Flow(INSIDE_2, 20000, REMOTE, 443), flags="S"))
    assert out.drops == {"no-block": 1} and all(one.alive() for one in many)
    for n in range(4):
        Data(rig, watched, 41000 + n).end("client closes")
    assert sum(one.alive() for one in many) == 4
    (port,) = open_all(rig, [Flow(INSIDE, 30000, REMOTE, 443)], "tcp")
    assert 50048 <= port < 50112 and sum(one.alive() for one in many) == 3
    assert [one.used for one in held(rig)] == [SIZE] and broken(rig) == []


def test_a_forward_keeps_its_block_from_all(rig: Rig) -> None:
    begin(rig, held=[PortRange(50100, 50101), PortRange(50239, 50241)])
    for n in range(2, 2 + COUNT - 3):
        open_all(rig, flows(1, f"10.0.0.{n}"))
    assert not {50048, 50176, 50240, 50100 // 64 * 64} - {50048} & {one.first for one in held(rig)}
    assert rig.lan(frame_of("udp", Flow("10.0.0.200", 20000, REMOTE, 443))).drops == {"no-block": 1}


def test_a_forward_in_a_block_that_is_held(rig: Rig, control: ControlProgram) -> None:
    """The block's host never gets that port, and its count isn't touched."""
    begin(rig)
    (port,) = open_all(rig, flows(1))
    (one,) = held(rig)
    taken = one.first + (port == one.first)
    who = owner(IPv4Address(INSIDE_2), 80, PortKind.FORWARD)
    assert control.serve(port_row(0, UDP, taken), who, 3)
    assert taken not in open_all(rig, flows(SIZE + 5, first=30000))
    assert control.release(port_row(0, UDP, taken), who)
    assert broken(rig) == []


def test_computed_blocks(rig: Rig) -> None:
    nat = begin(rig, replace(NAT, port_block_hosts=(IPv4Network("10.0.0.0/29"),)))
    for n in (2, 5, 7):
        inside = f"10.0.0.{n}"
        ports = open_all(rig, flows(10, inside))
        assert {(0, first) for first in blocks_of(ports)} == {portblocks.computed(nat, 1, IPv4Address(inside))}
        assert {portblocks.host_of(nat, 0, port) for port in ports} == {IPv4Address(inside)}
    (one,) = of_host(rig, INSIDE)
    open_all(rig, flows(SIZE, first=30000))
    (more,) = [other for other in of_host(rig, INSIDE) if other != one and other.first != one.first]
    assert portblocks.host_of(nat, 0, more.first) is None  # of those that are given to whoever comes
    stranger = blocks_of(open_all(rig, flows(1, "10.0.0.100")))
    assert portblocks.host_of(nat, 0, stranger.pop()) is None and broken(rig) == []


def test_computed_blocks_of_several_addresses(rig: Rig) -> None:
    nat = replace(NAT, port_block_hosts=(IPv4Network("10.0.0.0/28"), IPv4Network("10.0.0.64/29")))
    begin(rig, nat, addresses=2)
    for inside in ("10.0.0.2", "10.0.0.14", "10.0.0.15", "10.0.0.64", "10.0.0.71"):
        open_all(rig, flows(3, inside))
        assert [(one.place, one.first) for one in of_host(rig, inside)] == [
            portblocks.computed(nat, 2, IPv4Address(inside))
        ]
    assert {one.place for one in held(rig)} == {0, 1}


def test_a_held_computed_block_is_nobody_elses(rig: Rig) -> None:
    """A configuration that computes a block for one host while another still holds it."""
    begin(rig)
    for n in range(50, 50 + COUNT - 1):
        open_all(rig, flows(1, f"10.0.0.{n}"))
    begin(rig, replace(NAT, port_block_hosts=(IPv4Network("10.0.0.0/30"),)))
    before = {one.row: one.inside for one in held(rig)}
    rig.lan(frame_of("udp", flows(1)[0]))
    assert {one.row: one.inside for one in held(rig)}.items() >= before.items() and broken(rig) == []


def test_off_touches_nothing(rig: Rig) -> None:
    several = flows(20)
    assert open_all(rig, several) == [flow.source_port for flow in several]
    assert held(rig) == [] and len(rig.gateway.block_lists) == 0


def test_ports_from_before_are_in_no_block(rig: Rig, control: ControlProgram) -> None:
    """Switched on while sessions go on, and off again: each port is counted where it was taken."""
    old = [Flow(INSIDE_2, 50100 + n, REMOTE, 443) for n in range(3)]
    assert open_all(rig, old) == [flow.source_port for flow in old]
    begin(rig)
    fresh = flows(100)
    open_all(rig, fresh)
    assert sum(one.used for one in held(rig)) == 100 and broken(rig) == []
    end(control, old)
    assert sum(one.used for one in held(rig)) == 100
    rig.configure()
    end(control, fresh)
    assert sum(one.used for one in held(rig)) == 0 and broken(rig) == []


def test_another_size_meanwhile(rig: Rig, control: ControlProgram) -> None:
    begin(rig)
    several = flows(80)
    open_all(rig, several)
    old = held(rig)
    wide = replace(NAT, port_block=128)
    begin(rig, wide, held=[PortRange(one.first, one.last) for one in old])
    more = flows(50, first=30000)
    open_all(rig, more)
    assert {one.size for one in held(rig)} == {64, 128} and broken(rig) == []
    end(control, [*several, *more])
    assert {one.used for one in held(rig)} == {0} and broken(rig) == []


@pytest.mark.parametrize("seed", range(3))
def test_no_two_hosts_share_a_block(rig: Rig, control: ControlProgram, seed: int) -> None:
    """Sessions, reservations and their ends in any order, and blocks taken back between: after each step every port
    lies in a block of its own host's, and the counts are right."""
    chance = random.Random(seed)
    begin(rig, replace(NAT, hold_down=chance.choice([0.0, 120.0])))
    alive: list[tuple[Flow, int]] = []
    reserved: list[tuple[int, str, int]] = []
    for step in range(400):
        host = f"10.0.0.{chance.randrange(2, 12)}"
        match chance.randrange(8):
            case 0 | 1 | 2 | 3:
                proto = chance.choice([TCP, UDP])
                flow = Flow(host, 20000 + step, REMOTE, 443)
                name = "tcp" if proto == TCP else "udp"
                if rig.lan(frame_of(name, flow, flags="S")).action == REDIRECT:
                    alive.append((flow, proto))
            case 4 | 5 if alive:
                flow, proto = alive.pop(chance.randrange(len(alive)))
                end(control, [flow], proto)
            case 6:
                got = rig.reserve(TCP, 40000, host, 20000 + step)
                if got is not None:
                    reserved.append((got, host, 20000 + step))
            case 7:
                if reserved and chance.random() < 0.5:
                    port, inside, number = reserved.pop()
                    assert control.release(
                        port_row(0, TCP, port), owner(IPv4Address(inside), number, PortKind.RESERVED)
                    )
                elapse(rig, 200)
                for one in held(rig):
                    assert control.withdraw(one.row) == (not one.used)
        if step % 25 == 24:
            assert broken(rig) == []
    whose: dict[int, set[str]] = defaultdict(set)
    for flow, proto in alive:
        session = rig.session(flow, proto)
        assert session is not None
        whose[abi.public_port(session) // SIZE].add(flow.source)
    for port, host, _ in reserved:
        whose[port // SIZE].add(host)
    assert len(whose) > 5 and all(len(hosts) == 1 for hosts in whose.values())


def test_threads(rig: Rig, control: ControlProgram) -> None:
    """Several CPUs at once, for one host and for many; blocks are taken back beside them."""
    begin(rig, replace(NAT, ports=PortRange(40000, 60000), port_block_idle=2.0), block_idle=0)
    context = testrun.skb_context(**rig._at(LAN, LAN))
    cpus = sorted(os.sched_getaffinity(0))
    jobs = [[Flow(f"10.0.0.{2 + n % 5}", 10000 * (worker + 1) + n, REMOTE, 443) for n in range(300)]
            for worker in range(4)]  # fmt: skip

    def work(worker: int) -> list[Flow]:
        os.sched_setaffinity(0, {cpus[worker % len(cpus)]})
        mine: list[Flow] = []
        for n, flow in enumerate(jobs[worker]):
            if testrun.run(rig.gateway.fds["tc_lan"], frame_of("udp", flow), context, room=256).value == REDIRECT:
                mine.append(flow)
            if n % 3 and mine:
                control.keys(ControlOp.KILL, [bytes(session_key(mine.pop(0), UDP))])
            if worker == 0 and n % 5 == 0:
                for one in held(rig):
                    control.withdraw(one.row)
        return mine

    with ThreadPoolExecutor(4) as threads:
        left = [flow for mine in threads.map(work, range(4)) for flow in mine]
    assert len(left) > 300 and broken(rig) == []
    assert sum(one.used for one in held(rig)) == len({(flow.source, flow.source_port) for flow in left})
    end(control, left)
    assert {one.used for one in held(rig)} == {0} and broken(rig) == []


def test_damage_is_seen(rig: Rig) -> None:
    """`check --live`: each kind by itself."""
    begin(rig)
    open_all(rig, flows(3))
    open_all(rig, flows(2, INSIDE_2))
    table, (mine,), (other,) = rig.gateway.port_blocks, of_host(rig, INSIDE), of_host(rig, INSIDE_2)
    assert broken(rig) == []

    def seen(row: int, **fields: int) -> set[str]:
        former, changed = table[row], table[row]
        for name, value in fields.items():
            setattr(changed, name, value)
        table.put(row, changed)
        found = {one.rule for one in broken(rig)}
        table.put(row, former)
        assert broken(rig) == []
        return found

    word = table[mine.row].holder
    assert seen(mine.row, holder=word + (1 << 32)) == {"block-count"}
    assert "block-port" in seen(mine.row, holder=word & ~0xFFFFFFFF | abi.ip_to_be32(INSIDE_2))
    assert {"block-port", "block-mark", "block-list"} <= seen(mine.row, holder=0)
    low = min(mine.row, other.row)
    assert "block-overlap" in seen(low, size=(abs(mine.row - other.row) + 1) * abi.BLOCK_UNIT)
    bits = rig.gateway.block_bits[mine.row // 64]
    rig.gateway.block_bits.put(mine.row // 64, bits & ~(1 << mine.row % 64))
    assert {one.rule for one in broken(rig)} == {"block-mark"}
    rig.gateway.block_bits.put(mine.row // 64, bits)
    key = abi.MappingKey(inside_ip=abi.ip_to_be32(INSIDE))
    rig.gateway.block_lists.put(key, abi.BlockList())
    assert {one.rule for one in broken(rig)} == {"block-list"}


def test_blocks_travel(rig: Rig, control: ControlProgram) -> None:
    """To another version's maps: with their holders, and counted anew."""
    from algate.alg.gateway import estate
    from algate.bpf.description import own

    begin(rig)
    open_all(rig, flows(90))
    rig.reserve(TCP, 1, INSIDE_2, 1)
    before = held(rig)
    with Pinned(rig.gateway.pins) as maps:
        found = estate.take(own(), maps.items)
    estate.settle(found)
    rig.reset()
    estate.write(found, rig.gateway.map_fd)
    begin(rig)
    after = {one.row: (one.inside, one.size, one.assigned) for one in held(rig)}
    assert after == {one.row: (one.inside, one.size, one.assigned) for one in before}
    assert sum(one.used for one in of_host(rig, INSIDE)) == 90
    assert sum(one.used for one in of_host(rig, INSIDE_2)) == 0  # nobody claims the reservation any more
    assert broken(rig) == []
    open_all(rig, flows(5, first=30000))
    assert len(of_host(rig, INSIDE)) == 2
    assert syscall.map_info(rig.gateway.map_fd("port_blocks")).max_entries >= abi.BLOCK_ROWS
