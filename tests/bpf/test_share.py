"""Shared public ports (mapping and filtering by address and port): one serves several destinations, none two flows."""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address
from typing import Any

import pytest

from algate.alg.gateway.listing import mapping_rows
from algate.bpf import abi, tables, testrun
from algate.bpf.abi import ConfigFlag, ControlOp, PortKind
from algate.bpf.requests import ControlProgram
from tests import packets
from tests.bpf.flows import answer, echo_answer, frame_of, open_session, translated
from tests.bpf.rig import (
    INSIDE,
    INSIDE_2,
    LAN,
    OK,
    PROTOS,
    PUBLIC,
    REDIRECT,
    REMOTE,
    SECOND,
    SHOT,
    TCP,
    UDP,
    Rig,
    session_key,
)
from tests.packets import GATEWAY_LAN_MAC, GATEWAY_WAN_MAC, LAN_MAC, WAN_MAC, Flow

XDP_REDIRECT = 4
APDM = ConfigFlag.HAIRPIN | ConfigFlag.MAPPING_APDM
FIRST, LAST = 50000, 50063
USABLE = 57  # of the 64, as the last eighth is left to those who need a port of their own


@pytest.fixture
def control(rig: Rig) -> ControlProgram:
    return ControlProgram(rig.gateway.fds["control"])


def pool(rig: Rig, flags: int = APDM, **changes: Any) -> None:
    for proto in PROTOS.values():
        for port in range(FIRST, LAST + 1):
            rig.slot(proto, port)
    long = dict.fromkeys(abi.TimeoutKind, 3600)  # an emulated kernel takes minutes for hundreds of packets
    rig.configure(flags=flags, port_first=FIRST, port_last=LAST, hold_down=120 * SECOND, timeouts=long, **changes)


def flows(number: int, hosts: int, destinations: int) -> list[Flow]:
    return [
        Flow(f"10.0.0.{2 + n % hosts}", 20000 + n, str(IPv4Address("192.0.2.0") + n % destinations), 443)
        for n in range(number)
    ]


def public(rig: Rig, flow: Flow, proto: int) -> int:
    session = rig.session(flow, proto)
    assert session is not None, flow
    return abi.public_port(session)


def outside_key(rig: Rig, flow: Flow, proto: int) -> tuple[int, str, int]:
    return public(rig, flow, proto), flow.destination, 0 if proto == 1 else flow.destination_port


def begin(rig: Rig, proto: str, several: list[Flow]) -> None:
    for flow in several:
        out = rig.lan(frame_of(proto, flow, flags="S"))
        assert out.action == REDIRECT and out.drops == {}, (flow, out.drops)


@pytest.mark.parametrize("proto", PROTOS)
def test_r24_more_flows_than_ports(rig: Rig, proto: str) -> None:
    pool(rig)
    several = flows(400, 8, 200)
    begin(rig, proto, several)
    number = PROTOS[proto]
    keys = [outside_key(rig, flow, number) for flow in several]
    assert len(set(keys)) == 400 and all(FIRST <= port <= LAST for port, _, _ in keys)
    for flow in several:
        port = public(rig, flow, number)
        back = echo_answer(flow, port) if proto == "icmp" else answer(flow, port)
        frame = frame_of(proto, back, b"", "SA", reply=True)
        out = rig.wan_in(frame)
        assert out.action == REDIRECT, out
        packets.same(out.data, translated(frame, proto, ttl=63, destination=(flow.source, flow.source_port)))
    assert len(rig.gateway.shares) == 400


def test_r24_xdp_finds_them_too(rig: Rig) -> None:
    pool(rig)
    config = rig.gateway.configs[0]
    config.wan_mac[:6] = list(bytes.fromhex(GATEWAY_WAN_MAC.replace(":", "")))
    rig.gateway.configs.put(0, config)
    several = flows(120, 2, 60)
    begin(rig, "udp", several)
    for flow in several:
        frame = packets.udp(answer(flow, public(rig, flow, UDP)), b"x")
        assert rig.wan_in(frame).action == REDIRECT
        out = rig.xdp("xdp_wan", frame)
        wanted = translated(frame, "udp", ttl=63, destination=(flow.source, flow.source_port))
        assert out.action == XDP_REDIRECT
        packets.same(out.data, packets.changed(wanted, Ether_src=GATEWAY_LAN_MAC, Ether_dst=LAN_MAC))


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_only_the_destination_itself_gets_in(rig: Rig, proto: str) -> None:
    pool(rig)
    several = flows(100, 4, 50)
    begin(rig, proto, several)
    number = PROTOS[proto]
    known = {outside_key(rig, flow, number) for flow in several}
    for flow in several[:40]:
        port = public(rig, flow, number)
        for stranger in (flow.to(destination="192.0.2.200"), flow.to(destination_port=444)):
            assert (port, stranger.destination, stranger.destination_port) not in known
            for flags in ("S", "SA", "A"):
                assert rig.wan_in(frame_of(proto, answer(stranger, port), b"x", flags)).action == SHOT


def test_errors_find_the_sender(rig: Rig) -> None:
    pool(rig)
    several = flows(120, 4, 60)
    begin(rig, "udp", several)
    for flow in several:
        out = rig.lan(packets.udp(flow, b"x"))
        error = packets.icmp_error(Flow(REMOTE, 0, PUBLIC, 0, WAN_MAC, GATEWAY_WAN_MAC), out.data)
        back = rig.wan_in(error)
        assert back.action == OK and packets.field(back.data, "IP_dst") == flow.source
        assert packets.field(back.data, "UDPerror_sport") == flow.source_port


def test_fragments_go_where_their_head_goes(rig: Rig) -> None:
    pool(rig)
    several = flows(120, 4, 60)
    begin(rig, "udp", several)
    for place, flow in enumerate(several):
        whole = packets.udp(answer(flow, public(rig, flow, UDP)), bytes(3000), flags=0, id=place + 1)
        for part in packets.fragments(whole, 1480):
            out = rig.wan_in(part)
            assert out.action == OK and packets.field(out.data, "IP_dst") == flow.source


def test_a_hairpin_to_a_shared_port_is_a_stranger(rig: Rig) -> None:
    pool(rig)
    flow = flows(1, 1, 1)[0]
    begin(rig, "udp", [flow])
    out = rig.lan(packets.udp(Flow(INSIDE_2, 7000, PUBLIC, public(rig, flow, UDP)), b"x"))
    assert out.action == SHOT and out.drops == {"unsolicited": 1}


def test_a_full_destination_is_refused_and_told(rig: Rig) -> None:
    """The sum of outside keys is what there is; nobody is evicted for another (invariant 4)."""
    pool(rig, max_ports_per_host=0)
    several = [Flow(f"10.0.{n // 250}.{n % 250 + 2}", 20000, "192.0.2.9", 443) for n in range(3 * USABLE)]
    outs = [rig.lan(packets.udp(flow, b"x")) for flow in several]
    made = [flow for flow, out in zip(several, outs, strict=True) if out.action == REDIRECT]
    assert USABLE * 0.8 < len(made) <= USABLE
    assert len({public(rig, flow, UDP) for flow in made}) == len(made) == len(rig.gateway.shares)
    assert {reason for out in outs for reason in out.drops} == {"no-port"}
    for port in range(FIRST, LAST + 1):
        assert rig.slot(UDP, port).sessions == sum(public(rig, flow, UDP) == port for flow in made)


def test_everything_goes_back(rig: Rig, control: ControlProgram) -> None:
    pool(rig, max_ports_per_host=1000)
    several = flows(300, 6, 150)
    begin(rig, "tcp", several)
    held = Counter(public(rig, flow, TCP) for flow in several)
    assert all(rig.slot(TCP, port).sessions == held[port] for port in range(FIRST, LAST + 1))
    hosts = usage(rig)
    assert hosts == {flow.source: (50, 50) for flow in several}
    assert control.keys(ControlOp.KILL, [bytes(session_key(flow, TCP)) for flow in several]) == 300
    assert len(rig.gateway.shares) == 0 and set(usage(rig).values()) == {(0, 0)}
    for port in range(FIRST, LAST + 1):
        slot = rig.slot(TCP, port)
        assert (slot.owner, slot.sessions, slot.block) == (0, 0, 0)
    begin(rig, "tcp", several)


def usage(rig: Rig) -> dict[str, tuple[int, int]]:
    """sessions and ports by inside host."""
    table = tables.Table(rig.gateway._map_fd("hosts"), tables.layout(abi.MappingKey), tables.layout(abi.Host))
    return {str(abi.be32_to_ip(key.inside_ip)): (host.sessions, host.ports) for key, host in table.items()}


def test_a_limit_of_ports_counts_shares(rig: Rig) -> None:
    pool(rig, max_ports_per_host=20)
    several = flows(21, 1, 21)
    begin(rig, "udp", several[:20])
    assert rig.lan(packets.udp(several[20], b"x")).drops == {"host-ports": 1}


def test_two_hosts_keep_one_number_towards_two_destinations(rig: Rig) -> None:
    """RFC 7857 section 3; and none of them has it towards a second destination (RFC 4787 section 4.1)."""
    rig.configure(flags=APDM)
    one, two = Flow(INSIDE, 40000, REMOTE, 53), Flow(INSIDE_2, 40000, "192.0.2.1", 53)
    begin(rig, "udp", [one, two])
    assert public(rig, one, UDP) == public(rig, two, UDP) == 40000
    more = [one.to(destination_port=54), two.to(destination_port=54)]
    begin(rig, "udp", more)
    assert len({40000, *(public(rig, flow, UDP) for flow in more)}) == 3


def test_what_needs_a_port_of_its_own_has_it(rig: Rig) -> None:
    """Watched sessions and reservations, also while all that is shared is full; wider filtering shares nothing."""
    pool(rig)
    begin(rig, "tcp", flows(400, 8, 200))
    assert all(rig.slot(TCP, port).owner == 0 for port in range(FIRST + USABLE, LAST + 1))
    rig.beat()
    rig.gateway.alg_ports.put(abi.ServiceKey(port=abi.be16(21), proto=TCP), 1)
    watched = Flow(INSIDE, 30000, REMOTE, 21)
    begin(rig, "tcp", [watched])
    slot = rig.slot(TCP, public(rig, watched, TCP))
    assert slot.owner >> 48 == PortKind.MAPPING and slot.sessions == 1
    got = rig.reserve(TCP, 30001, INSIDE, 30001)
    assert got is not None and got >= FIRST + USABLE
    for wider in (ConfigFlag.FILTER_EIF, ConfigFlag.FILTER_ADF):
        rig.configure(flags=APDM | wider)
        before = len(rig.gateway.shares)
        flow = Flow(INSIDE, 41000, REMOTE, 1000 + wider)
        begin(rig, "udp", [flow])
        assert rig.slot(UDP, public(rig, flow, UDP)).owner >> 48 == PortKind.MAPPING
        assert len(rig.gateway.shares) == before


def test_the_gateways_own_socket_keeps_its_port(rig: Rig) -> None:
    import socket

    rig.configure(flags=APDM, port_first=FIRST, port_last=FIRST)
    rig.slot(UDP, FIRST)
    with socket.socket(type=socket.SOCK_DGRAM) as own:
        own.bind(("0.0.0.0", FIRST))
        assert rig.lan(packets.udp(Flow(INSIDE, 20000, REMOTE, 53), b"x")).drops == {"no-port": 1}
    assert len(rig.gateway.shares) == 0 and rig.slot(UDP, FIRST).owner == 0
    begin(rig, "udp", [Flow(INSIDE, 20000, REMOTE, 53)])


def test_sessions_of_a_former_profile_go_on(rig: Rig) -> None:
    pool(rig)
    several = flows(100, 4, 50)
    begin(rig, "udp", several)
    rig.configure(flags=ConfigFlag.HAIRPIN | ConfigFlag.FILTER_EIF)
    for flow in several:
        port = public(rig, flow, UDP)
        assert rig.wan_in(packets.udp(answer(flow, port), b"x")).action == REDIRECT
        assert rig.wan_in(packets.udp(answer(flow.to(destination_port=9), port), b"x")).action == SHOT
    fresh = Flow(INSIDE, 39000, REMOTE, 53)
    open_session(rig, "udp", fresh)


def test_mappings_are_listed_by_destination(rig: Rig) -> None:
    pool(rig)
    several = flows(100, 4, 50)
    begin(rig, "udp", several)
    rows = list(mapping_rows(rig.gateway))
    assert sorted((row.inside, row.public) for row in rows) == sorted(
        (f"{flow.source}:{flow.source_port}", f"{PUBLIC}:{public(rig, flow, UDP)}") for flow in several
    )


def test_two_processors_never_share_an_outside_key(rig: Rig, control: ControlProgram) -> None:
    """Invariant 3, while sessions come and go: each outside key has one owner, and all goes back."""
    pool(rig)
    context = testrun.skb_context(ifindex=rig.devices[LAN], ingress_ifindex=rig.devices[LAN])
    cpus = sorted(os.sched_getaffinity(0))
    jobs = [[Flow(f"10.0.{worker}.{n % 200 + 2}", 1024 + n, f"192.0.2.{n % 20}", 53) for n in range(1500)]
            for worker in range(4)]  # fmt: skip

    def work(worker: int) -> list[Flow]:
        os.sched_setaffinity(0, {cpus[worker % len(cpus)]})
        mine: list[Flow] = []
        for n, flow in enumerate(jobs[worker]):
            if testrun.run(rig.gateway.fds["tc_lan"], packets.udp(flow, b"x"), context, room=256).value == REDIRECT:
                mine.append(flow)
            if n % 3 == 0 and mine:
                control.keys(ControlOp.KILL, [bytes(session_key(mine.pop(0), UDP))])
        return mine

    with ThreadPoolExecutor(4) as threads:
        left = [flow for mine in threads.map(work, range(4)) for flow in mine]
    keys = [outside_key(rig, flow, UDP) for flow in left]
    assert len(keys) > 500 and len(set(keys)) == len(keys) == len(rig.gateway.shares) == len(rig.gateway.sessions)
    assert control.keys(ControlOp.KILL, [bytes(session_key(flow, UDP)) for flow in left]) == len(left)
    assert len(rig.gateway.shares) == 0
    assert all(rig.slot(UDP, port).owner == 0 for port in range(FIRST, LAST + 1))
